"""Signatures of Standard Webhooks, checked against HMACs that are made here."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from coppice_client import InvalidWebhook, verify_webhook
from coppice_client.webhooks import message_of, new_secret, signed_headers

KEY = bytes(range(24))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = '{"type":"transfer_completed","data":{"name":"Bäume"}}'.encode()


def headers(*, key: bytes = KEY, body: bytes = BODY, age: int = 0, message_id: str = "msg_1") -> dict[str, str]:
    at = str(int(time.time()) - age)
    digest = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "Webhook-Id": message_id,
        "webhook-timestamp": at,
        "WEBHOOK-SIGNATURE": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_a_genuine_message_is_decoded() -> None:
    expected = {"type": "transfer_completed", "data": {"name": "Bäume"}}
    assert verify_webhook(BODY, headers(), SECRET) == expected
    assert verify_webhook(BODY.decode(), headers(), SECRET) == expected
    # Without the prefix, and without padding.
    assert verify_webhook(BODY, headers(), SECRET.removeprefix("whsec_").rstrip("=")) == expected
    short = "whsec_" + base64.b64encode(b"0123456789").decode().rstrip("=")
    assert verify_webhook(BODY, headers(key=b"0123456789"), short) == expected
    # Some minutes of difference between two clocks.
    assert verify_webhook(BODY, headers(age=240), SECRET) == expected
    assert verify_webhook(BODY, headers(age=-240), SECRET) == expected


def test_one_of_several_secrets_and_signatures_is_enough_while_one_is_rotated() -> None:
    assert verify_webhook(BODY, headers(), [new_secret(), SECRET])
    two = headers(key=b"other") | {"webhook-id": "msg_1"}
    two = {name.lower(): value for name, value in two.items()}
    two["webhook-signature"] += " v1a,YWJj " + headers()["WEBHOOK-SIGNATURE"]
    assert verify_webhook(BODY, two, SECRET)


@pytest.mark.parametrize(
    "changed",
    [
        lambda: {"body": BODY.replace(b"completed", b"requested")},
        lambda: {"headers": headers(message_id="msg_2") | {"Webhook-Id": "msg_1"}},
        lambda: {"headers": headers(age=400)},
        lambda: {"headers": headers(age=-400)},
        lambda: {"headers": headers(key=b"another key")},
        lambda: {"headers": {}},
        lambda: {"headers": headers() | {"webhook-timestamp": "yesterday"}},
        lambda: {"headers": headers() | {"WEBHOOK-SIGNATURE": "v1"}},
        lambda: {"headers": headers() | {"WEBHOOK-SIGNATURE": "v1,é"}},
        lambda: {"headers": headers() | {"WEBHOOK-SIGNATURE": "v1,a"}},
        lambda: {"headers": headers() | {"WEBHOOK-SIGNATURE": headers()["WEBHOOK-SIGNATURE"].replace("v1,", "v2,")}},
        lambda: {"headers": headers(body=b"\xff"), "body": b"\xff"},
        lambda: {"headers": headers(body=b"no JSON"), "body": b"no JSON"},
        lambda: {"headers": headers(body=b"[]"), "body": b"[]"},
        lambda: {"secret": [new_secret(), new_secret()]},
    ],
)
def test_anything_else_is_refused(changed: Callable[[], dict[str, Any]]) -> None:
    # Signed now: signatures made when the tests are collected would be refused for their age.
    values = changed()

    with pytest.raises(InvalidWebhook):
        verify_webhook(values.get("body", BODY), values.get("headers", headers()), values.get("secret", SECRET))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é", "whsec_a$b", []])
def test_a_malformed_secret_is_told_from_a_malformed_message(secret: Any) -> None:
    with pytest.raises(ValueError, match="secret") as raised:
        verify_webhook(BODY, headers(), secret)

    assert "a$b" not in str(raised.value)


def test_what_is_signed_is_verified() -> None:
    secret = new_secret()
    event: Any = {
        "id": "5a3f0e2c-6a0b-4f0e-8a0b-1d2c3b4a5f60",
        "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
        "type": "transfer_completed",
        "created_at": "2024-02-01T00:00:01.000Z",
        "payload": {"walletSender": "Bäume"},
    }
    body = message_of(event)

    message = verify_webhook(body, signed_headers(event["id"], body, secret), secret)

    assert message == {"type": event["type"], "timestamp": event["created_at"], "data": event}
    assert json.loads(body) == message
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 24
