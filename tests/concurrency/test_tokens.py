"""Races for tokens, on real connections. Each has a control without the lock, which shows the race."""

import functools
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from tests.concurrency.races import assert_sound, kinds, locked, race, wait_until_waiting
from transfers import bulk, errors, ledger, operations
from transfers.models import Movement, Transfer
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Token, Wallet
from wallets.sql_files import load

CLIENTS = 32


def tokens_of(wallet: Any) -> Any:
    return list(Token.objects.filter(wallet=wallet).order_by("id").values_list("id", flat=True))


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the row locks out of every statement of the ledger, and leave all else as it is."""
    parts = ("select_available", "select_waiting", "select_listed", "select_reserved")
    assert all("FOR NO KEY UPDATE" in ledger.load("transfers", f"parts/{part}") for part in parts)

    def load_without_locks(app: str, name: str, **parts: str) -> str:
        return re.sub(r"FOR NO KEY UPDATE( OF token| SKIP LOCKED)?", "", load(app, name, **parts))

    monkeypatch.setattr(ledger, "load", load_without_locks)
    # The statement of a send is kept once it was rendered.
    monkeypatch.setattr(ledger, "_send_statement", ledger._send_statement.__wrapped__)


def send_the_same_list(alice: Any, receivers: Any) -> Any:
    listed = tokens_of(alice)[:5]
    return race(
        [
            lambda receiver=receiver: operations.send_tokens(
                actor=alice, sender="alice", receiver=receiver, token_ids=listed
            )
            for receiver in receivers
        ]
    )


def test_row_20_of_32_clients_with_one_token_list_one_wins(stocked: Wallet, sapling: Wallet) -> None:
    outcomes = send_the_same_list(stocked, ["sapling"] * CLIENTS)

    assert kinds(outcomes) == {"completed": 1, "TokenElsewhere": CLIENTS - 1}
    assert len(tokens_of(sapling)) == 5
    assert Transfer.objects.count() == 1
    assert_sound()


def test_of_32_clients_that_reserve_one_token_list_one_wins(stocked: Wallet, bob: Wallet) -> None:
    outcomes = send_the_same_list(stocked, ["bobby"] * CLIENTS)

    assert kinds(outcomes) == {"pending": 1, "TokenReserved": CLIENTS - 1}
    assert Transfer.objects.count() == 1
    assert_sound()


def test_control_without_the_lock_a_token_that_another_took_is_taken_again(
    stocked: Wallet, sapling: Wallet, bob: Wallet, without_locks: None
) -> None:
    # One statement is held between its look at the tokens and its change of them, by a lock on the first of them:
    # it has chosen, and does not look again. What saves the books then is the number of the movement alone.
    listed = tokens_of(stocked)[:1]
    trusts.open_managed_wallet(actor=stocked, name="another")
    with locked("SELECT 1 FROM wallets_token WHERE id = %s FOR UPDATE", listed):
        contestants = threading.Thread(target=lambda: outcomes.extend(two_sends(stocked, listed)))
        outcomes = []
        contestants.start()
        wait_until_waiting(2)
    contestants.join(timeout=60)

    assert kinds(outcomes) != {"completed": 1, "TokenElsewhere": 1}
    assert Movement.objects.filter(token_id=listed[0], number__gt=0).count() == 2


def two_sends(alice: Any, listed: Any) -> Any:
    return race(
        [
            lambda receiver=receiver: operations.send_tokens(
                actor=alice, sender="alice", receiver=receiver, token_ids=listed
            )
            for receiver in ("sapling", "another")
        ]
    )


def test_with_the_lock_a_token_that_another_took_is_not_taken_again(
    stocked: Wallet, sapling: Wallet, bob: Wallet
) -> None:
    listed = tokens_of(stocked)[:1]
    trusts.open_managed_wallet(actor=stocked, name="another")
    with locked("SELECT 1 FROM wallets_token WHERE id = %s FOR UPDATE", listed):
        contestants = threading.Thread(target=lambda: outcomes.extend(two_sends(stocked, listed)))
        outcomes = []
        contestants.start()
        wait_until_waiting(2)
    contestants.join(timeout=60)

    assert kinds(outcomes) == {"completed": 1, "TokenElsewhere": 1}
    assert_sound()


@pytest.mark.parametrize("receiver", ["sapling", "bobby"])
def test_a_wallet_is_drained_to_the_last_token_and_not_further(
    stocked: Wallet, sapling: Wallet, bob: Wallet, receiver: str
) -> None:
    # 32 clients ask for 3 of 40 tokens twice: 13 bundles can be had, and 1 token stays.
    def draw() -> Any:
        return [attempt(), attempt()]

    def attempt() -> Any:
        try:
            return operations.send_bundle(actor=stocked, sender="alice", receiver=receiver, size=3).state
        except errors.InsufficientTokens:
            return "refused"

    outcomes = [each for both in race([draw] * CLIENTS) for each in both]

    state = "completed" if receiver == "sapling" else "pending"
    assert kinds(outcomes) == {state: 13, "refused": 2 * CLIENTS - 13}
    assert Token.objects.filter(wallet=stocked, transfer_pending_id=None).count() == 1
    assert Transfer.objects.filter(state=state).count() == 13
    assert_sound()


def test_control_a_draw_that_does_not_ask_again_refuses_what_is_there(stocked: Wallet, sapling: Wallet) -> None:
    with locked("SELECT 1 FROM wallets_token WHERE wallet_id = %s FOR NO KEY UPDATE", [stocked.pk]):
        source, destination = (ledger.WalletReference(id=wallet.pk) for wallet in (stocked, sapling))
        request = ledger.Request(stocked.pk, stocked, source, destination)
        decision = ledger.send_bundle(request=request, size=1, wait=False)

    assert (decision.state, decision.number) == ("completed", None)
    assert Transfer.objects.count() == 0


@pytest.mark.parametrize("finds", ["enough", "too few"])
def test_an_attempt_that_finds_too_few_keeps_no_lock(stocked: Wallet, finds: str) -> None:
    """Inside a transaction of the caller; the attempt that follows waits for tokens, in an order."""
    lock = "SELECT count(*) FROM (SELECT FROM wallets_token FOR NO KEY UPDATE {}) AS free"

    def free(how: str) -> Any:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(lock.format(how))
            return cursor.fetchone()[0]

    with transaction.atomic():
        with operations.attempt():
            assert free("") == 40
            if finds == "too few":
                raise operations.TooFew
        assert race([lambda: free("SKIP LOCKED")]) == [40 if finds == "too few" else 0]


def requested(alice: Any, **what: Any) -> Any:
    """Return the id of a request for tokens of alice, by another wallet."""
    rita = wallets.create_wallet(name="rita")
    send = operations.send_bundle if "size" in what else operations.send_tokens
    return send(actor=rita, sender="alice", receiver="rita", **what).id


# All tokens of alice, by each operation that selects them. Prepared first, then done.
DRAWS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "a bundle": lambda alice: lambda: operations.send_bundle(actor=alice, sender="alice", receiver="sapling", size=40),
    "a list": lambda alice: (
        lambda: operations.send_tokens(actor=alice, sender="alice", receiver="sapling", token_ids=tokens_of(alice))
    ),
    "a batch": lambda alice: (
        lambda: bulk.transfer_batch(actor=alice, sender="alice", rows=[bulk.Row(2, "sapling", 40)])
    ),
    "a batch of new wallets": lambda alice: (
        lambda: bulk.create_batch(actor=alice, sender="alice", rows=[bulk.Row(2, "seedling", 40)])
    ),
    "a requested bundle": lambda alice: functools.partial(
        operations.fulfill, actor=alice, transfer_id=requested(alice, size=40)
    ),
    "a requested bundle, with chosen tokens": lambda alice: functools.partial(
        operations.fulfill, actor=alice, transfer_id=requested(alice, size=40), token_ids=tokens_of(alice)
    ),
    "a requested list": lambda alice: functools.partial(
        operations.fulfill, actor=alice, transfer_id=requested(alice, token_ids=tokens_of(alice))
    ),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_a_shortage_that_is_only_somebodys_lock_is_waited_for(stocked: Wallet, sapling: Wallet, draw: str) -> None:
    act, outcomes = DRAWS[draw](stocked), []
    with locked("SELECT 1 FROM wallets_token WHERE wallet_id = %s FOR NO KEY UPDATE", [stocked.pk]):
        sender = threading.Thread(target=lambda: outcomes.extend(race([act])))
        sender.start()
        wait_until_waiting(1)
    sender.join(timeout=60)

    assert [each for each in outcomes if isinstance(each, Exception)] == []
    assert list(Transfer.objects.values_list("state", "moved_count")) == [("completed", 40)]
    assert tokens_of(stocked) == []
    assert_sound()


def test_row_20_500_opposite_transfers_end_without_a_deadlock(stocked: Wallet, sapling: Wallet) -> None:
    operations.issue_tokens(wallet=sapling, count=40)
    there, back = tokens_of(stocked), tokens_of(sapling)
    trips = [(there, "alice", "sapling"), (list(reversed(back)), "sapling", "alice")]

    def travel(client: Any) -> Any:
        states = []
        for trip in range(63):
            listed, sender, receiver = trips[(client + trip) % 2]
            try:
                # Overlapping lists, named in either order.
                chosen = listed[client % 4 : client % 4 + 20 : 1 if trip % 2 else -1] or listed[::-1][:20]
                row = operations.send_tokens(actor=stocked, sender=sender, receiver=receiver, token_ids=chosen)
                states.append(row.state)
            except (errors.TokenElsewhere, errors.TokenReserved):
                states.append("refused")
            try:
                states.append(operations.send_bundle(actor=stocked, sender=receiver, receiver=sender, size=7).state)
            except errors.InsufficientTokens:
                states.append("refused")
        return states

    outcomes = race([lambda client=client: travel(client) for client in range(4)])

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    states = [state for each in outcomes for state in each]
    assert len(states) == 504
    assert states.count("completed") >= 100
    assert Token.objects.count() == 80
    assert_sound()


def test_history_is_numbered_in_the_order_in_which_the_token_moved(
    stocked: Wallet, sapling: Wallet, bob: Wallet
) -> None:
    token = tokens_of(stocked)[:1]

    def bounce() -> None:
        for sender, receiver in [("alice", "sapling"), ("sapling", "alice")] * 5:
            try:
                operations.send_tokens(actor=stocked, sender=sender, receiver=receiver, token_ids=token)
            except errors.TokenElsewhere:
                continue

    race([bounce] * 8)

    history = list(Movement.objects.filter(token_id=token[0]).order_by("number"))
    assert [row.number for row in history] == list(range(len(history)))
    assert [row.id for row in history] == sorted(row.id for row in history)
    assert [row.processed_at for row in history] == sorted(row.processed_at for row in history)
    assert_sound()


def test_a_transfer_in_flight_and_the_end_of_its_trust_come_one_after_the_other(stocked: Wallet, bob: Wallet) -> None:
    row = trusts.request_trust(actor=stocked, request_type=TrustRequestType.SEND, requestee="bobby")
    trusts.accept_trust(actor=bob, trust_id=row.id)
    outcomes = []
    with locked("SELECT 1 FROM wallets_token WHERE wallet_id = %s FOR NO KEY UPDATE", [stocked.pk]):
        # It has read the trust, and waits for the token.
        sender = threading.Thread(
            target=lambda: outcomes.extend(
                race(
                    [
                        lambda: operations.send_tokens(
                            actor=stocked, sender="alice", receiver="bobby", token_ids=tokens_of(stocked)[:1]
                        )
                    ]
                )
            )
        )
        sender.start()
        wait_until_waiting(1)
        decliner = threading.Thread(
            target=lambda: outcomes.extend(race([lambda: trusts.decline_trust(actor=bob, trust_id=row.id)]))
        )
        decliner.start()
        wait_until_waiting(2)
        assert decliner.is_alive(), "the trust ended under a transfer that rests on it"
    sender.join(timeout=60)
    decliner.join(timeout=60)

    assert kinds(outcomes) == {"completed": 1, "cancelled_by_target": 1}
    assert_sound()


def test_one_capture_gets_one_token_however_often_it_is_issued_at_once(alice: Wallet) -> None:
    captures = [alice.pk]

    outcomes = race([lambda: operations.issue_tokens(wallet=alice, capture_ids=captures)] * 8)

    assert kinds(outcomes) == {"1": 1, "CaptureAlreadyIssued": 7}
    assert Token.objects.count() == 1
    assert_sound()
