"""Bearer tokens: the shape of a JSON Web Token, of which nothing is believed."""

import base64
import http.client
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.api.caller import PASSWORD, Caller, answer, logged_in, refusal
from wallets import bearer_tokens, operations, queries
from wallets.models import BearerToken, Wallet

# By a fixture, or without `subprocess` (tests/parts.py).
OF_SYSTEMS = True

NOT_VERIFIED = "ERROR: Authentication, token not verified"


def decoded(part: str) -> Any:
    """Read a part as browser clients do: base64url without padding, UTF-8, JSON."""
    return json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def new_bearer(wallet: Wallet) -> str:
    return operations.authenticate(name_or_id=wallet.name, password=PASSWORD)


def test_the_token_decodes_as_a_jwt_with_the_public_fields_of_the_wallet_that_are_set(alice: Caller) -> None:
    assert alice.wallet is not None
    before = int(time.time())
    header, payload, secret = new_bearer(alice.wallet).split(".")
    claims = decoded(payload)

    assert decoded(header) == {"alg": "opaque", "typ": "JWT"}
    assert list(claims) == ["id", "name", "created_at", "iat", "exp", "iss"]
    assert (claims["id"], claims["name"], claims["iss"]) == (str(alice.wallet.pk), "alice", "coppice")
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    shown = answer(alice.get("/wallets?limit=1"))[1]["wallets"][0]
    assert claims["created_at"] == shown["created_at"]
    # 256 random bits beside the six characters that operators see.
    assert len(base64.urlsafe_b64decode(secret + "==")) * 8 - 6 * 6 >= 256

    Wallet.objects.filter(pk=alice.wallet.pk).update(
        display_name="Älice", logo_url="https://example.org/a.png", about="planted in spring"
    )
    later = decoded(new_bearer(alice.wallet).split(".")[1])
    assert {name: later[name] for name in later if name not in claims} == {
        "display_name": "Älice",
        "logo_url": "https://example.org/a.png",
        "about": "planted in spring",
    }
    assert new_bearer(alice.wallet).split(".")[2] != new_bearer(alice.wallet).split(".")[2]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"about": "x" * 250, "logo_url": "https://example.org/" + "x" * 2000}, {"name", "about"}),
        ({"about": "\u2003" * 250, "display_name": "x" * 30}, {"name", "display_name", "about"}),
        ({"name": "\U0001f333" * 254, "about": "\u2003" * 250}, {"name"}),
        ({"name": '"' * 254, "about": "x" * 250}, {"name", "about"}),
        ({"name": "\x01" * 254}, set()),
    ],
    ids=["logo", "blanks", "trees", "quotes", "control"],
)
def test_a_token_of_any_wallet_is_shorter_than_2_kb_and_keeps_what_fits(
    alice: Caller, fields: dict[str, Any], kept: set[str]
) -> None:
    assert alice.wallet is not None
    for name, value in fields.items():
        setattr(alice.wallet, name, value)

    token = bearer_tokens.new_token(alice.wallet)

    assert len(token) <= 2000
    claims = decoded(token.split(".")[1])
    assert set(claims) - {"id", "created_at", "iat", "exp", "iss"} == kept
    assert all(claims[name] == getattr(alice.wallet, name) for name in kept)


def test_the_web_server_takes_the_longest_token(address: str, alice: Caller) -> None:
    assert alice.wallet is not None
    alice.wallet.about = "x" * 1266
    token = bearer_tokens.new_token(alice.wallet)
    assert 1980 <= len(token) <= bearer_tokens.LONGEST
    BearerToken.objects.create(
        wallet=alice.wallet, prefix="x", digest=queries.digest(token), expires_at=Now() + timedelta(days=1)
    )

    for path in ("/wallets?limit=1", "/wallet/v2/wallets?limit=1", "/api/v1/lockers"):
        headers = {"Authorization": f"Bearer {token}", "TREETRACKER-API-KEY": str(alice.api_key)}
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().status == 200, path
        finally:
            connection.close()


