"""Whose word about a client is believed."""

from typing import Any

import pytest

from config.web.forwarded import Proxies, network, peer_address, plain_address

PROXY = "10.0.0.1"
PROXIES = Proxies([network("10.0.0.0/24"), network("192.0.2.1"), network("2001:db8:1::/48")])


def corrected(peer: str = PROXY, host: str = "localhost", scheme: str = "http", **headers: str) -> tuple[str, ...]:
    environ = {
        "REMOTE_ADDR": peer,
        "wsgi.url_scheme": scheme,
        "HTTP_HOST": host,
        "SERVER_PORT": "8000",
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    PROXIES.correct(environ)
    return environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["SERVER_PORT"]


def address(peer: str = PROXY, **headers: str) -> str:
    return corrected(peer, **headers)[0]


@pytest.mark.parametrize("peer", ["10.0.1.1", "192.0.2.2", "2001:db8:2::1", "", "unix", "127.0.0.1"])
def test_what_comes_from_elsewhere_is_as_it_was(peer: str) -> None:
    said = {
        "x_forwarded_for": "198.51.100.9", "x_forwarded_proto": "https", "x_forwarded_host": "example.org",
        "x_forwarded_port": "8443", "forwarded": "for=198.51.100.9;proto=https;host=example.org",
    }  # fmt: skip

    assert corrected(peer, **said) == (peer, "http", "localhost", "8000")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("198.51.100.9", "198.51.100.9"),
        # Only the last entry was written by the proxy.
        ("203.0.113.1, 198.51.100.9", "198.51.100.9"),
        ("10.0.0.7, 198.51.100.9", "198.51.100.9"),
        # Proxies behind proxies.
        ("203.0.113.1, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("198.51.100.9,10.0.0.2,192.0.2.1,2001:db8:1::5", "198.51.100.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (" , 198.51.100.9 , ", "198.51.100.9"),
        # Forms.
        ("198.51.100.9:4711", "198.51.100.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("2001:DB8:0:0::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("[::ffff:198.51.100.9]:4711", "198.51.100.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("203.0.113.1, 198.51.100.9, ::ffff:10.0.0.2", "198.51.100.9"),
        # No address: the proxy that wrote it.
        ("", PROXY),
        (",", PROXY),
        ("unknown", PROXY),
        ("_hidden", PROXY),
        ("198.51.100.9, unknown", PROXY),
        ("198.51.100.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("198.51.100.9, 10.0.0.999", PROXY),
        ("010.0.0.2", PROXY),
        ("1", PROXY),
        ("198.51.100.9 10.0.0.2", PROXY),
        ("localhost", PROXY),
        ("[", PROXY),
        ("[]:1", PROXY),
        ("%", PROXY),
        ("1" * 30_000, PROXY),
        ("\x00\x7f'\"<>", PROXY),
        ('"198.51.100.9"', PROXY),
    ],
)  # fmt: skip
def test_x_forwarded_for_is_read_from_its_end(said: Any, expected: Any) -> None:
    assert address(x_forwarded_for=said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("for=198.51.100.9", ("198.51.100.9", "http", "localhost")),
        ("For=198.51.100.9;Proto=HTTPS;by=203.0.113.43", ("198.51.100.9", "https", "localhost")),
        ('for="198.51.100.9:4711";proto=https;host=example.org', ("198.51.100.9", "https", "example.org")),
        ('for="[2001:db8::9]:4711"', ("2001:db8::9", "http", "localhost")),
        ('for="[2001:db8::9]"; host="example.org:8443"', ("2001:db8::9", "http", "example.org:8443")),
        ("for=203.0.113.1;proto=https, for=198.51.100.9;proto=http", ("198.51.100.9", "http", "localhost")),
        ("for=198.51.100.9;proto=https,for=10.0.0.2;proto=http", ("198.51.100.9", "https", "localhost")),
        ('for="198.51.100\\.9"', ("198.51.100.9", "http", "localhost")),
        ("for=198.51.100.9;", ("198.51.100.9", "http", "localhost")),
        # A comma within a quotation ends no element.
        ('for=198.51.100.9;host="x, for=203.0.113.1"', ("198.51.100.9", "http", "localhost")),
        ("proto=https", (PROXY, "https", "localhost")),
        ("for=unknown;proto=https", (PROXY, "https", "localhost")),
        ("for=_hidden, for=10.0.0.2", ("10.0.0.2", "http", "localhost")),
        ('for="_a:_b"', (PROXY, "http", "localhost")),
        # Malformed anywhere: nothing is said.
        ('for="203.0.113.1, for=198.51.100.9', (PROXY, "http", "localhost")),
        ("for=198.51.100.9;for=203.0.113.1", (PROXY, "http", "localhost")),
        ("for", (PROXY, "http", "localhost")),
        ("=", (PROXY, "http", "localhost")),
        (";;;,,,", (PROXY, "http", "localhost")),
        ("for = 198.51.100.9", (PROXY, "http", "localhost")),
        ('"' * 10_000, (PROXY, "http", "localhost")),
        ("a=" * 10_000, (PROXY, "http", "localhost")),
        ("for=198.51.100.9;proto=gopher;host=a b", (PROXY, "http", "localhost")),
    ],
)  # fmt: skip
def test_forwarded_is_read_as_rfc_7239_writes_it(said: Any, expected: Any) -> None:
    assert corrected(forwarded=said)[:3] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"proto": "https"}, ("https", "localhost", "443")),
        ({"proto": "HTTPS"}, ("https", "localhost", "443")),
        ({"proto": "https", "host": "example.org"}, ("https", "example.org", "443")),
        ({"proto": "https", "host": "example.org", "port": "443"}, ("https", "example.org", "443")),
        ({"proto": "https", "host": "example.org", "port": "8443"}, ("https", "example.org:8443", "8443")),
        ({"proto": "https", "host": "example.org:8443", "port": "443"}, ("https", "example.org:8443", "8443")),
        ({"proto": "http", "port": "80"}, ("http", "localhost", "80")),
        ({"host": "[2001:db8::1]", "port": "8080"}, ("http", "[2001:db8::1]:8080", "8080")),
        # Each proxy added to all lists, or said it once.
        ({"for": "198.51.100.9, 10.0.0.2", "proto": "https, http"}, ("https", "localhost", "443")),
        ({"for": "198.51.100.9, 10.0.0.2", "proto": "https"}, ("https", "localhost", "443")),
        ({"for": "198.51.100.9", "proto": "https, http"}, ("http", "localhost", "80")),
        ({"for": "198.51.100.9", "host": "evil.example, example.org"}, ("http", "example.org", "80")),
        # Garbage is unsaid.
        ({"proto": "gopher"}, ("http", "localhost", "8000")),
        ({"proto": ""}, ("http", "localhost", "8000")),
        ({"host": "a b"}, ("http", "localhost", "8000")),
        ({"host": "a/../b"}, ("http", "localhost", "8000")),
        ({"host": "user@example.org"}, ("http", "localhost", "8000")),
        ({"host": "x" * 5000}, ("http", "localhost", "8000")),
        ({"port": "0"}, ("http", "localhost", "8000")),
        ({"port": "99999"}, ("http", "localhost", "8000")),
        ({"port": "-1"}, ("http", "localhost", "8000")),
        ({"port": "٤٤٣"}, ("http", "localhost", "8000")),
        ({"port": "9" * 5000}, ("http", "localhost", "8000")),
    ],
)
def test_scheme_host_and_port_are_those_that_the_client_asked_for(said: Any, expected: Any) -> None:
    assert corrected(**{f"x_forwarded_{name}": value for name, value in said.items()})[1:] == expected


