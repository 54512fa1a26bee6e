"""Keys, URLs and addresses in environment variables."""

import base64
import binascii
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from config.ops import rabbitmq
from config.postgresql.sessions import parameters
from wallets import redis_servers

# A host name or address, an optional port, and an optional path of unreserved characters.
PUBLIC_URL: Final = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?"
)


def decoded(text: str) -> bytes:
    """Return the bytes of a text in base64, none if it is not."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def key_of_32_bytes(value: SecretStr) -> SecretStr:
    """Check a key. :raises ValueError: it is not 32 bytes in base64"""
    try:
        raw = base64.b64decode(value.get_secret_value(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64") from error
    if len(raw) != 32:
        raise ValueError("must be 32 bytes in base64")
    return value


def public_place(value: str, *, like: str = "https://example.org or https://example.org:8443/coppice") -> str:
    """Check a public URL, and return it without a slash at its end. :raises ValueError: it is no such URL"""
    if not PUBLIC_URL.fullmatch(value):
        raise ValueError(f"must look like {like}")
    if (port := urlsplit(value).netloc.rpartition(":")[2]).isdecimal() and not 0 < int(port) < 65536:
        raise ValueError("has a port that is none")
    return value.rstrip("/")


def origins(value: list[str]) -> list[str]:
    """Check origins of pages and return them in lower case. :raises ValueError: one is no origin, and not `*`"""
    for each in value:
        if each != "*" and not (PUBLIC_URL.fullmatch(each) and urlsplit(each).path == ""):
            raise ValueError("must be origins such as https://app.example.org:8443, without a path, or *")
    return [each.lower() for each in value]


def roles_of_groups(value: str) -> dict[str, str]:
    """Read `group=role` pairs. :raises ValueError: a pair lacks one of the two"""
    pairs = [each.rpartition("=") for each in value.split(",") if each.strip()]
    if not all(group.strip() and role.strip() for group, _, role in pairs):
        raise ValueError("must look like admins=administrator,staff=viewer")
    return {group.strip(): role.strip() for group, _, role in pairs}


def url_of_a_database(value: SecretStr) -> SecretStr:
    """Check the URL of a database. :raises ValueError: it names none, or a port that is no number"""
    url = value.get_secret_value()
    if not url.startswith(("postgres://", "postgresql://")):
        raise ValueError("must look like postgresql://user:password@host:port/name")
    found = parameters(url)
    if not found.get("dbname"):
        raise ValueError("must look like postgresql://user:password@host:port/name")
    if any(port and not port.isdecimal() for port in found.get("port", "").split(",")):
        raise ValueError("is not a URL with a number for its port")
    return value


def hosts_of_25_servers(value: list[str]) -> list[str]:
    """Check the addresses of the RAIDA servers, if there are any. :raises ValueError: they are not 25 of host:port"""
    if value and len(value) != 25:
        raise ValueError(f"must name 25 servers, RAIDA 0 first, and names {len(value)}")
    for number, host in enumerate(value):
        name, _, port = host.rpartition(":")
        if not name or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"the entry of RAIDA {number} is not host:port")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    redis_servers.read(value.get_secret_value())
    return value


def _broker_url(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        rabbitmq.check_url(value.get_secret_value())
    return value


RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
BrokerUrl = Annotated[SecretStr, AfterValidator(_broker_url)]