def forged(token: str, victim: Wallet) -> dict[str, str]:
    header, payload, secret = token.split(".")
    claims = decoded(payload)
    other = part({**claims, "id": str(victim.pk), "name": victim.name})
    last = "A" if secret[-1] != "A" else "B"
    return {
        "another wallet": f"{header}.{other}.{secret}",
        "a later end": f"{header}.{part({**claims, 'exp': claims['exp'] + 1})}.{secret}",
        "the same claims, written otherwise": f"{header}.{part(claims)}.{secret}",
        "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{payload}.",
        "alg none for another": f"{part({'alg': 'none', 'typ': 'JWT'})}.{other}.",
        "alg HS256": f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{payload}.{secret}",
        "no secret": f"{header}.{payload}.",
        "two parts": f"{header}.{payload}",
        "the secret alone": secret,
        "another secret": f"{header}.{payload}.{secret[:-1]}{last}",
        "padding": f"{token}=",
        "a fourth part": f"{token}.{secret}",
    }


def test_nothing_in_the_token_is_believed(alice: Caller, api_key: str) -> None:
    mallory = logged_in("mallory", api_key)
    assert alice.wallet is not None
    assert mallory.bearer is not None
    own = operations.authenticate(name_or_id="mallory", password=PASSWORD)

    for how, token in forged(own, alice.wallet).items():
        for path in ("/wallets?limit=1", "/wallet/wallets?limit=1"):
            response = mallory.get(path, authorization=f"Bearer {token}")
            assert answer(response) == refusal(403, NOT_VERIFIED), how
        assert answer(mallory.get("/wallet/v2/wallets", authorization=f"Bearer {token}")) == refusal(
            401, NOT_VERIFIED
        ), how
        assert mallory.get("/api/v1/lockers", authorization=f"Bearer {token}").status_code == 401, how
    # The control: the token itself, at each of these doors.
    for path in ("/wallets?limit=1", "/wallet/wallets?limit=1", "/wallet/v2/wallets?limit=1"):
        assert mallory.get(path, authorization=f"Bearer {own}").status_code == 200
    assert mallory.get("/api/v1/lockers", authorization=f"Bearer {own}").status_code == 200


def test_a_token_is_revoked_and_cached_credentials_of_it_end_at_once(alice: Caller) -> None:
    assert alice.wallet is not None
    bearer = f"Bearer {new_bearer(alice.wallet)}"
    assert [alice.get("/wallets?limit=1", authorization=bearer).status_code for _ in range(3)] == [200] * 3

    operations.revoke_bearer_tokens(wallet=alice.wallet)

    assert answer(alice.get("/wallets?limit=1", authorization=bearer)) == refusal(403, NOT_VERIFIED)


def test_a_token_of_the_earlier_form_stays_valid(alice: Caller) -> None:
    assert alice.wallet is not None
    earlier = "kx3Zr0iV2oY7cF5wq8mJ1sT4uB6nD9eLhGpAaQyRzXE"
    BearerToken.objects.create(
        wallet=alice.wallet, prefix=earlier[:6], digest=queries.digest(earlier), expires_at=Now() + timedelta(days=1)
    )

    for path in ("/wallets?limit=1", "/wallet/v2/wallets?limit=1", "/api/v1/lockers"):
        assert alice.get(path, authorization=f"Bearer {earlier}").status_code == 200


def test_what_is_stored_is_a_digest_and_six_characters_of_the_secret_part(alice: Caller) -> None:
    assert alice.wallet is not None
    token = new_bearer(alice.wallet)
    other = new_bearer(alice.wallet)
    secret = token.rpartition(".")[2]
    stored = BearerToken.objects.get(digest=queries.digest(token))

    assert stored.prefix == bearer_tokens.shown_part(token) == secret[:6] != bearer_tokens.shown_part(other)
    assert not [
        name
        for name, value in vars(stored).items()
        if not name.startswith("_") and (secret[6:] in str(value) or token[:40] in str(value))
    ]
