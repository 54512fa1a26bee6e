"""
Client address, scheme, host and port of a request behind reverse proxies.

`X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `Forwarded` (RFC 7239) are trusted only from addresses in
`COPPICE_TRUSTED_PROXIES`. A list of addresses is read from its end, where the nearest proxy has appended, and trusted
proxies in it are skipped: entries before the first other address are under the client's control. A proxy that sets one
of the two kinds of headers usually passes the other on unchanged; if they contradict each other, neither is trusted.

Decided 2026-11-29: the wrappers of granian and uvicorn read two of these fields, not `Forwarded`, and accept entries
such as `unknown` as addresses; django-forwarded does not support networks.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple

Network = IPv4Network | IPv6Network

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_LONGEST: Final = 64
_WITH_PORT: Final = re.compile(r"\[([^\[\]]+)\](?::\w+)?|([0-9.]+)(?::\w+)?", re.ASCII)
# As in Django, with the port as a group.
_HOST: Final = re.compile(r"(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_PAIR: Final = re.compile(
    r"""[ \t]*+([!#$%&'*+.^_`|~0-9A-Za-z-]++)=("(?:[^"\\]|\\.)*+"|[^;,"\s]*+)[ \t]*+(;|,|\Z)""", re.ASCII
)
_MAPPED: Final = "::ffff:"


class Seen(NamedTuple):
    """The values of one kind of headers, "" for none. `address` is that of a proxy which hides its client."""

    address: str
    scheme: str = ""
    host: str = ""
    port: str = ""


def plain_address(text: str) -> str:
    """
    Return an address in canonical form, without port, brackets and zone, or "" for other text.

    An IPv4-mapped IPv6 address becomes an IPv4 address.
    """
    text = text.strip(" \t")
    if not text or len(text) > _LONGEST:
        return ""
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def peer_address(client: str) -> str:
    """Return the address of a peer that the server reports as `address:port`."""
    address = client.rpartition(":")[0].strip("[]")
    return address.removeprefix(_MAPPED) if address.startswith(_MAPPED) and "." in address else address


def network(text: str) -> Network:
    """
    Return the network, or the one address, that the text names.

    :raises ValueError: it names neither, or all addresses
    """
    try:
        parsed = ip_network(text)
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, without bits beyond the mask") from None
    if isinstance(parsed, IPv6Network) and parsed.prefixlen >= 96 and parsed[0].ipv4_mapped is not None:
        parsed = IPv4Network(f"{parsed[0].ipv4_mapped}/{parsed.prefixlen - 96}")
    if not parsed.prefixlen:
        raise ValueError("must not name all addresses: every client could choose the address that it is known by")
    return parsed


class Proxies:
    """The trusted proxies."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self.trusts: Callable[[str], bool] = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in each for each in self._networks)

    def correct(self, environ: dict[str, Any]) -> None:
        """
        Put what trusted proxies say into the environ of a request, in place of what the connection says.

        That is `REMOTE_ADDR`, `wsgi.url_scheme`, `HTTP_HOST` and `SERVER_PORT`. What is malformed counts as unsaid. A
        request that comes from elsewhere is left as it is.
        """
        peer = environ["REMOTE_ADDR"]
        if not self.trusts(peer):
            return
        # Read by `config.web.security_headers`, which warns about a proxy that is not trusted.
        environ["coppice.proxy_is_trusted"] = True
        seen = _agreed(peer, [each for each in (self._of_fields(peer, environ), self._of_rfc(peer, environ)) if each])
        environ["REMOTE_ADDR"] = seen.address or peer
        scheme = seen.scheme or environ["wsgi.url_scheme"]
        environ["wsgi.url_scheme"] = scheme
        host = seen.host or environ.get("HTTP_HOST", "")
        match = _HOST.fullmatch(host)
        if match is not None and seen.port and match["port"] is None and seen.port != _DEFAULT_PORTS[scheme]:
            host = f"{host}:{seen.port}"
            match = _HOST.fullmatch(host)
        if match is not None:
            environ["HTTP_HOST"] = host
            if seen.host or seen.port or seen.scheme:
                environ["SERVER_PORT"] = (match["port"] or "")[1:] or seen.port or _DEFAULT_PORTS[scheme]

    def _of_fields(self, peer: str, environ: Mapping[str, Any]) -> Seen | None:
        """Read `X-Forwarded-*`."""
        hops, protos, hosts, ports = (
            _list_of(environ.get(f"HTTP_X_FORWARDED_{name}", "")) for name in ("FOR", "PROTO", "HOST", "PORT")
        )
        if not (hops or protos or hosts or ports):
            return None
        address, index = self._walk(peer, hops)

        def said(values: list[str]) -> str:
            # Proxies that append to each list make lists of equal length. Others set a single value.
            return values[index] if values and len(values) == len(hops) else values[-1] if values else ""

        return _seen(address, scheme=said(protos), host=said(hosts), port=said(ports))

    def _of_rfc(self, peer: str, environ: Mapping[str, Any]) -> Seen | None:
        """Read `Forwarded`."""
        text = environ.get("HTTP_FORWARDED", "")
        if not text:
            return None
        elements = _elements(text)
        if not elements:
            return Seen(peer)
        address, index = self._walk(peer, [each.get("for", "") for each in elements])
        return _seen(address, scheme=elements[index].get("proto", ""), host=elements[index].get("host", ""))

    def _walk(self, peer: str, hops: Sequence[str]) -> tuple[str, int]:
        """Return the last address that a trusted proxy names ("" without one), and the index of its entry."""
        address, index = peer if any(hops) else "", -1
        for number in range(len(hops) - 1, -1, -1):
            index = number
            named = plain_address(hops[number])
            if not named or not address:
                # `unknown`, `_hidden` or other text: the proxy does not name its client.
                break
            address = named
            if not self.trusts(address):
                break
        return address, index


def _seen(address: str, *, scheme: str, host: str, port: str = "") -> Seen:
    scheme = scheme.lower()
    return Seen(
        address,
        scheme if scheme in _DEFAULT_PORTS else "",
        host if _HOST.fullmatch(host) else "",
        str(int(port)) if port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536 else "",
    )


def _agreed(peer: str, statements: Sequence[Seen]) -> Seen:
    if len(statements) < 2:
        return statements[0] if statements else Seen(peer)
    one, other = statements

    def agreed(this: str, that: str, otherwise: str) -> str:
        return this if this == that or not that else that if not this else otherwise

    return Seen(
        agreed(one.address, other.address, peer),
        agreed(one.scheme, other.scheme, "http"),
        agreed(one.host, other.host, ""),
        one.port,
    )


def _list_of(text: str) -> list[str]:
    return [each for part in text.split(",") if (each := part.strip(" \t"))] if text else []


def _elements(text: str) -> list[dict[str, str]]:
    """Return the elements of a `Forwarded` field, or none if any part of it is malformed."""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return []
        name, value = match[1].lower(), match[2]
        if name in elements[-1]:
            return []
        elements[-1][name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        position = match.end()
        if match[3] == ",":
            elements.append({})
    return elements if elements[-1] else []
