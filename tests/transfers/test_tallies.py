"""Counts of tokens without counting."""

import json
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.api.caller import Caller
from tests.transfers.books import assert_sound, let_expire, let_link_expire
from transfers import action_tokens, counters, operations, partitions, tasks
from transfers.list_models import ListMark
from transfers.models import ActionToken, Issue, TallyDelta, TallyMark, TokenTally, Transfer
from wallets.models import Token, Wallet
from wallets.queries import OptimisticPage, TokenCount


def counted(*wallets: Any) -> Any:
    return [
        TokenCount(
            Token.objects.filter(wallet=wallet).count(),
            Token.objects.filter(wallet=wallet).exclude(transfer_pending_id=None).count(),
        )
        for wallet in wallets
    ]


def told(*wallets: Any) -> Any:
    counts = counters.token_counts([wallet.pk for wallet in wallets])
    return [counts[wallet.pk] for wallet in wallets]


def listed(actor: Any) -> Any:
    """What the actor's list of wallets says, in the order of their names."""
    page = counters.wallets_page(actor_id=actor.pk, limit=9)
    wallets = sorted(json.loads(f"[{page.json}]"), key=lambda each: each["name"])
    return [TokenCount(each["tokens_in_wallet"], each["tokens_pending"]) for each in wallets]


@pytest.fixture
def folding(request: pytest.FixtureRequest) -> Any:
    """Fold after each step, or never."""
    return counters.roll_up if request.param else lambda: True


@pytest.mark.parametrize("folding", [True, False], indirect=True, ids=["folded", "never folded"])
@pytest.mark.django_db(transaction=True)
def test_a_count_is_right_after_every_step_folded_or_not(
    alice: Caller, bob: Caller, sapling: Wallet, folding: bool
) -> None:
    everybody = alice.wallet, bob.wallet, sapling
    actor, other = alice.wallet, bob.wallet

    def check(expected: Any) -> None:
        assert folding()
        assert told(*everybody) == counted(*everybody) == [TokenCount(*pair) for pair in expected]
        assert listed(actor) == counted(actor, sapling)
        assert_sound()

    check([(5, 0), (0, 0), (3, 0)])
    operations.send_bundle(actor=actor, sender="alice", receiver="sapling", size=2)
    check([(3, 0), (0, 0), (5, 0)])
    pending = operations.send_bundle(actor=actor, sender="sapling", receiver="bobby", size=3)
    check([(3, 0), (0, 0), (5, 3)])
    cancelled = operations.send_bundle(actor=actor, sender="sapling", receiver="bobby", size=1)
    requested = operations.send_bundle(actor=other, sender="alice", receiver="bobby", size=1)
    check([(3, 0), (0, 0), (5, 4)])
    operations.accept(actor=other, transfer_id=pending.id)
    check([(3, 0), (3, 0), (2, 1)])
    operations.decline(actor=other, transfer_id=cancelled.id)
    check([(3, 0), (3, 0), (2, 0)])
    operations.fulfill(actor=actor, transfer_id=requested.id)
    check([(2, 0), (4, 0), (2, 0)])
    operations.issue_tokens(wallet=other, count=6)
    check([(2, 0), (10, 0), (2, 0)])
    # What several claim links and transfers reserve is added up.
    action_tokens.offer_bundles(actor=actor, sender=None, size=1, count=2)
    for _ in range(2):
        operations.send_bundle(actor=actor, sender="sapling", receiver="bobby", size=1)
    check([(2, 2), (10, 0), (2, 2)])


