"""Ids of new transfers and claim links: version 7 of RFC 9562."""

import time
from uuid import RFC_4122, UUID

import pytest

from tests.api.caller import Caller
from tests.support.multipart import TRANSFER, upload
from tests.transfers.books import held_by
from transfers import action_tokens, operations
from transfers.ids import new_id, version_7
from transfers.models import ActionToken, Transfer
from wallets.models import Wallet


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


def test_an_id_is_that_of_the_standard() -> None:
    """RFC 9562, A.6."""
    assert version_7(0x017F22E279B0, 0xCC3 << 62 | 0x18C4DC0C0C07398F) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@pytest.mark.parametrize(("moment", "random"), [(0, 0), (2**48 - 1, 2**74 - 1), (1, 2**62), (2**47, 2**62 - 1)])
def test_every_bit_of_time_and_randomness_is_kept(moment: int, random: int) -> None:
    made = version_7(moment, random)

    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == moment
    assert (made.int >> 64 & 0xFFF) << 62 | made.int & 2**62 - 1 == random


def test_ids_are_in_the_order_of_their_milliseconds_and_are_never_the_same() -> None:
    before = milliseconds()
    made = [new_id() for _ in range(100_000)]
    after = milliseconds()

    assert {(each.version, each.variant) for each in made} == {(7, RFC_4122)}
    times = [each.int >> 80 for each in made]
    assert before <= times[0] <= times[-1] <= after
    assert times == sorted(times)
    assert len(set(made)) == len(made)
    # Each of the random bits takes both values.
    ones = zeros = 0
    for each in made:
        ones |= each.int
        zeros |= ~each.int
    random_bits = 0xFFF << 64 | 2**62 - 1
    assert ones & zeros & random_bits == random_bits


def test_each_way_to_make_a_transfer_or_a_link_gives_it_such_an_id(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    before = milliseconds()
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    token = held_by(alice.wallet)[0]
    operations.send_tokens(actor=alice.wallet, sender="alice", receiver="bobby", token_ids=[token])
    operations.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=1)
    upload(alice, TRANSFER, "wallet_name\nbobby\nsapling\n", sender_wallet="alice", token_transfer_amount_default="1")
    listed = action_tokens.offer_tokens(actor=alice.wallet, sender="sapling", token_ids=[held_by(sapling)[-1]])
    action_tokens.offer_bundles(actor=alice.wallet, sender="sapling", size=1, count=2)
    claimed = action_tokens.redeem(actor=bob.wallet, code=listed.code)
    after = milliseconds()

    ids = [*Transfer.objects.values_list("id", flat=True), *ActionToken.objects.values_list("id", flat=True)]
    assert len(ids) == 5 + 1 + 3
    assert claimed.id == listed.id
    assert {(each.version, before <= each.int >> 80 <= after) for each in ids} == {(7, True)}
