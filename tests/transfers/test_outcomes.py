"""How transfers ended, counted without counting."""

from collections import Counter
from typing import Any

import pytest

from tests.api.caller import Caller
from tests.transfers.books import assert_sound
from transfers import operations, outcome_counts, tasks
from transfers.models import OutcomeTally, Transfer
from wallets.models import Wallet


@pytest.mark.parametrize("folding", [True, False], ids=["folded", "never folded"])
@pytest.mark.django_db(transaction=True)
def test_the_totals_are_right_after_every_step_folded_or_not(
    alice: Caller, bob: Caller, sapling: Wallet, folding: bool
) -> None:
    actor, other = alice.wallet, bob.wallet

    def check(**expected: Any) -> None:
        if folding:
            tasks.roll_up_outcomes()
        counted = Counter(Transfer.objects.exclude(state__in=["requested", "pending"]).values_list("state", flat=True))
        assert outcome_counts.totals() == {"completed": 0, "cancelled": 0, "failed": 0} | counted | expected
        assert sum(expected.values()) == counted.total()
        assert OutcomeTally.objects.count() == (3 if folding else 0)

    check()
    operations.send_bundle(actor=actor, sender="alice", receiver="sapling", size=2)
    check(completed=1)
    pending = [operations.send_bundle(actor=actor, sender="sapling", receiver="bobby", size=1) for _ in range(4)]
    requested = operations.send_bundle(actor=other, sender="alice", receiver="bobby", size=1)
    check(completed=1)
    operations.accept(actor=other, transfer_id=pending[0].id)
    check(completed=2)
    operations.decline(actor=other, transfer_id=pending[1].id)
    operations.delete(actor=actor, transfer_id=pending[2].id)
    check(completed=2, cancelled=2)
    operations.fulfill(actor=actor, transfer_id=requested.id)
    operations.expire(transfer_ids=[pending[3].id])
    check(completed=3, cancelled=2, failed=1)
    assert_sound()


@pytest.mark.django_db(transaction=True)
def test_the_checkpoint_does_not_go_back(alice: Caller, sapling: Wallet) -> None:
    """What is final may end one number earlier than when the checkpoint was written."""
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    assert outcome_counts.roll_up()
    ahead = OutcomeTally.objects.values_list("number", flat=True).distinct().get() + 1
    OutcomeTally.objects.update(number=ahead)

    assert outcome_counts.roll_up()

    assert set(OutcomeTally.objects.values_list("number", flat=True)) == {ahead}
    assert outcome_counts.totals() == {"completed": 1, "cancelled": 0, "failed": 0}
