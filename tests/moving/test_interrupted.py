"""An import that is killed or cut off leaves nothing, and one of a service that goes on is of one moment."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.management.base import CommandError
from django.db import connection
from rich.console import Console

from config.treetracker_import import importing, indexes
from config.treetracker_import.importing import ImportRefused, ImportUnknown, Options
from config.treetracker_import.models import ImportedRow, ImportRun
from config.treetracker_import.progress import Display
from tests.moving.conftest import imported
from tests.moving.planted import everything, plant_history
from tests.moving.service import Service, an_id
from tests.support.databases import database_url
from transfers.models import Movement
from wallets.models import Token


class Interrupting(Display):
    """Calls `then` when the step is done."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        super().__init__(Console(quiet=True))
        self.name, self.then = name, then

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        with super().step(name, total) as advance:
            yield advance
        if name == self.name:
            self.then()


def definitions() -> Any:
    """Every index and every constraint of the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
            " SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2"
        )
        return cursor.fetchall()


def nothing_stays(before: Any) -> None:
    assert (everything(), definitions()) == before
    assert not ImportRun.objects.exists()
    assert not ImportedRow.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute(r"SELECT relname FROM pg_class WHERE relname LIKE 'import\_%%'")
        assert cursor.fetchall() == []


@pytest.mark.django_db(transaction=True)
def test_nothing_stays_of_an_import_that_is_killed_or_cut_off(make_service: Any) -> None:
    peer = make_service()
    plant_history(peer)
    before = everything(), definitions()

    killed = subprocess.run(
        [sys.executable, "-m", "tests.moving.killed", peer.dsn,
         "read transaction", "write transfers", "write history", "audit"],
        env=os.environ | {"DATABASE_URL": database_url()}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (killed.returncode, killed.stderr.rpartition("\n")[2]) == (0, "")

    def cut(database: str, spared: int) -> None:
        """End the sessions of the import in a database, and wait until they have ended."""
        peer.run(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s AND pid <> %s",
            [database, spared],
        )

    own, here = peer.connection.info.backend_pid, connection.settings_dict["NAME"]
    connection.close()
    for step, database in (("write tokens", here), ("audit", here), ("read token", peer.connection.info.dbname)):
        with pytest.raises(ImportRefused, match="Nothing was written: terminating connection due to administrator"):
            importing.run(Options(dsn=peer.dsn), Interrupting(step, lambda name=database: cut(name, own)))
        connection.close()
        nothing_stays(before)
    imported(peer)
    assert definitions() == before[1]
    assert Token.objects.count() == 8


@pytest.mark.django_db(transaction=True)
def test_an_import_whose_commit_is_cut_off_does_not_say_that_nothing_was_written(make_service: Any) -> None:
    peer = make_service()
    peer.wallet("anna", password="p")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); RETURN NULL; END'"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON wallets_wallet"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cut()"
        )
    try:
        with pytest.raises(ImportUnknown, match="lost during the commit, so the import may be complete"):
            importing.run(Options(dsn=peer.dsn), Display(Console(quiet=True)))
    finally:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION cut CASCADE")
    imported(peer)


def test_a_service_that_goes_on_is_imported_as_of_one_moment(peer: Service, tmp_path: Any) -> None:
    one, two = peer.wallet("anna", password="p"), peer.wallet("bert", password="p")
    tokens = [peer.token(f"t{n}", one) for n in range(3)]
    peer.moved("before", one, two, [tokens[0]], at="2023-03-01")

    def go_on() -> None:
        peer.moved("meanwhile", one, two, [tokens[1]], at="2023-03-02")
        peer.moved("on", two, peer.wallet("carl", password="p"), [tokens[0]], at="2023-03-03")
        peer.change("token", peer.token("new", one), wallet_id=two)

    importing.run(Options(dsn=peer.dsn, report=tmp_path / "report.txt"), Interrupting("read token", go_on))

    assert not [line for line in (tmp_path / "report.txt").read_text().splitlines() if line.startswith("  ")]
    assert dict(Token.objects.values_list("id", "wallet__name")) == dict(
        zip(tokens, ("bert", "anna", "anna"), strict=True)
    )
    imported(peer)
    assert dict(Token.objects.values_list("id", "wallet__name")) == dict(
        zip([*tokens, an_id("new")], ("carl", "bert", "anna", "bert"), strict=True)
    )
    assert Movement.objects.filter(number__gt=0).count() == 3


def test_a_role_that_may_only_read_suffices(peer: Service, service_url: str) -> None:
    peer.token("t0", peer.wallet("anna", password="p"))
    role = f"{peer.connection.info.dbname}_reader"
    reader = Service(peer.connection, psycopg.conninfo.make_conninfo(service_url, options=f"-c role={role}"), "", "")
    peer.run(f'CREATE ROLE "{role}"')
    try:
        with pytest.raises(CommandError, match=r"^This role may not read the table wallet\.wallet\.$"):
            imported(reader)
        peer.run(f'GRANT USAGE ON SCHEMA wallet TO "{role}"')
        peer.run(f'GRANT SELECT ON ALL TABLES IN SCHEMA wallet TO "{role}"')
        # One that an edition may lack is not taken for absent, and hidden rows are not taken for none.
        peer.run(f'REVOKE SELECT ON wallet.api_key FROM "{role}"')
        with pytest.raises(CommandError, match=r"^This role may not read the table wallet\.api_key\.$"):
            imported(reader)
        peer.run(f'GRANT SELECT ON wallet.api_key TO "{role}"')
        peer.run("ALTER TABLE wallet.token ENABLE ROW LEVEL SECURITY")
        with pytest.raises(CommandError, match="would be affected by row-level security") as caught:
            imported(reader)
        assert "\n" not in str(caught.value)
        assert not Token.objects.exists()
        peer.run("ALTER TABLE wallet.token DISABLE ROW LEVEL SECURITY")
        imported(reader)
    finally:
        peer.run(f'DROP OWNED BY "{role}"')
        peer.run(f'DROP ROLE "{role}"')
    assert Token.objects.count() == 1


def test_only_the_indexes_of_empty_tables_are_set_aside(peer: Service) -> None:
    before = definitions()
    dropped = indexes.set_aside()
    missing = {name for name, _ in before} - {name for name, _ in definitions()}
    # Of each index but the primary keys; that of a constraint counts as both.
    assert {"token_by_arrival", "movement_by_transfer", "transfer_by_source"} <= missing
    assert "movement_once_per_number_from_0" in missing
    assert not {name for name in missing if name.endswith("pkey")}
    for table in indexes.TABLES:
        dropped.make(table)
    assert definitions() == before
    one = peer.wallet("anna", password="p")
    peer.token("t0", one)
    imported(peer)
    assert definitions() == before
    assert indexes.set_aside().by_table == {}
    assert definitions() == before
