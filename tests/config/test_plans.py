"""What statements of periodic tasks, and of the export of a wallet, read, whatever the statistics say."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from config.admin import alerts
from config.admin.models import FormerName
from config.ops import event_retention, partitions, pseudonyms, wallet_export
from tests.support import large_world
from tests.support.statement_plans import KNOWN, Walk, know
from tests.tables import empty_tables
from wallets import event_sequence
from wallets import operations as wallets
from wallets.models import BearerToken, RestrictedKey, Wallet

# Tables of which an export reads all rows, once: a column that may name the wallet has no index.
EXPORTED_WHOLE = {"transfers.ActionToken", "transfers.KnownReceiver"}
# It begins a transaction, unless it is within one.
ALONE = ("config.ops.wallet_export._rows",)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        try:
            large_world.write("wallets", "webhooks", "transfers", "desk")
            yield
        finally:
            empty_tables()


@pytest.mark.django_db
@pytest.mark.parametrize("known", KNOWN)
def test_what_a_statement_reads(world: None, known: str) -> None:
    few = large_world.wallet(3)
    BearerToken.objects.filter(pk__in=_ids(11)).update(expires_at=timezone.now() - timedelta(days=400))
    RestrictedKey.objects.filter(pk__in=_ids(12)).update(expires_at=timezone.now() - timedelta(days=400))
    know(known)
    walk = Walk(pseudonyms, wallet_export)
    with walk.step("position"):
        event_sequence.publish()
    with walk.step("partitions"):
        partitions.tidy()
        event_retention.tidy()
    with walk.step("purge", whole="it reads each table once a night"):
        assert wallets.purge_expired() == len(_ids(11))
        alerts.purge()
    _export(walk, few)
    _pseudonymise(walk, few)

    assert walk.too_much() == []
    assert walk.missed(except_=ALONE) == []


@pytest.mark.django_db
def test_a_purge_reads_each_row_once(world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wallets, "_PURGED_AT_ONCE", 10)
    BearerToken.objects.filter(pk__in=_ids(11)).update(expires_at=timezone.now() - timedelta(days=400))
    walk = Walk()
    with walk.step("purge"):
        assert wallets.purge_expired() == len(_ids(11)) == 100

    found = [each for each in walk.works if "wallets_bearertoken" in each.sql and each.sql.startswith("SELECT")]
    # Planned for its values, and for any.
    assert [each.is_generic for each in found] == [False, True]


def _ids(kind: int) -> list[Any]:
    return [large_world.id_of(kind, 2 * number + 1) for number in range(100)]


def _export(walk: Walk, few: Wallet) -> None:
    arguments = {"wallet": few.pk, "thing": f"wallet:{few.pk}"}
    for label, section in wallet_export.EXPORTED.items():
        whole = "no index" if label in EXPORTED_WHOLE else ""
        with walk.step(f"export of {label}", whole=whole), connection.cursor() as cursor:
            cursor.execute(wallet_export._statement(label, section), arguments)
            assert cursor.rowcount <= 10
    with walk.step("export", whole="as above"):
        assert len(list(wallet_export.lines(wallet_id=few.pk))) > 10


def _pseudonymise(walk: Walk, few: Wallet) -> None:
    with walk.step("what is left"):
        assert pseudonyms.what_is_left(few.pk)
    with walk.step("pseudonymise", whole="it reads all events, which have no index of names"):
        new = wallets.create_wallet(name="leaving")
        pseudonyms.pseudonymise(wallet_id=new.pk)
        FormerName.objects.update(due_at=timezone.now() - timedelta(hours=1))
        pseudonyms.finish()
    with walk.step("forget"):
        pseudonyms._forget(few)
