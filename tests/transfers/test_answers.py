"""What PostgreSQL writes itself: elements of lists, and the answer that is stored in the statement of a transfer."""

import json
import re
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from tests.api.caller import Caller, answer, logged_in, refusal
from tests.concurrency.races import race
from tests.support.transfer_requests import bundle
from transfers import audit, ledger, operations
from transfers.models import Transfer
from trusts import operations as trusts
from wallets.models import IdempotentAnswer, Token

STRANGE = 'a"b\\cé/<&>漢🌳'
RUNNING = refusal(409, "A request with this Idempotency-Key is still running")


@pytest.fixture
def strange(alice: Caller, api_key: str) -> Caller:
    return logged_in(STRANGE, api_key)


def free(caller: Caller) -> int:
    return Token.objects.filter(wallet=caller.wallet, transfer_pending_id=None).count()


def test_a_transfer_in_a_list_reads_as_it_does_alone(alice: Caller, bob: Caller, strange: Caller) -> None:
    trusts.open_managed_wallet(actor=alice.wallet, name="sapling")
    wishes = [bundle("alice", STRANGE, 1), bundle("alice", "sapling", 1), bundle("alice", "bobby", 1)]
    created = [alice.post("/transfers", wish).json() for wish in wishes]
    listed = [
        str(pk)
        for pk in Token.objects.filter(wallet=alice.wallet, transfer_pending_id=None).values_list("pk", flat=True)
    ]
    chosen = {"tokens": listed[:1], "sender_wallet": "alice", "receiver_wallet": "bobby"}
    created += [alice.post("/transfers", chosen).json()]
    created += [strange.post("/transfers", bundle("alice", STRANGE, 1)).json()]
    alice.delete(f"/transfers/{created[2]['id']}")

    shown = alice.get("/transfers?limit=100").json()["transfers"]

    alone = [alice.get(f"/transfers/{each['id']}").json() for each in created]
    assert [list(each.items()) for each in shown] == [list(each.items()) for each in alone]
    assert [each["state"] for each in shown] == ["pending", "completed", "cancelled", "pending", "requested"]


def test_a_wallet_in_a_list_reads_as_it_does_alone(alice: Caller, strange: Caller) -> None:
    trusts.open_managed_wallet(actor=strange.wallet, name="sapling", about=f"about {STRANGE}")
    operations.issue_tokens(wallet=strange.wallet, count=3)
    assert alice.post("/transfers", bundle(STRANGE, "alice", 1)).status_code == 202
    assert strange.post("/transfers", bundle(STRANGE, "alice", 2)).status_code == 202

    shown = strange.get("/wallets?limit=100").json()["wallets"]

    for each in shown:
        alone = strange.get(f"/wallets/{each['id']}").json()
        assert list(alone.items())[:8] == list(each.items())
    assert [(each["name"], each["tokens_in_wallet"], each["tokens_available"]) for each in shown] == [
        ("sapling", 0, 0),
        (STRANGE, 3, 1),
    ]


def test_a_token_in_a_list_reads_as_it_does_alone(alice: Caller, bob: Caller) -> None:
    pending = alice.post("/transfers", bundle("alice", "bobby", 1)).json()["id"]

    shown = alice.get("/tokens?limit=100").json()["tokens"]

    assert [alice.get(f"/tokens/{each['id']}").json() for each in shown] == shown
    assert [each["transfer_pending_id"] for each in shown if each["transfer_pending"]] == [pending]
    assert [each["transfer_pending_id"] for each in shown if not each["transfer_pending"]] == [None] * 4
    assert alice.get(f"/transfers/{pending}/tokens?limit=9").json()["tokens"] == [
        each for each in shown if each["transfer_pending"]
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("receiver", "status"), [("sapling", 201), ("bobby", 202), (STRANGE, 202), ("asked for", 202), ("listed", 201)]
)
def test_a_repeated_transfer_is_answered_with_the_very_bytes_and_moves_nothing(
    alice: Caller, bob: Caller, strange: Caller, receiver: Any, status: int
) -> None:
    trusts.open_managed_wallet(actor=alice.wallet, name="sapling")
    caller, wish = alice, bundle("alice", receiver, 2)
    if receiver == "asked for":
        caller, wish = strange, bundle("alice", STRANGE, 2)
    elif receiver == "listed":
        listed = [str(pk) for pk in Token.objects.filter(wallet=alice.wallet).values_list("pk", flat=True)[:2]]
        wish = {"tokens": listed, "sender_wallet": "alice", "receiver_wallet": "sapling"}

    first = caller.post("/transfers", wish, idempotency_key="k-1")
    left = free(alice)
    second = caller.post("/transfers", wish, idempotency_key="k-1")

    assert first.status_code == second.status_code == status
    assert first.content == second.content
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert Transfer.objects.count() == 1
    assert free(alice) == left == (5 if receiver == "asked for" else 3)
    stored = IdempotentAnswer.objects.get()
    assert (stored.status, stored.body, stored.result_id) == (None, None, Transfer.objects.get().pk)
    assert audit.audit_findings() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["accept", "decline", "delete", "expire"])
def test_a_replay_shows_the_transfer_as_it_was_created_whatever_became_of_it(
    alice: Caller, bob: Caller, end: str
) -> None:
    wish = bundle("alice", "bobby", 2)
    first = alice.post("/transfers", wish, idempotency_key="k-1")
    actor = {"accept": {"actor": bob.wallet}, "decline": {"actor": bob.wallet}, "delete": {"actor": alice.wallet}}
    transfer_id = UUID(first.json()["id"])
    if end == "expire":
        operations.expire(transfer_ids=[transfer_id])
    else:
        getattr(operations, end)(transfer_id=transfer_id, **actor[end])

    second = alice.post("/transfers", wish, idempotency_key="k-1")

    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert alice.get(f"/transfers/{first.json()['id']}").json()["state"] != "pending"


