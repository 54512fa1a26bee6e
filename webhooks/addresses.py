"""
Which URLs and addresses a webhook may have: no address of a private network, whichever way a name leads there.

The URL is checked when it is set, and the addresses each time it is called: a name may resolve to others by then
(`webhooks.sender.http` connects to the addresses that were checked). Networks of
COPPICE_WEBHOOK_ALLOWED_NETWORKS are allowed, and over plain HTTP too.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from webhooks.errors import InvalidWebhookUrl

Address = IPv4Address | IPv6Address

LONGEST_URL: Final = 2048
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")

# What is not global unicast by the registries of IANA, whatever this version of Python knows of them; and an address by
# which a cloud's machines reach its control plane.
_REFUSED: Final[Sequence[IPv4Network | IPv6Network]] = [
    ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
        "2001::/23", "2001:db8::/32", "3fff::/20",
    )
]  # fmt: skip
# All that IANA has for global unicast. Of the rest some was translated to IPv4 once (`::ffff:0:0:0/96`).
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def read(url: str) -> SplitResult:
    """
    Return the parts of a URL that a webhook may have.

    :raises InvalidWebhookUrl: it is no https URL with a host, or names an address that is refused
    """
    if len(url) > LONGEST_URL or not _VISIBLE.fullmatch(url):
        raise InvalidWebhookUrl(f'"url" must be a URL of up to {LONGEST_URL} visible ASCII characters')
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidWebhookUrl('"url" must be a valid URL') from None
    host = parts.hostname or ""
    literal = _literal(host)
    is_host = literal is not None or (_HOST.fullmatch(host) and "[" not in parts.netloc)
    if not is_host or port == 0 or "\\" in url:
        raise InvalidWebhookUrl('"url" must be a valid URL')
    if parts.username is not None or parts.password is not None:
        raise InvalidWebhookUrl('"url" must not hold a user name or password')
    if parts.fragment:
        raise InvalidWebhookUrl('"url" must not hold a fragment')
    if parts.scheme not in {"https", "http"} or (parts.scheme == "http" and not settings.WEBHOOK_ALLOWED_NETWORKS):
        raise InvalidWebhookUrl('"url" must begin with https://')
    if literal is not None and not may_call(literal, is_https=parts.scheme == "https"):
        raise InvalidWebhookUrl('"url" must not name an address of a private network')
    return parts


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def may_call(address: Address, *, is_https: bool) -> bool:
    """Return whether a webhook may connect to an address: an allowed one, or with HTTPS any of the public internet."""
    if any(address in network for network in _allowed()):
        return True
    return is_https and _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        inner = _embedded(address)
        if inner is not None:
            return _is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not any(address in network for network in _REFUSED)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address to which packets for this one are translated: mapped, NAT64 and 6to4."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _allowed() -> Sequence[IPv4Network | IPv6Network]:
    return [ip_network(each) for each in settings.WEBHOOK_ALLOWED_NETWORKS]