@pytest.mark.parametrize(
    ("forwarded", "more", "expected"),
    [
        # The same in both.
        ("for=198.51.100.9;proto=https", {"for": "198.51.100.9", "proto": "https"}, ("198.51.100.9", "https")),
        # The proxy writes one, and passes on the other as the client wrote it.
        ("for=203.0.113.1", {"for": "198.51.100.9"}, (PROXY, "http")),
        ("for=203.0.113.1;proto=https", {"for": "198.51.100.9", "proto": "http"}, (PROXY, "http")),
        ("for=unknown", {"for": "198.51.100.9"}, (PROXY, "http")),
        ('for="', {"for": "198.51.100.9"}, (PROXY, "http")),
        # They complete each other.
        ("proto=https", {"for": "198.51.100.9"}, ("198.51.100.9", "https")),
        ("for=198.51.100.9", {"proto": "https"}, ("198.51.100.9", "https")),
    ],
)
def test_where_the_two_kinds_contradict_each_other_neither_is_believed(
    forwarded: str, more: Any, expected: Any
) -> None:
    said = {f"x_forwarded_{name}": value for name, value in more.items()}

    assert corrected(forwarded=forwarded, **said)[:2] == expected


@pytest.mark.parametrize(
    ("client", "address"),
    [
        ("198.51.100.9:50000", "198.51.100.9"),
        ("[2001:db8::9]:50000", "2001:db8::9"),
        ("[::ffff:198.51.100.9]:50000", "198.51.100.9"),
        ("[::1]:50000", "::1"),
    ],
)
def test_the_peer_has_its_usual_form(client: str, address: str) -> None:
    assert peer_address(client) == address == plain_address(address)


@pytest.mark.parametrize(
    "text",
    ["10.0.0.5/8", "nginx", "", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "10.0.0.0/33", "10.0.0.1-10.0.0.9", "*", "1"],
)
def test_what_names_no_network_or_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        network(text)


def test_a_network_of_mapped_addresses_is_one_of_ipv4() -> None:
    assert str(network("::ffff:10.0.0.0/104")) == "10.0.0.0/8"
    assert str(network("::ffff:10.0.0.1")) == "10.0.0.1/32"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("2001:db8::1", "2001:db8::1/128"), ("2001:db8::/32", "2001:db8::/32"), ("2001:db8::/96", "2001:db8::/96"),
        ("::fffe:0:0/95", "::fffe:0:0/95"), ("::ffff:0.0.0.0/97", "0.0.0.0/1"), ("10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/1", "0.0.0.0/1"), ("::/1", "::/1"),
    ],
)  # fmt: skip
def test_a_network_is_the_one_that_is_named(text: str, named: str) -> None:
    assert str(network(text)) == named
