"""
The address of the client, and public URLs.

The values of trusted proxies are in the request's environ already (`config.web.forwarded`).
"""

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest
from django.utils.encoding import iri_to_uri


def client_address(request: HttpRequest) -> str:
    """Return the client's address as seen by the server or a trusted proxy, or ""."""
    return str(request.META.get("REMOTE_ADDR") or "")


def public_url(request: HttpRequest, path: str) -> str:
    """Return the absolute URL of a path (with its prefix) for the client of the request."""
    return str(iri_to_uri(f"{settings.PUBLIC_ORIGIN or f'{request.scheme}://{request.get_host()}'}{path}"))


def network_of(address: str) -> str:
    """Return an IPv4 address, or the /64 network of an IPv6 address. Other text is returned unchanged."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    # IPv4 clients of a dual-stack socket; they would all have the same /64.
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, 64), strict=False))
