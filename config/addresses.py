"""Where a request comes from. Throttles and records use these functions and no header or variable."""

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Return the address of the client, as the server saw it; "" if it did not say."""
    return str(request.META.get("REMOTE_ADDR") or "")


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
