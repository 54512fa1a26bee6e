"""Parts of which calls consist."""

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx2

from coppice_client.exchange import Call, Exchange
from coppice_client.exchange import idempotency_key as checked_key

# A number of coins: a whole number, or an exact one with up to eight decimals.
CoinAmount = int | Decimal | str


def get(*parts: str) -> Call[Any]:
    return Call(Exchange("GET", path_of(*parts)))


def write(method: str, *parts: str, key: str | None, body: Any = None) -> Call[Any]:
    return Call(Exchange(method, path_of(*parts), json=body, key=checked_key(key)))


def path_of(*parts: str) -> str:
    """Return a path of fixed parts, which begin with a slash, and of values."""
    return "".join(part if part.startswith("/") else f"/{quoted(part)}" for part in parts)


def quoted(value: str) -> str:
    # "." and ".." would name another path.
    if value in {"", ".", ".."}:
        raise ValueError(f"{value!r} is neither a name nor an id")
    return quote(value, safe="")


def given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def amount_text(amount: CoinAmount) -> int | str:
    return format(amount, "f") if isinstance(amount, Decimal) else amount


def content(response: httpx2.Response) -> bytes:
    return response.content
