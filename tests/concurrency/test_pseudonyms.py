"""Requests in flight while a wallet is pseudonymised: what they write is erased once they have ended."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from config.admin.models import FormerName
from config.management.commands import doctor
from config.ops import pseudonyms
from tests.concurrency.races import PATIENCE_SECONDS
from tests.concurrency.writers import uncommitted
from wallets import operations as wallets
from wallets.models import Event, Wallet
from wallets.states import EventType


class InFlight:
    """A transaction of another session: it has read the wallet, and writes and commits when `end` is called."""

    def __init__(self, wallet_id: object, partner: Wallet) -> None:
        self._read, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(wallet_id, partner), daemon=True)
        self._thread.start()
        assert self._read.wait(timeout=PATIENCE_SECONDS)

    def _run(self, wallet_id: object, partner: Wallet) -> None:
        try:
            with transaction.atomic():
                seen = Wallet.objects.get(pk=wallet_id)
                self._read.set()
                assert self._go.wait(timeout=PATIENCE_SECONDS)
                # As requests of the wallet, and of another wallet, write what they have read.
                Wallet.objects.filter(pk=wallet_id).update(about=f"I am {seen.name}", display_name=seen.name)
                wallets.record_events([(partner.pk, EventType.TRANSFER_REQUESTED, {"walletSender": seen.name})])
        finally:
            connections.close_all()

    def end(self) -> None:
        self._go.set()
        self._thread.join(timeout=PATIENCE_SECONDS)
        assert not self._thread.is_alive()


def named(wallet_id: object) -> tuple[int, str, str]:
    wallet = Wallet.objects.get(pk=wallet_id)
    events = sum("tamara" in str(each.payload) for each in Event.objects.all())
    return events, wallet.about, wallet.display_name


@pytest.mark.django_db(transaction=True)
def test_what_requests_in_flight_write_is_erased_when_they_have_ended() -> None:
    tamara, bob = (wallets.create_wallet(name=name) for name in ("tamara", "bobby"))
    in_flight = InFlight(tamara.pk, bob)
    pseudonyms.pseudonymise(wallet_id=tamara.pk)
    due = timezone.now()
    FormerName.objects.update(due_at=due)
    assert named(tamara.pk) == (0, "", "")

    # While the transaction is open, the second erasure waits: otherwise what it writes would stay.
    assert pseudonyms.finish() == 0
    assert FormerName.objects.get().name == "tamara"
    in_flight.end()

    # The control: without the second erasure, all of it would stay.
    assert named(tamara.pk) == (1, "I am tamara", "tamara")
    # A transaction that began later prevents nothing.
    later = InFlight(bob.pk, bob)
    try:
        assert pseudonyms.finish() == 1
    finally:
        later.end()
    assert named(tamara.pk) == (0, "", "")
    assert Wallet.objects.get(pk=tamara.pk).name == pseudonyms.pseudonym(tamara.pk)


def checked_pseudonyms() -> str:
    """Return what `manage.py doctor` says of them, and its advice."""
    try:
        return doctor.pseudonyms()
    except doctor.CheckFailed as error:
        return f"{error.wrong}. {error.advice}"


def run_sql(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def roles(transactional_db: None) -> Iterator[tuple[str, str]]:
    """The names of two roles without privileges: one that may use the tables, and one that may log in."""
    here, there = (f"{connection.settings_dict['NAME']}_{name}" for name in ("here", "there"))
    run_sql(
        f"CREATE ROLE {here}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {here}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {here}",
        f"CREATE ROLE {there} LOGIN PASSWORD 'there'",
    )
    try:
        yield here, there
    finally:
        run_sql("RESET ROLE", f"DROP OWNED BY {here}", f"DROP ROLE {here}, {there}")


def test_a_transaction_whose_begin_is_hidden_counts_as_old(roles: tuple[str, str]) -> None:
    here, there = roles
    tamara = wallets.create_wallet(name="tamara")
    pseudonyms.pseudonymise(wallet_id=tamara.pk)
    FormerName.objects.update(due_at=timezone.now() - timedelta(minutes=14))
    at = {**connection.get_connection_params(), "user": there, "password": "there"}
    with psycopg.connect(
        **{name: at[name] for name in ("host", "port", "dbname", "user", "password") if name in at}
    ) as other:
        other.execute("SELECT 1")
        run_sql(f"SET ROLE {here}")
        assert pseudonyms.finish() == 0
        assert FormerName.objects.get().name == "tamara"
        assert "nothing waits" in checked_pseudonyms()
        FormerName.objects.update(due_at=timezone.now() - timedelta(minutes=16))
        assert "GRANT pg_read_all_stats TO" in checked_pseudonyms()

        # The transaction began after the time at which the erasure is due.
        run_sql("RESET ROLE", f"GRANT pg_read_all_stats TO {here}", f"SET ROLE {here}")
        assert "GRANT" not in checked_pseudonyms()
        assert pseudonyms.finish() == 1
    assert not FormerName.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_run_does_not_wait_for_the_one_before() -> None:
    tamara = wallets.create_wallet(name="tamara")
    pseudonyms.pseudonymise(wallet_id=tamara.pk)
    FormerName.objects.update(due_at=timezone.now())

    with uncommitted(lambda: Wallet.objects.select_for_update(no_key=True).get(pk=tamara.pk)), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '1s'")
        assert pseudonyms.finish() == 0

    assert pseudonyms.finish() == 1
