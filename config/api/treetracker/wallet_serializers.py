"""Request and response bodies of wallets and tokens; fields are in the order of the public service."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from config.api.json_schemas import Nullable
from config.api.validation import Guid, Shape, Text
from wallets import passwords
from wallets.models import Wallet


@dataclass(frozen=True)
class Password(Text):
    """A password. Its length is that of the composed form: some clients send an accent as a separate character."""

    maximum: int | None = passwords.MAXIMUM_LENGTH

    def read(self, path: str, value: Any) -> str:
        super().read(path, passwords.composed(value) if isinstance(value, str) else value)
        return str(value)


@dataclass(frozen=True)
class Description(Text):
    """A text of limited length; an empty one and null delete it."""

    may_be_empty: bool = True

    def read(self, path: str, value: Any) -> str:
        return "" if value is None or value == "" else super().read(path, value)

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "string", "minLength": self.minimum, "maxLength": self.maximum},
                {"type": "string", "maxLength": 0},
                {"type": "null"},
            ]
        }


CREDENTIALS: Final = Shape({"wallet": Text(), "password": Password()})
NEW_WALLET: Final = Shape({"wallet": Text()})
WALLET_CHANGES: Final = Shape(
    {
        "display_name": Description(minimum=2, maximum=30, required=False),
        "about": Description(minimum=5, maximum=250, required=False),
    }
)
TOKEN_FILTERS: Final = {"wallet": Text(required=False)}
WALLET_PATH: Final = {"wallet_id": Guid()}
TOKEN_PATH: Final = {"token_id": Guid()}

BEARER_EXAMPLE: Final = (
    "eyJhbGciOiJvcGFxdWUiLCJ0eXAiOiJKV1QifQ"
    ".eyJpZCI6ImNkMDA0ZGNjLTc5NzQtNGMzNS04NzE5LWNmOGY0ZTE4ZDFkZiIsIm5hbWUiOiJhbGljZSJ9"
    ".kx3Zr0iV2oY7cF5wq8mJ1sT4uB6nD9eLhGpAaQyRzXE8wq8mJ1sT4u"
)
WALLET_EXAMPLE: Final = {
    "id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
    "name": "alice",
    "about": Nullable("planted in spring"),
    "logo_url": Nullable("https://example.org/alice.png"),
    "created_at": "2024-01-01T00:01:00.000Z",
    "tokens_in_wallet": 100,
    "tokens_available": 98,
    "tokens_pending": 2,
}
# `wallet` repeats the name, for clients of the service's later version.
ONE_WALLET_EXAMPLE: Final = {
    **WALLET_EXAMPLE,
    "cover_url": Nullable("https://example.org/trees.png"),
    "display_name": Nullable("Alice"),
    "wallet": "alice",
}
TOKEN_EXAMPLE: Final = {
    "id": "0acf8c3d-3008-4b55-877b-241d984721d2",
    "capture_id": "f55ee0fe-383e-4e91-89f1-c179c3611730",
    "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
    "transfer_pending": False,
    "transfer_pending_id": Nullable("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"),
    "created_at": "2024-02-01T00:00:01.000Z",
    "updated_at": "2024-02-01T00:00:01.000Z",
    "claim": False,
    "links": {"capture": "/webmap/tree?uuid=f55ee0fe-383e-4e91-89f1-c179c3611730"},
}


def from_json(json: str) -> Any:
    """Return JSON text from PostgreSQL as a value that is rendered unchanged."""
    return orjson.Fragment(json)


def created_wallet(created: Wallet) -> dict[str, Any]:
    """Return the body of the answer to `POST /wallets`."""
    return {"wallet": created.name}
