"""A partner's program: an API key, perhaps a bearer token, and the Django test client."""

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client

from wallets import bearer_tokens, operations, passwords, queries
from wallets.models import BearerToken, Wallet
from wallets.names import name_key
from wallets.states import EventType

PASSWORD = "test1234"


@dataclass
class Caller:
    """Sends requests with its credentials; any header can be replaced (None leaves it out)."""

    api_key: str | None = None
    bearer: str | None = None
    wallet: Wallet | None = None
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def send(self, method: str, path: str, body: Any = None, **headers: str | None) -> Any:
        sent: dict[str, str | None] = {
            "treetracker-api-key": self.api_key,
            "authorization": None if self.bearer is None else f"Bearer {self.bearer}",
            "content-type": "application/json" if method in {"POST", "PATCH", "PUT"} else None,
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        content_type = sent.pop("content-type")
        extra = {} if content_type is None else {"CONTENT_TYPE": content_type}
        return self.client.generic(
            method,
            path,
            content,
            content_type="",
            headers={name: value for name, value in sent.items() if value is not None},
            **extra,
        )

    def get(self, path: str, **headers: str | None) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str | None) -> Any:
        return self.send("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str | None) -> Any:
        return self.send("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str | None) -> Any:
        return self.send("DELETE", path, **headers)


def logged_in(name: str, api_key: str) -> Caller:
    """
    Return a caller with a new wallet of this name.

    Thousands of tests begin with it, so it writes the rows of `create_wallet` and `authenticate` in three statements
    in place of twelve; `tests/api/test_caller.py` compares the rows.
    """
    with nullcontext() if connection.in_atomic_block else transaction.atomic():
        wallet = Wallet.objects.create(name=name, name_key=name_key(name), password=passwords.encoded(PASSWORD))
        bearer = bearer_tokens.new_token(wallet)
        BearerToken.objects.create(
            wallet=wallet,
            prefix=bearer_tokens.shown_part(bearer),
            digest=queries.digest(bearer),
            expires_at=Now() + bearer_tokens.lifetime(),
        )
        operations.record_events(
            [
                (wallet.pk, EventType.WALLET_CREATED, {"parentWallet": None, "childWallet": name}),
                (wallet.pk, EventType.LOGIN, {"wallet": name}),
            ]
        )
    return Caller(api_key, bearer, wallet)


def refusal(status: int, message: str) -> tuple[int, dict[str, Any]]:
    """Return what `answer` gives for an error of the Treetracker dialect."""
    return status, {"code": status, "message": message}


def created(response: Any) -> tuple[int, str]:
    """Return the status and the name in the answer of `POST /wallets`, which has the fields of a new wallet."""
    status, body = answer(response)
    assert set(body) == {"id", "wallet", "about"}
    return status, str(body["wallet"])


def answer(response: Any) -> tuple[int, Any]:
    """Return status and body."""
    assert response["Content-Type"] == "application/json"
    return response.status_code, json.loads(response.content)
