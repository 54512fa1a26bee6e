"""
Where a request comes from, and where clients reach this server.

Throttles, logs, records and links use these functions and no header or variable. What trusted proxies say is in the
request's environ already (`config.web.forwarded`).
"""

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest
from django.utils.encoding import iri_to_uri


def client_address(request: HttpRequest) -> str:
    """Return the address of the client, as the server or a trusted proxy saw it; "" if neither did."""
    return str(request.META.get("REMOTE_ADDR") or "")


def public_url(request: HttpRequest, path: str) -> str:
    """Return the URL of a path, its prefix included, as the client that sent the request reaches it."""
    return str(iri_to_uri(f"{settings.PUBLIC_ORIGIN or f'{request.scheme}://{request.get_host()}'}{path}"))


def network_of(address: str) -> str:
    """Return what one subscriber has: an IPv4 address, or the /64 of an IPv6 address. Other text stays as it is."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    # A socket that serves both kinds shows IPv4 clients so; their /64 would be the same for all of them.
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, 64), strict=False))
