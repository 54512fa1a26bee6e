"""What statements about the trusts of a wallet read does not grow with those of others, whatever the statistics say."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import large_world
from tests.support.statement_plans import KNOWN, Walk, know
from tests.tables import empty_tables
from transfers import action_token_lists
from trusts import operations, queries, reports, trust_lists
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet

# Of images, which need a store; and of wallets, which tests/wallets has.
ELSEWHERE = ("trusts.operations.store_images", "trusts.operations.open_managed_wallet")
FILTERS = ({}, {"state": "requested"}, {"state": "trusted"}, {"type": "manage"}, {"request_type": "yield"})


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        try:
            large_world.write("wallets", "transfers")
            yield
        finally:
            empty_tables()


@pytest.mark.django_db
@pytest.mark.parametrize("known", KNOWN)
def test_what_a_statement_reads(world: None, known: str) -> None:
    few, other = large_world.wallet(3), large_world.wallet(5)
    know(known)
    walk = Walk(queries, reports, trust_lists, operations, action_token_lists)
    _lists(walk, few)
    _rights(walk, few, other)
    _changes(walk)

    assert walk.too_much() == []
    assert walk.missed(except_=ELSEWHERE) == []


def _lists(walk: Walk, few: Wallet) -> None:
    """Lists of a wallet with two trusts and two links."""
    for given in FILTERS:
        with walk.step(f"trusts {given}"):
            filters = trust_lists.TrustFilters(**given)
            trust_lists.trusts_visible_to(actor_id=few.pk, limit=10, filters=filters)
            trust_lists._trusts_by_party(
                trust_lists.CONTROLLED_BY_ACTOR, {"actor": few.pk}, limit=10, offset=0, after=0, filters=filters
            )
            trust_lists.trusts_of_wallet_page(actor_id=few.pk, wallet_id=few.pk, limit=10, filters=filters)
    for key in trust_lists.TrustKey:
        with walk.step(f"trusts by {key}"):
            trust_lists.selected_trusts_page(trust_lists.TrustSelection(key=key), actor_id=few.pk, limit=10)
    with walk.step("pages of the admin"):
        reports.neighbours(wallet_id=few.pk)
        reports.managed_by(wallet_id=few.pk, limit=10)
        reports.managers_of(wallet_id=few.pk)
        reports.changes_of(trust_id=large_world.id_of(7, 5))
    for state in None, "active", "redeemed":
        with walk.step(f"links that are {state}"):
            action_token_lists.action_tokens_visible_to(actor_id=few.pk, limit=10, offset=0, state=state)
    with walk.step("a link"):
        action_token_lists.action_token_visible_to(actor_id=few.pk, action_token_id=large_world.id_of(9, 3))
        action_token_lists.links_among([large_world.id_of(9, 3)])
        action_token_lists.links_due(links=10, tokens=10)
        with pytest.raises(action_token_lists.errors.ActionTokenNotVerified):
            action_token_lists.described(code="of no link")


def _rights(walk: Walk, few: Wallet, other: Wallet) -> None:
    with walk.step("rights"):
        queries.controlled_wallet_ids(actor_id=few.pk)
        queries.controls(actor_id=few.pk, wallet_id=other.pk)
        queries.controls_until_commit(actor_id=few.pk, wallet_id=other.pk)
        queries.may_push_until_commit(sender_id=few.pk, receiver_id=other.pk)
        queries.have_one_manager(few.pk, other.pk)
    with walk.step("trusts that a manager set up"):
        queries.set_up_by(manager_id=few.pk, wallet_id=other.pk)
        queries.open_transfers_begun_by(manager_id=few.pk, wallet_id=other.pk)
    with walk.step("a trust"):
        queries.trust_row(trust_id=large_world.id_of(7, 3))
        queries.trust_rows(trust_ids=[large_world.id_of(7, number) for number in range(50)])
        queries.was_ended_by_operator(trust_id=large_world.id_of(7, 3))
        queries.trust_visible_to(actor_id=large_world.id_of(1, 1), trust_id=large_world.id_of(7, 3))
    with walk.step("audit", whole="it reads all trusts"):
        list(queries.audit_findings())


def _changes(walk: Walk) -> None:
    """Each change of a trust between two new wallets."""
    with walk.step("changes"):
        one, two = (wallets.create_wallet(name=name) for name in ("manager", "managed"))
        asked = {"actor": one, "requestee": two.name}
        row = operations.request_trust(request_type=TrustRequestType.SEND, **asked)
        operations.decline_trust(actor=two, trust_id=row.id)
        row = operations.request_trust(request_type=TrustRequestType.RECEIVE, **asked)
        operations.delete_trust(actor=one, trust_id=row.id)
        for end in (
            lambda trust_id: operations.end_trust(trust_id=trust_id),
            lambda trust_id: operations.dismiss_manager(actor=two, wallet_id=two.pk, manager=one.name),
        ):
            row = operations.request_trust(request_type=TrustRequestType.MANAGE, **asked)
            operations.accept_trust(actor=two, trust_id=row.id)
            operations.describe_wallet(actor=one, wallet_id=two.pk, about="oaks")
            end(row.id)
        operations.grant_management(actor=one, wallet_ids=[two.pk])