# Other people's rows, of each kind of which a list adds up what the tallies lack.
_OF_OTHERS = {
    "newest": """
        INSERT INTO transfers_transfer (id, number, originator_id, source_id, destination_id, parameters, state,
               token_count, reserved_count, moved_count, created_at, closed_at, closed_event, closed_from)
        SELECT gen_random_uuid(), nextval('wallets_event_number'), %(bob)s, %(bob)s, %(carol)s,
               '{"bundle": {"bundleSize": 1}}', 'completed', 1, 0, 1, now(), now(), '', ''
          FROM generate_series(1, %(count)s)""",
    "delta": """
        INSERT INTO transfers_tallydelta (wallet_id, tokens) SELECT %(carol)s, 1 FROM generate_series(1, %(count)s)""",
    "pending": """
        INSERT INTO transfers_transfer (id, number, originator_id, source_id, destination_id, parameters, state,
               token_count, reserved_count, moved_count, created_at, closed_at, closed_event, closed_from)
        SELECT gen_random_uuid(), nextval('wallets_event_number'), %(bob)s, %(bob)s, %(carol)s,
               '{"bundle": {"bundleSize": 1}}', 'pending', 1, 1, 0, now(), NULL, '', ''
          FROM generate_series(1, %(count)s)""",
}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", _OF_OTHERS)
def test_a_list_counts_right_however_much_the_tallies_lack(
    alice: Caller,
    bob: Caller,
    carol: Caller,
    sapling: Wallet,
    kind: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
) -> None:
    monkeypatch.setattr(counters, "_OPTIMISTIC", OptimisticPage())

    def others(count: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_OF_OTHERS[kind], {"bob": bob.wallet.pk, "carol": carol.wallet.pk, "count": count})

    def ours() -> Any:
        operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
        operations.send_bundle(actor=alice.wallet, sender="sapling", receiver="bobby", size=1)
        return counted(alice.wallet, sapling)

    assert counters.roll_up()
    # A transfer that completed at once is two rows of what the tallies lack.
    others(counters._LITTLE // (2 if kind == "newest" else 1) - 10)
    expected = ours()
    with django_assert_num_queries(1):
        assert listed(alice.wallet) == expected
    others(10)
    expected = ours()
    # It takes a second statement to find out, for the first of many pages.
    for statements in (2, 1):
        with django_assert_num_queries(statements):
            assert listed(alice.wallet) == expected


@pytest.mark.django_db(transaction=True)
def test_folding_leaves_nothing_to_add_up(alice: Caller, sapling: Wallet) -> None:
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=2)
    newest = operations.send_bundle(actor=alice.wallet, sender="sapling", receiver="alice", size=1)

    assert counters.roll_up()

    assert dict(TokenTally.objects.values_list("wallet__name", "tokens")) == {"alice": 4, "sapling": 4}
    assert not TallyDelta.objects.exists()
    assert TallyMark.objects.get().number >= newest.number
    # Again, and nothing is counted twice.
    assert counters.roll_up()
    assert told(alice.wallet, sapling) == counted(alice.wallet, sapling)


@pytest.mark.django_db(transaction=True)
def test_the_checkpoint_does_not_go_back(alice: Caller, sapling: Wallet) -> None:
    """What is final may end one number earlier than when the checkpoint was written."""
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=2)
    assert counters.roll_up()
    ahead = TallyMark.objects.get().number + 1
    TallyMark.objects.update(number=ahead)

    assert counters.roll_up()

    assert TallyMark.objects.get().number == ahead
    assert told(alice.wallet, sapling) == counted(alice.wallet, sapling)


@pytest.mark.django_db(transaction=True)
def test_a_transfer_that_was_decided_since_the_checkpoint_is_counted_once(alice: Caller, bob: Caller) -> None:
    """Its number is above the checkpoint too, but what it moved is in the deltas."""
    pending = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=2)
    operations.accept(actor=bob.wallet, transfer_id=pending.id)

    assert counters.roll_up()

    assert told(alice.wallet, bob.wallet) == counted(alice.wallet, bob.wallet) == [TokenCount(3, 0), TokenCount(2, 0)]
    assert_sound()


@pytest.mark.django_db(transaction=True)
def test_the_very_first_transfer_of_a_database_is_counted_after_an_early_fold(alice: Caller, sapling: Wallet) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE wallets_event_number RESTART")
    counters.roll_up()

    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=2)

    assert told(alice.wallet, sapling) == counted(alice.wallet, sapling)


@pytest.mark.django_db
def test_a_wallet_without_tokens_has_none(bob: Caller) -> None:
    assert told(bob.wallet) == [TokenCount(0, 0)]
    assert counters.token_counts([]) == {}


@pytest.mark.django_db(transaction=True)
def test_recount_corrects_what_came_past_the_ledger(alice: Caller, sapling: Wallet) -> None:
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=2)
    TokenTally.objects.update_or_create(wallet=sapling, defaults={"tokens": 77})
    assert told(sapling) != counted(sapling)

    counters.recount()

    assert told(alice.wallet, sapling) == counted(alice.wallet, sapling)
    counters.roll_up()
    assert told(alice.wallet, sapling) == counted(alice.wallet, sapling)
    assert_sound()


@pytest.mark.django_db(transaction=True)
def test_recount_notes_the_issues_that_are_missing_and_no_other(alice: Caller, sapling: Wallet) -> None:
    Issue.objects.create(wallet=alice.wallet, tokens=-2, issued_at=timezone.now())

    counters.recount()

    issued = Issue.objects.order_by("pk").values_list("wallet__name", "tokens")
    assert list(issued) == [("alice", 5), ("sapling", 3), ("alice", -2), ("alice", 2)]
    assert_sound()


def test_each_periodic_task_does_all_that_it_is_for(
    alice: Caller, bob: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    pending = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1)
    [link] = action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1)
    let_expire(pending.id)
    let_link_expire(link.id)

    tasks.roll_up()
    tasks.expire()

    assert min(TallyMark.objects.get().number, ListMark.objects.get().number) >= moved.number
    assert Transfer.objects.get(pk=pending.id).state == "failed"
    assert ActionToken.objects.get().state == "expired"
    extended: list[bool] = []
    monkeypatch.setattr(partitions, "extend", lambda: extended.append(True))
    tasks.extend_partitions()
    assert extended == [True]
    assert_sound()
