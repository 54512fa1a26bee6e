"""No webhook leads into a private network: by its URL, by a name, by a name that changes, or by a redirect."""

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.webhooks.receiver import Receiver, receiving
from webhooks import addresses
from webhooks.errors import InvalidWebhookUrl
from webhooks.sender.http import Answer, Client

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1",
    "2002:c0a8:101::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1",
    "ff02::1", "2606:4700::1111%1", "::ffff:0:127.0.0.1", "1::1", "1fff::1", "4000::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1",
          "64:ff9b::101:101", "2002:101:101::1"]  # fmt: skip


@pytest.fixture
def strict(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []


@pytest.mark.parametrize("text", PRIVATE)
def test_no_private_address_may_be_called(strict: None, text: str) -> None:
    assert not addresses.may_call(ip_address(text), is_https=True)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_may_be_called_over_https_alone(strict: None, text: str) -> None:
    assert addresses.may_call(ip_address(text), is_https=True)
    assert not addresses.may_call(ip_address(text), is_https=False)


def test_a_network_that_is_named_may_be_called_over_plain_http_too(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.1.0.0/16", "fd00::/8"]

    assert addresses.may_call(ip_address("10.1.255.255"), is_https=False)
    assert addresses.may_call(ip_address("fd12::1"), is_https=True)
    assert not addresses.may_call(ip_address("10.2.0.0"), is_https=True)
    assert not addresses.may_call(ip_address("127.0.0.1"), is_https=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///path", "example.org", "ftp://example.org", "file:///etc/passwd",
        "http://example.org/", "https://user@example.org/", "https://user:secret@example.org/",
        "https://example.org/#fragment", "https://exa mple.org/", "https://example.org/\n", "https://example.org:0/",
        "https://example.org:99999/", "https://example.org:x/", "https://[::1/", "https://b\u00fccher.example/",
        "https://example..org/", "https://example.org\\@127.0.0.1/", "https://-a.example/%", "https://" + "a" * 2048,
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest",
        "https://[fe80::1%25eth0]/", "https://[v1.example.org]/",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_called_is_refused(strict: None, url: str) -> None:
    with pytest.raises(InvalidWebhookUrl):
        addresses.read(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org", "https://example.org/hook?token=a%20b", "HTTPS://Example.org:8443/hook",
        "https://xn--bcher-kva.example/", "https://1.1.1.1/", "https://[2606:4700::1111]:8443/x",
    ],
)  # fmt: skip
def test_a_public_url_is_taken(strict: None, url: str) -> None:
    addresses.read(url)


def post(url: str, *answers: list[str], trust: ssl.SSLContext | None = None) -> list[Answer]:
    """Send once for each answer of the name server, with one client, and return what came of it."""
    left = iter(answers)

    async def send() -> list[Answer]:
        client = Client(at_once=2, look_up=lambda host, port: next(left), trust=trust)
        try:
            return [await client.post(url, "{}", {}) for _ in answers]
        finally:
            await client.aclose()

    return asyncio.run(send())


@pytest.mark.parametrize("text", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::1", "10.0.0.1"])
@pytest.mark.parametrize("beside", [[], ["1.1.1.1"]])
def test_a_name_that_leads_to_a_private_address_is_not_called(strict: None, text: str, beside: list[str]) -> None:
    with receiving() as receiver:
        [answer] = post(f"https://rebinding.example:{receiver.port}/", [*beside, text])

    assert (answer.error, receiver.received) == ("address_refused", [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]"])
def test_no_spelling_of_this_machine_is_called(strict: None, host: str) -> None:
    async def send(url: str) -> Answer:
        client = Client(at_once=1)
        try:
            return await client.post(url, "{}", {})
        finally:
            await client.aclose()

    with receiving() as receiver:
        answer = asyncio.run(send(f"https://{host}:{receiver.port}/"))

    assert answer.error in {"address_refused", "name_unknown"}
    assert receiver.received == []


def test_a_name_is_checked_again_for_each_connection(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.2/32"]
    with receiving() as receiver:
        listening = f"http://rebinding.example:{receiver.port}/"
        first, second = post(listening, ["127.0.0.2"], ["127.0.0.1"])

    # The receiver listens on 127.0.0.1 alone: what was checked is what is connected to.
    assert (first.error, second.error) == ("connection_failed", "address_refused")
    assert receiver.received == []


def test_the_next_address_is_tried_if_one_does_not_answer(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiving() as receiver:
        [answer] = post(f"http://two.example:{receiver.port}/hook", ["127.0.0.3", "127.0.0.1"])

    assert answer.status == 200
    assert receiver.received[0].headers["host"] == f"two.example:{receiver.port}"


def test_a_name_that_is_unknown_or_cannot_be_encoded_is_a_failure(settings: Any) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    async def send() -> Answer:
        client = Client(at_once=1, look_up=unknown)
        try:
            return await client.post("https://nowhere.example/", "{}", {})
        finally:
            await client.aclose()

    assert asyncio.run(send()).error == "name_unknown"


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """A server's context with a certificate of `shop.example`, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    no_encryption = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_encryption)
    (tmp_path / "both.pem").write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "both.pem")
    trust = ssl.create_default_context(cadata=pem.decode())
    return server, trust


def test_tls_is_with_the_name_of_the_url_at_the_address_that_was_checked(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], settings: Any
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    server, trust = certificate
    asked: list[str | None] = []
    server.sni_callback = lambda _, name, __: asked.append(name)
    with receiving(tls=server) as receiver:
        [good] = post(_of(receiver, "shop.example"), ["127.0.0.1"], trust=trust)
        [other_name] = post(_of(receiver, "other.example"), ["127.0.0.1"], trust=trust)
        [not_trusted] = post(_of(receiver, "shop.example"), ["127.0.0.1"])

    assert (good.status, receiver.received[0].headers["host"]) == (200, f"shop.example:{receiver.port}")
    assert (other_name.error, not_trusted.error) == ("tls_failed", "tls_failed")
    assert asked == ["shop.example", "other.example", "shop.example"]
    assert len(receiver.received) == 1


def _of(receiver: Receiver, host: str) -> str:
    return f"https://{host}:{receiver.port}/hook"


def test_silent_name_servers_delay_no_other(settings: Any) -> None:
    """All other requests wait for a name, and so do the look-ups of as many that have timed out."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    at_once, over = 70, threading.Event()

    def look_up(host: str, port: int) -> list[str]:
        if host == "silent.example":
            over.wait()
        return ["127.0.0.1"]

    async def send(url: str) -> list[Answer]:
        client = Client(at_once=at_once, look_up=look_up)
        late = timedelta(milliseconds=1)
        try:
            silent = [client.post("http://silent.example/", "{}", {}, deadline=late) for _ in range(at_once)]
            timed_out = await asyncio.gather(*silent)
            waiting = [
                asyncio.ensure_future(client.post("http://silent.example/", "{}", {}, deadline=timedelta(minutes=5)))
                for _ in range(at_once - 1)
            ]
            # Until each has asked for its name.
            await asyncio.sleep(0)
            answer = await client.post(url, "{}", {}, deadline=timedelta(minutes=1))
            for each in waiting:
                each.cancel()
            return [*timed_out, answer]
        finally:
            over.set()
            await client.aclose()

    with receiving() as receiver:
        *others, answer = asyncio.run(send(f"http://good.example:{receiver.port}/"))

    assert {each.error for each in others} == {"timeout"}
    assert answer.status == 200