@pytest.mark.django_db(transaction=True)
def test_a_send_has_one_text_for_each_way_to_name_parties_and_tokens_with_and_without_a_key(
    alice: Caller, bob: Caller
) -> None:
    sent: set[str] = set()

    def note(execute: Any, sql: Any, *arguments: Any) -> Any:
        if "INSERT INTO transfers_transfer" in sql:
            sent.add(sql)
        return execute(sql, *arguments)

    operations.issue_tokens(wallet=alice.wallet, count=40)
    with connection.execute_wrapper(note):
        for number, (sender, receiver, is_listed, is_keyed, size) in enumerate(
            product(
                ("alice", str(alice.wallet.pk)), ("bobby", str(bob.wallet.pk)), (True, False), (True, False), (1, 99)
            )
        ):
            free_tokens = Token.objects.filter(transfer_pending_id=None).values_list("pk", flat=True)
            tokens = [str(free_tokens[0])]
            what = {"tokens": tokens} if is_listed else {"bundle": {"bundle_size": size}}
            alice.post(
                "/transfers",
                {"sender_wallet": sender, "receiver_wallet": receiver, **what},
                **({"idempotency_key": f"k-{number}"} if is_keyed else {}),
            )

    # Four ways to name the parties, three to select tokens, with and without a key; whatever checks the credentials.
    assert len({re.sub(r"me AS MATERIALIZED \(.*?AS id\)", "", text, flags=re.DOTALL) for text in sent}) == 24


@pytest.mark.django_db(transaction=True)
def test_a_transfer_that_is_refused_stores_no_answer_and_may_be_tried_again(alice: Caller, bob: Caller) -> None:
    refused = alice.post("/transfers", bundle("alice", "bobby", 6), idempotency_key="k-1")
    operations.issue_tokens(wallet=alice.wallet, count=1)
    again = alice.post("/transfers", bundle("alice", "bobby", 6), idempotency_key="k-1")

    assert (refused.status_code, again.status_code) == (403, 202)
    assert Transfer.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_key_that_was_used_for_another_transfer_is_refused(alice: Caller, bob: Caller) -> None:
    alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")

    other = alice.post("/transfers", bundle("alice", "bobby", 2), idempotency_key="k-1")

    assert answer(other) == refusal(422, "This Idempotency-Key was used for another request")
    assert (Transfer.objects.count(), free(alice)) == (1, 4)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["before the look-up", "between the look-up and the transfer"])
def test_while_the_first_request_runs_a_transfer_is_refused_and_moves_nothing(
    alice: Caller, bob: Caller, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = connections.create_connection("default")

    def hold() -> None:
        with first.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s || %s, 0))", [str(alice.wallet.pk), "k-1"])

    send = ledger.send_bundle
    if moment == "before the look-up":
        hold()
    else:
        monkeypatch.setattr(ledger, "send_bundle", lambda **arguments: (hold(), send(**arguments))[1])
    try:
        response = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")
        # Closing alone does not wait until the server has released the lock.
        with first.cursor() as cursor:
            cursor.execute("ROLLBACK")
    finally:
        first.close()
    monkeypatch.undo()
    afterwards = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")

    assert answer(response) == RUNNING
    assert response["Retry-After"] == "1"
    assert afterwards.status_code == 202
    assert (Transfer.objects.count(), free(alice)) == (1, 4)


@pytest.mark.django_db(transaction=True)
def test_a_request_with_this_key_that_committed_in_between_wins_and_this_transfer_moves_nothing(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1)
    send = ledger.send_bundle

    def send_after_the_other(**arguments: Any) -> Any:
        IdempotentAnswer.objects.create(
            wallet=alice.wallet,
            key="k-1",
            fingerprint=arguments["request"].claim.fingerprint,
            result_id=made.id,
            created_at=timezone.now(),
        )
        return send(**arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "send_bundle", send_after_the_other)
        lost = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")
    replayed = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")

    assert answer(lost) == RUNNING
    assert (replayed.status_code, replayed.json()["id"]) == (202, str(made.id))
    assert (Transfer.objects.count(), free(alice)) == (1, 4)
    assert audit.audit_findings() == []


@pytest.mark.django_db(transaction=True)
def test_of_16_transfers_with_one_key_one_is_made(alice: Caller, bob: Caller) -> None:

    def post() -> Any:
        client = Caller(alice.api_key, alice.bearer, alice.wallet)
        return client.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")

    answers = race([post] * 16)

    assert {each.status_code for each in answers} <= {202, 409}
    made = {each.content for each in answers if each.status_code == 202}
    assert len(made) == 1
    assert json.loads(made.pop())["id"] == str(Transfer.objects.get().pk)
    assert free(alice) == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cut", ["before the server did it", "after the server did it"])
def test_a_connection_cut_during_the_transfer_and_a_retry_give_one_effect(
    alice: Caller, bob: Caller, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client cannot know which of the two it was, and need not."""
    send = ledger.send_bundle

    def send_and_lose_the_connection(**arguments: Any) -> None:
        if cut == "after the server did it":
            send(**arguments)
        connection.connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "send_bundle", send_and_lose_the_connection)
        unknown = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")
    connection.close()
    retried = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")

    assert answer(unknown) == refusal(503, "Service busy, try again")
    assert retried.status_code == 202
    assert ("Idempotency-Replayed" in retried) == (cut == "after the server did it")
    assert (Transfer.objects.count(), free(alice)) == (1, 4)
