"""What operators read about the trusts of a wallet."""

from typing import Any

import pytest

from trusts import operations, reports
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet

pytestmark = pytest.mark.django_db

# For each kind, asked by alice: what it says of her, and whether the power is hers.
MEANINGS = {
    "send": ("alice may send to bobby without asking", True),
    "receive": ("alice may be sent to by bobby without asking", False),
    "manage": ("alice manages bobby", True),
    "yield": ("alice is managed by bobby", False),
}


@pytest.fixture
def alice() -> Wallet:
    return wallets.create_wallet(name="alice")


@pytest.fixture
def bob() -> Wallet:
    return wallets.create_wallet(name="bobby")


def asked(asking: Wallet, kind: str, of: Wallet) -> Any:
    row = operations.request_trust(actor=asking, request_type=TrustRequestType(kind), requestee=of.name)
    return row.id


@pytest.mark.parametrize("kind", TrustRequestType.values)
def test_a_trust_reads_the_same_from_both_sides_and_the_power_goes_out_of_its_holder(
    alice: Wallet, bob: Wallet, kind: str
) -> None:
    trust_id = asked(alice, kind, bob)
    says, is_hers = MEANINGS[kind]

    (of_alice,), (of_bob,) = (reports.neighbours(wallet_id=each.pk) for each in (alice, bob))

    assert of_alice == reports.Neighbour(trust_id, bob.pk, "bobby", says, "requested", "alice", is_hers)
    assert of_bob == reports.Neighbour(trust_id, alice.pk, "alice", says, "requested", "alice", not is_hers)


def test_neighbours_are_those_of_open_trusts_of_the_wallet_the_oldest_first(alice: Wallet, bob: Wallet) -> None:
    others = [wallets.create_wallet(name=f"tree-{number:02}") for number in range(34)]
    ended, *open_ones = [asked(alice, "send", other) for other in others]
    operations.delete_trust(actor=alice, trust_id=ended)
    operations.accept_trust(actor=others[2], trust_id=open_ones[1])
    asked(others[3], "send", bob)
    asked(others[3], "send", alice)

    found = reports.neighbours(wallet_id=alice.pk)

    assert [each.trust_id for each in found] == open_ones[: reports.NEIGHBOURS_SHOWN + 1]
    assert [each.state for each in found[:3]] == ["requested", "trusted", "requested"]
    assert reports.NEIGHBOURS_SHOWN == 30


def test_the_last_100_changes_of_a_trust_are_shown_in_order(alice: Wallet, bob: Wallet) -> None:
    trust_id, other = asked(alice, "send", bob), asked(alice, "manage", bob)
    for _ in range(51):
        operations.accept_trust(actor=bob, trust_id=trust_id)
        operations.decline_trust(actor=bob, trust_id=trust_id)

    found = reports.changes_of(trust_id=trust_id)

    every = list(Trust.objects.get(pk=trust_id).changes.order_by("pk").values_list("pk", flat=True))
    assert len(every) == 103
    assert [each.pk for each in found] == every[-100:]
    assert [each.event for each in found[-3:]] == ["decline", "accept", "decline"]
    assert [each.event for each in reports.changes_of(trust_id=other)] == [""]


def test_a_wallet_manages_by_trusts_in_force_each_other_wallet_once_by_name(alice: Wallet, bob: Wallet) -> None:
    asked_only, dismissed, sent_to = (wallets.create_wallet(name=name) for name in ("carol", "daisy", "erica"))
    asked(alice, "manage", asked_only)
    for kind, other in (("manage", dismissed), ("send", sent_to)):
        operations.accept_trust(actor=other, trust_id=asked(alice, kind, other))
    operations.delete_trust(actor=alice, trust_id=Trust.objects.get(target=dismissed).pk)
    # By two trusts.
    manage = asked(alice, "manage", bob)
    operations.decline_trust(actor=bob, trust_id=manage)
    operations.accept_trust(actor=alice, trust_id=asked(bob, "yield", alice))
    operations.accept_trust(actor=bob, trust_id=manage)
    operations.open_managed_wallet(actor=alice, name="acorn")

    assert [each.name for each in reports.managed_by(wallet_id=alice.pk, limit=9)] == ["acorn", "bobby"]
    assert [each.name for each in reports.managed_by(wallet_id=alice.pk, limit=1)] == ["acorn"]
    managers = {
        wallet.name: [each.name for each in reports.managers_of(wallet_id=wallet.pk)]
        for wallet in (alice, bob, asked_only, dismissed, sent_to)
    }
    assert managers == {"alice": [], "bobby": ["alice"], "carol": [], "daisy": [], "erica": []}
