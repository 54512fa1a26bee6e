"""Totals of lists while transfers and trusts are under way."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from tests.concurrency.races import assert_sound, kinds, race
from tests.concurrency.writers import a_writer_that_has_no_number_yet, an_uncommitted_transfer
from transfers import errors, list_counts, operations, transfer_lists
from transfers.list_models import ListMark
from transfers.models import Transfer
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import event_sequence
from wallets.models import Wallet
from wallets.sql_files import load


def total(actor: Wallet, wallet: str | None = None) -> Any:
    return transfer_lists.transfers_visible_to(
        actor_id=actor.pk, limit=1, selection=transfer_lists.TransferSelection(wallet=wallet), counts=True
    ).total


@pytest.mark.parametrize("waits", [True, False], ids=["settled", "control: up to the newest number"])
def test_a_transfer_that_commits_after_a_later_one_was_counted_is_counted(
    stocked: Wallet, sapling: Wallet, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not waits:
        monkeypatch.setattr(event_sequence, "SETTLED", "SELECT last_value FROM wallets_event_number")
    with an_uncommitted_transfer(stocked):
        operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=1)
        assert list_counts.roll_up()
        assert (total(stocked), total(stocked, "sapling")) == (1, 1)

    expected = (2, 2) if waits else (1, 1)
    assert (total(stocked), total(stocked, "sapling")) == expected
    assert list_counts.roll_up()
    assert (total(stocked), total(stocked, "sapling")) == expected
    if waits:
        assert_sound()


def test_a_manager_is_counted_anew_up_to_the_checkpoint_where_what_is_final_ends_before_it(
    stocked: Wallet, sapling: Wallet, bob: Wallet
) -> None:
    operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=1)
    trust = trusts.request_trust(actor=stocked, request_type=TrustRequestType.YIELD, requestee="bobby")
    # The newest number is that of a transfer.
    operations.send_bundle(actor=stocked, sender="alice", receiver="sapling", size=1)
    assert list_counts.roll_up()
    checkpoint = ListMark.objects.get().number
    assert checkpoint == Transfer.objects.latest("number").number
    with connection.cursor() as cursor:
        # Accepting adds an event, whose number would be the newest.
        cursor.execute("UPDATE trusts_trust SET state = 'trusted' WHERE id = %s", [trust.id])

    with a_writer_that_has_no_number_yet():
        assert list_counts.roll_up()
        assert ListMark.objects.get().number == checkpoint
        assert (total(bob), total(stocked)) == (2, 2)


def test_every_look_during_a_storm_sees_totals_that_add_up(stocked: Wallet, sapling: Wallet, bob: Wallet) -> None:
    """Transfers, decisions, and control of a busy wallet that comes and goes, while two processes roll up."""
    over = threading.Event()
    trusts.open_managed_wallet(actor=stocked, name="another")
    trust = trusts.request_trust(actor=bob, request_type=TrustRequestType.MANAGE, requestee="alice")
    pairs = [("alice", "sapling"), ("sapling", "another"), ("another", "alice"), ("alice", "bobby")]

    def storm(client: int) -> None:
        try:
            for turn in range(12):
                sender, receiver = pairs[(client + turn) % 3]
                try:
                    operations.send_bundle(actor=stocked, sender=sender, receiver=receiver, size=1)
                    pending = operations.send_bundle(actor=stocked, sender=sender, receiver="bobby", size=1)
                    decide = operations.accept if turn % 2 else operations.decline
                    decide(actor=bob, transfer_id=pending.id)
                except errors.InsufficientTokens:
                    continue
        finally:
            over.set()

    def gain_and_lose() -> None:
        while not over.is_set():
            trusts.accept_trust(actor=stocked, trust_id=trust.id)
            trusts.decline_trust(actor=stocked, trust_id=trust.id)

    def roll_up() -> None:
        while not over.is_set():
            list_counts.roll_up()

    def look() -> Any:
        wrong = []
        while not over.is_set():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute(load("transfers", "audit/list_counts") + " LIMIT %s", [5])
                wrong += cursor.fetchall()
                for actor in (stocked, bob):
                    cursor.execute(
                        "WITH mine AS (SELECT %(actor)s::uuid AS id UNION SELECT subject_id FROM trusts_power"
                        "               WHERE holder_id = %(actor)s AND power = 'manage')"
                        " SELECT count(*) FROM transfers_transfer WHERE source_id IN (SELECT id FROM mine)"
                        "     OR destination_id IN (SELECT id FROM mine) OR originator_id IN (SELECT id FROM mine)",
                        {"actor": actor.pk},
                    )
                    counted = cursor.fetchone()[0]
                    if (told := total(actor)) != counted:
                        wrong.append((actor.name, told, counted))
        return wrong

    outcomes = race(
        [*[lambda client=client: storm(client) for client in range(3)], gain_and_lose, roll_up, roll_up, look]
    )

    assert kinds(outcomes[:-1]) == {"None": 6}
    assert outcomes[-1] == []
    assert list_counts.roll_up()
    assert_sound()
