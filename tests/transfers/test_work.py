"""
What a statement of the ledger reads depends on the tokens that it handles, and not on statistics.

`ANALYZE` may see almost empty tables where a moment later many rows are. A plan that suits an empty table, such as a
nested loop over all rows, must not exist for these statements.
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID, uuid4

import pytest
from django.test import override_settings

from tests.api.caller import Caller
from tests.support.statement_work import Work, forget_statistics, measured
from tests.transfers.books import assert_sound
from transfers import action_tokens, approvals, bulk, ledger
from transfers import operations as transfers
from transfers.errors import TokenElsewhere
from transfers.models import Transfer
from transfers.queries import Demand
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets.models import Wallet
from wallets.queries import WalletReference
from wallets.sql_files import load

# How many tokens each operation handles, and how many each of the two wallets holds.
MANY: Final = 200
HELD: Final = 1000
# What a statement may read and process at most. A nested loop over all tokens takes 200,000 rows.
BLOCKS: Final = 50 * MANY
ROWS: Final = 50 * MANY


def rows(amount: int | None = None, reference: str = "") -> list[bulk.Row]:
    return [bulk.Row(line, f"tree-{line:04}", amount, reference=reference and f"{line}") for line in range(MANY)]


def free(wallet: Wallet) -> list[UUID]:
    """Return free tokens of the wallet."""
    return list(wallet.tokens.filter(transfer_pending_id=None).values_list("id", flat=True)[:MANY])


def longest_part(name: str) -> str:
    """Return the longest part of a statement that has no placeholder, on one line."""
    return max((" ".join(part.split()) for part in re.split(r"\{\w+\}", load("transfers", name))), key=len)


def test_what_a_statement_reads_does_not_depend_on_statistics(alice: Caller, bob: Caller, carol: Caller) -> None:
    giver, taker, third = alice.wallet, bob.wallet, carol.wallet
    trust = trusts.request_trust(actor=giver, request_type=TrustRequestType.SEND, requestee="bobby")
    trusts.accept_trust(actor=taker, trust_id=trust.id)
    for wallet in (giver, taker):
        transfers.issue_tokens(wallet=wallet, count=HELD)
    forget_statistics()
    works: dict[str, list[Work]] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        with measured() as works[name]:
            yield

    with step("issue"):
        transfers.issue_tokens(wallet=giver, count=MANY)
    with step("wallets"):
        bulk.create_batch(actor=giver, rows=rows())
    with step("batch"):
        bulk.transfer_batch(actor=giver, sender="alice", rows=rows(1))
    with step("batch of pending transfers"), override_settings(OPEN_TRANSFER_HOURS=1):
        bulk.transfer_batch(actor=taker, sender="bobby", rows=rows(1, "a reference"))
    pending = list(Transfer.objects.filter(state="pending").values_list("id", flat=True))
    with step("expiry"):
        assert transfers.expire(transfer_ids=pending) == MANY
    with step("batch of requests"):
        bulk.transfer_batch(actor=giver, sender="bobby", rows=rows(1))
    with step("bundle"):
        transfers.send_bundle(actor=giver, sender="alice", receiver="bobby", size=MANY)
    with step("bundle that waits"):
        parties = WalletReference(taker.pk), WalletReference(third.pk)
        assert ledger.send_bundle(request=ledger.Request(uuid4(), taker, *parties), size=MANY, wait=True).number
    with step("accept"):
        transfers.accept(actor=third, transfer_id=Transfer.objects.get(state="pending").pk)
    listed = free(giver)
    with step("tokens"):
        transfers.send_tokens(actor=giver, sender="alice", receiver="bobby", token_ids=listed)
    with step("tokens that are elsewhere"), pytest.raises(TokenElsewhere):
        transfers.send_tokens(actor=giver, sender="alice", receiver="bobby", token_ids=listed)
    with step("request of tokens"):
        asked = transfers.send_tokens(actor=taker, sender="alice", receiver="bobby", token_ids=free(giver)).id
    with step("fulfilment of tokens"):
        transfers.fulfill(actor=giver, transfer_id=asked)
    asked = transfers.send_bundle(actor=taker, sender="alice", receiver="bobby", size=MANY).id
    with step("fulfilment"):
        transfers.fulfill(actor=giver, transfer_id=asked)
    asked = transfers.send_bundle(actor=taker, sender="alice", receiver="bobby", size=MANY).id
    with step("fulfilment by chosen tokens"):
        transfers.fulfill(actor=giver, transfer_id=asked, token_ids=free(giver))
    approvals.demand(actor=taker, credential_id=None, wallet_id=taker.pk, wanted=Demand(above=1))
    asked = transfers.send_bundle(actor=giver, sender="bobby", receiver="alice", size=MANY).id
    with step("fulfilment that needs approval"):
        assert transfers.fulfill(actor=taker, transfer_id=asked).state == "pending"
    with step("refusal"):
        approvals.refuse(actor=taker, transfer_id=asked)
    with step("links"):
        links = action_tokens.offer_bundles(actor=taker, sender=None, size=1, count=MANY)
    with step("expiry of links"):
        assert action_tokens.expire(action_token_ids=[link.id for link in links]) == MANY
    listed = free(third)
    with step("link of tokens"):
        link = action_tokens.offer_tokens(actor=third, sender=None, token_ids=listed)
    with step("claim"):
        action_tokens.redeem(actor=giver, code=link.code)

    assert_sound()
    assert [
        (name, work) for name, each in works.items() for work in each if work.rows > ROWS or work.blocks > BLOCKS
    ] == []
    # Each statement of the ledger was among them.
    seen = " ".join(" ".join(work.sql.split()) for each in works.values() for work in each)
    names = set(re.findall(r'load\("transfers", "(\w+)"', inspect.getsource(ledger)))
    assert len(names) > 10
    assert {name for name in names if longest_part(name) not in seen} == set()
