"""Actions whose own statement checks credentials again: what that saves, and that revoked credentials are refused."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from config.api import cached_credentials
from tests.api.caller import Caller, answer, logged_in, refusal
from tests.transfers.books import assert_sound, books
from transfers import ledger, operations
from transfers.models import Transfer
from trusts import operations as trusts
from wallets.models import ApiKey, BearerToken, IdempotentAnswer, Wallet

pytestmark = pytest.mark.django_db(transaction=True)

ACTIONS = {
    "GET /wallets": lambda caller: caller.get("/wallets?limit=10"),
    "GET /tokens": lambda caller: caller.get("/tokens?limit=10"),
    "GET /transfers": lambda caller: caller.get("/transfers?limit=10"),
    "POST /transfers": lambda caller: caller.post("/transfers", bundle(1)),
    "POST /transfers, listed": lambda caller: caller.post("/transfers", listed(caller)),
    "POST /transfers, with a key": lambda caller: caller.post(
        "/transfers", bundle(1), idempotency_key=f"key-{Transfer.objects.count()}"
    ),
}
ENDINGS: dict[str, tuple[Callable[[], Any], tuple[int, dict[str, Any]]]] = {
    "bearer token revoked": (
        lambda: BearerToken.objects.update(revoked_at=timezone.now()),
        refusal(403, "ERROR: Authentication, token not verified"),
    ),
    "bearer token expired": (
        lambda: BearerToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
        refusal(403, "ERROR: Authentication, token not verified"),
    ),
    "bearer token deleted": (
        lambda: BearerToken.objects.all().delete(),
        refusal(403, "ERROR: Authentication, token not verified"),
    ),
    "API key revoked": (
        lambda: ApiKey.objects.update(revoked_at=timezone.now()),
        refusal(401, "Invalid API access, apiKey was deprecated"),
    ),
    "API key expired": (
        lambda: ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
        refusal(401, "Invalid API access, apiKey was deprecated"),
    ),
    "API key deleted": (lambda: ApiKey.objects.all().delete(), refusal(401, "Invalid API access")),
}


@pytest.fixture
def alice(api_key: str) -> Caller:
    """Holds 9 tokens, manages sapling, and was here a moment ago."""
    caller = logged_in("alice", api_key)
    trusts.open_managed_wallet(actor=caller.wallet, name="sapling")
    operations.issue_tokens(wallet=caller.wallet, count=9)
    operations.send_bundle(actor=caller.wallet, sender="alice", receiver="sapling", size=1)
    assert caller.get("/wallets?limit=1").status_code == 200
    return caller


def bundle(size: int, receiver: str = "sapling") -> dict[str, Any]:
    return {"sender_wallet": "alice", "receiver_wallet": receiver, "bundle": {"bundle_size": size}}


def listed(caller: Caller) -> dict[str, Any]:
    token = str(caller.wallet.tokens.values_list("pk", flat=True).first())
    return {"sender_wallet": "alice", "receiver_wallet": "sapling", "tokens": [token]}


def counted(action: Callable[[], Any]) -> tuple[Any, list[str]]:
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        statements.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(note):
        response = action()
    return response, statements


@pytest.mark.parametrize("action", ACTIONS)
def test_who_was_here_a_moment_ago_is_answered_with_one_trip_to_the_database(alice: Caller, action: Any) -> None:
    response, statements = counted(lambda: ACTIONS[action](alice))

    assert response.status_code in {200, 201}
    asked = [each for each in statements if each.lstrip().startswith(("WITH", "SELECT string_agg"))]
    assert len(asked) == 1
    assert "wallets_bearertoken" in asked[0]
    assert not [each for each in statements if "api_key.digest" in each]


@pytest.mark.parametrize("ending", ENDINGS)
def test_who_has_been_put_out_is_refused_at_once_and_nothing_moves(alice: Caller, ending: Any) -> None:
    end, expected = ENDINGS[ending]
    remembered = dict(cached_credentials._cache)
    before = books()

    end()

    for ask in ACTIONS.values():
        # The refusal before has made it forget.
        cached_credentials._cache.update(remembered)
        assert answer(ask(alice)) == expected
        assert not cached_credentials._cache
    assert books() == before


def test_the_credentials_of_another_are_not_taken_for_mine(alice: Caller, api_key: str) -> None:
    bob = logged_in("bobby", api_key)
    assert answer(bob.get("/tokens?limit=10")) == (200, {"tokens": []})

    assert len(answer(alice.get("/tokens?limit=10"))[1]["tokens"]) == 8
    assert answer(bob.get("/tokens?limit=10")) == (200, {"tokens": []})
    assert bob.post("/transfers", bundle(1)).status_code == 403


@pytest.mark.parametrize("path", ["/tokens?limit=10", "/transfers?limit=10", "/wallets?limit=10&start=9"])
def test_a_page_with_nothing_on_it_is_empty_and_not_a_refusal(api_key: str, path: str) -> None:
    bob = logged_in("bobby", api_key)
    first = answer(bob.get(path))

    assert answer(bob.get(path)) == first
    assert first[0] == 200
    assert not next(iter(first[1].values()))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bundle(99), 403),
        (bundle(1, "nobody"), 404),
        (bundle(1, "alice"), 422),
        (bundle(1, "no body"), 400),
        (bundle(0), 422),
        ({"sender_wallet": "alice"}, 422),
        (b"{", 400),
        (b'{"a": "' + b"x" * 1024 * 1024 + b'"}', 413),
        ([], 422),
    ],
)
def test_a_refusal_reads_the_same_whether_credentials_are_remembered_or_looked_up(
    alice: Caller, body: Any, status: int
) -> None:
    before = books()

    remembered = alice.post("/transfers", body, idempotency_key="k-1")
    cached_credentials.clear()
    looked_up = alice.post("/transfers", body, idempotency_key="k-1")

    assert answer(remembered) == answer(looked_up)
    assert remembered.status_code == status
    assert books() == before
    assert not IdempotentAnswer.objects.exists()


def test_a_repeated_transfer_of_somebody_remembered_is_replayed(alice: Caller) -> None:
    first = alice.post("/transfers", bundle(2), idempotency_key="k-1")
    before = books()

    second = alice.post("/transfers", bundle(2), idempotency_key="k-1")
    other = alice.post("/transfers", bundle(3), idempotency_key="k-1")

    assert (first.status_code, second.status_code, second["Idempotency-Replayed"]) == (201, 201, "true")
    assert first.content == second.content
    assert answer(other) == refusal(422, "This Idempotency-Key was used for another request")
    assert books() == before
    assert_sound()


def test_a_fault_is_never_asked_again(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def cut(**arguments: Any) -> None:
        asked.append(arguments)
        raise OperationalError("the connection was cut while it committed")

    monkeypatch.setattr(ledger, "send_bundle", cut)

    response = alice.post("/transfers", bundle(1))

    assert response.status_code == 503
    assert len(asked) == 1


def test_a_list_of_a_named_wallet_is_that_of_the_wallet(alice: Caller) -> None:
    """Where the credentials are remembered, the statement would otherwise read the caller's own."""
    for name, held in (("sapling", 1), ("alice", 8)):
        wallet = Wallet.objects.get(name=name)
        tokens = answer(alice.get(f"/tokens?limit=9&wallet={name}"))[1]["tokens"]
        assert [each["wallet_id"] for each in tokens] == [str(wallet.pk)] * held
        assert len(answer(alice.get(f"/transfers?limit=9&wallet={name}"))[1]["transfers"]) == 1


def test_a_list_of_a_named_wallet_looks_the_credentials_up(alice: Caller) -> None:
    BearerToken.objects.update(revoked_at=timezone.now())

    for path in ("/tokens?limit=9&wallet=sapling", "/transfers?limit=9&wallet=sapling"):
        assert answer(alice.get(path)) == refusal(403, "ERROR: Authentication, token not verified")
