"""Claim links that several sessions decide on at once: one claim, and never a claim and a cancellation."""

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tests.concurrency.races import PATIENCE_SECONDS, Gate, assert_sound, kinds, race
from tests.transfers.books import let_link_expire
from transfers import action_tokens, ledger, operations
from transfers.models import ActionToken, Movement, Transfer
from wallets.models import Token, Wallet

MOVED = {"redeemed": 3, "cancelled": 0, "expired": 0}


def offered(wallet: Wallet, size: int = 3) -> action_tokens.NewLink:
    return action_tokens.offer_bundles(actor=wallet, sender=None, size=size)[0]


def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_tokens, "_lock", lambda **which: ActionToken.objects.filter(**which).first())


def meet_after_the_look(monkeypatch: pytest.MonkeyPatch, parties: int, *, held: bool) -> None:
    """Let all contestants come to the point where each has read the link and found it active."""
    state, gate = action_tokens._state, Gate(parties, held=held)

    def look_and_wait(link: ActionToken) -> Any:
        found = state(link)
        gate()
        return found

    monkeypatch.setattr(action_tokens, "_state", look_and_wait)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_of_claims_at_once_one_wins_and_the_others_are_told(
    stocked: Wallet, bob: Wallet, carol: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    link = offered(stocked)
    meet_after_the_look(monkeypatch, 2, held=is_locked)
    if not is_locked:
        without_lock(monkeypatch)
    claim = [
        lambda: action_tokens.redeem(actor=bob, code=link.code),
        lambda: action_tokens.redeem(actor=carol, code=link.code),
    ]
    outcomes = race(claim)

    # Without the lock the second is stopped by the reservation that is gone: nothing is doubled, but it is an error.
    assert kinds(outcomes) == {"completed": 1, "ActionTokenRedeemed" if is_locked else "AssertionError": 1}
    assert Transfer.objects.count() == 1
    assert Movement.objects.filter(number=1).count() == 3
    assert Token.objects.exclude(wallet=stocked).count() == 3
    assert_sound()


def test_of_many_claims_and_cancellations_and_sweeps_one_decides(stocked: Wallet, bob: Wallet, carol: Wallet) -> None:
    for _ in range(6):
        link = offered(stocked)
        before = Token.objects.exclude(wallet=stocked).count()
        race(
            [
                lambda link=link: action_tokens.redeem(actor=bob, code=link.code),
                lambda link=link: action_tokens.redeem(actor=carol, code=link.code),
                lambda link=link: action_tokens.cancel(actor=stocked, action_token_id=link.id),
                lambda link=link: action_tokens.expire(action_token_ids=[link.id]),
            ]
        )
        state = ActionToken.objects.get(pk=link.id).state
        assert Token.objects.exclude(wallet=stocked).count() - before == MOVED[state]
        assert not Token.objects.filter(transfer_pending_id=link.id).exists()
        assert_sound()


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
@pytest.mark.parametrize("first", ["redeem", "withdraw"])
def test_a_claim_and_a_cancellation_at_once_never_both_succeed(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool, first: str
) -> None:
    link = offered(stocked)
    meet_after_the_look(monkeypatch, 2, held=is_locked)
    if not is_locked:
        without_lock(monkeypatch)
        one_after_the_other(monkeypatch, first)
    outcomes = race(
        [
            lambda: action_tokens.redeem(actor=bob, code=link.code),
            lambda: action_tokens.cancel(actor=stocked, action_token_id=link.id),
        ]
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(refused) == 1
    expected = {"ActionTokenCancelled", "ActionTokenNotActive"} if is_locked else {"AssertionError"}
    assert {type(each).__name__ for each in refused} <= expected
    state = ActionToken.objects.get().state
    assert Token.objects.filter(wallet=bob).count() == MOVED[state]
    assert_sound()


def one_after_the_other(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Let one statement of the ledger commit before the other begins: which of the two is `first`."""
    has_committed = threading.Event()
    acts = {"redeem": ledger.redeem, "withdraw": ledger.withdraw}

    def in_turn(name: str) -> Any:
        def act(**arguments: Any) -> Any:
            if name == first:
                outcome = acts[name](**arguments)
                transaction.on_commit(has_committed.set)
                return outcome
            assert has_committed.wait(PATIENCE_SECONDS)
            return acts[name](**arguments)

        return act

    for name in acts:
        monkeypatch.setattr(ledger, name, in_turn(name))


def test_a_claim_that_waited_until_the_link_expired_is_refused(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = offered(stocked)
    lock = action_tokens._lock

    def lock_late(**which: Any) -> Any:
        found = lock(**which)
        monkeypatch.setattr(action_tokens.queries, "now", lambda: found.expires_at)
        return found

    monkeypatch.setattr(action_tokens, "_lock", lock_late)
    with pytest.raises(action_tokens.errors.ActionTokenExpired):
        action_tokens.redeem(actor=bob, code=link.code)
    assert not Transfer.objects.exists()


def test_sweeps_at_once_expire_each_link_once(stocked: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_tokens, "_EXPIRED_AT_ONCE", 3)
    for link in action_tokens.offer_bundles(actor=stocked, sender=None, size=2, count=12):
        let_link_expire(link.id)

    outcomes = race([action_tokens.expire_due] * 4)

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert sum(outcomes) + action_tokens.expire_due() == 12
    assert set(ActionToken.objects.values_list("state", flat=True)) == {"expired"}
    assert not Token.objects.exclude(transfer_pending_id=None).exists()
    assert_sound()


def test_links_and_transfers_at_once_reserve_no_token_twice(stocked: Wallet, bob: Wallet) -> None:
    def offer() -> Any:
        return action_tokens.offer_bundles(actor=stocked, sender=None, size=5, count=2)[0].token_count

    def send() -> Any:
        return operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=10)

    outcomes = race([offer, send] * 3)

    # 40 tokens are enough for four of the six.
    done = [each for each in outcomes if not isinstance(each, Exception)]
    assert len(done) == 4
    assert {type(each).__name__ for each in outcomes if isinstance(each, Exception)} <= {
        "TooFewAvailable", "InsufficientTokens",
    }  # fmt: skip
    assert Token.objects.filter(transfer_pending_id=None).count() == 0
    assert_sound()


@pytest.mark.parametrize("act", ["offer", "redeem", "cancel", "expire"])
def test_a_process_that_is_killed_before_it_commits_leaves_nothing_half_done(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    link = offered(stocked)
    step = {"offer": "offer_bundle", "redeem": "redeem"}.get(act, "withdraw")
    run, broken = getattr(ledger, step), []

    def run_and_break(**arguments: Any) -> Any:
        outcome = run(**arguments)
        if not broken:
            broken.append(outcome)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return outcome

    acts = {
        "offer": lambda: offered(stocked),
        "redeem": lambda: action_tokens.redeem(actor=bob, code=link.code),
        "cancel": lambda: action_tokens.cancel(actor=stocked, action_token_id=link.id),
        "expire": lambda: action_tokens.expire(action_token_ids=[link.id]),
    }
    monkeypatch.setattr(ledger, step, run_and_break)
    with pytest.raises(OperationalError, match="terminating"):
        acts[act]()
    connection.close()

    assert broken[0]
    assert list(ActionToken.objects.values_list("pk", "state")) == [(link.id, "active")]
    assert Token.objects.filter(transfer_pending_id=link.id, wallet=stocked).count() == 3
    assert not Transfer.objects.exists()
    assert_sound()
    assert acts[act]()
    assert_sound()
