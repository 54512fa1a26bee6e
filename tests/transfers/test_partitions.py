"""The partitions of movements: added in time or late, detached, and attached again unchanged."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from config.ops import audits, wallet_export
from config.seals import proofs, sealing, settled, verifying
from config.seals.tables import SEQUENCES
from config.treetracker_import import importing
from config.treetracker_import.progress import Display
from tests.api.caller import Caller
from tests.support.movement_partitions import arrive_at, bounds, check_that_nothing_is_detached
from tests.transfers.books import assert_sound, books
from transfers import audit, counters, operations, partitions, reports
from transfers.models import Transfer
from transfers.partition_models import DetachedPartition
from transfers.partitions import SIZE, PartitionRefused
from transfers.seal_models import POSITIONS, Seal
from wallets.models import Token, Wallet

FIRST, SECOND, THIRD = (f"transfers_movement_from_{number}" for number in (0, SIZE, 2 * SIZE))


@pytest.fixture(autouse=True)
def arrivals(db: None) -> Iterator[None]:
    """Put the sequence of arrivals back, which no rollback does."""
    before = partitions.newest_id()
    yield
    arrive_at(before + 1000)


def write(sql: str, *values: Any) -> None:
    """Write what no operation can."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, values)
        assert cursor.rowcount > 0
        cursor.execute("SET LOCAL session_replication_role = origin")


def rows_in(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ONLY {name}")
        return int(cursor.fetchone()[0])


def move(caller: Caller, token: UUID, *names: str) -> list[UUID]:
    """Send the token to these wallets of the caller in turn; return the transfers."""
    ids: list[UUID] = []
    assert caller.wallet is not None
    for name in names:
        holder = Token.objects.select_related("wallet").get(pk=token).wallet.name
        ids.append(operations.send_tokens(actor=caller.wallet, sender=holder, receiver=name, token_ids=[token]).id)
    return ids


@pytest.fixture
def moved(alice: Caller, sapling: Wallet) -> tuple[UUID, list[UUID]]:
    """A token with movements 0 to 2 in the first partition and 3 and 4 in the second; and its four transfers."""
    token = Token.objects.filter(wallet=alice.wallet).order_by("arrival")[0].pk
    ids = move(alice, token, "sapling", "alice")
    arrive_at(SIZE)
    ids += move(alice, token, "sapling", "alice")
    sealing.seal(is_due=True)
    return token, ids


def numbers(caller: Caller, token: UUID, query: str = "") -> Any:
    answer = caller.get(f"/tokens/{token}/transactions?limit=9{query}")
    if answer.status_code != 200:
        return answer.status_code, answer.json()["message"]
    return [each["receiver_wallet"] for each in answer.json()["history"]]


@pytest.mark.django_db
def test_a_history_is_one_in_several_partitions(alice: Caller, moved: Any) -> None:
    token, (first, *_, last) = moved

    assert (rows_in(FIRST), rows_in(SECOND)) == (10, 2)
    assert partitions.written_to() == SECOND
    assert numbers(alice, token) == ["sapling", "alice", "sapling", "alice"]
    assert numbers(alice, token, "&offset=3") == ["alice"]
    for transfer in first, last:
        tokens = alice.get(f"/transfers/{transfer}/tokens?limit=9").json()["tokens"]
        assert [each["id"] for each in tokens] == [str(token)]
    assert [stage.number for stage in reports.provenance(token_id=token)] == [0, 1, 2, 3, 4]
    assert_sound()


@pytest.mark.parametrize(
    ("newest", "added", "expected"),
    [
        (SIZE - SIZE // 5 - 1, None, {FIRST: (None, SIZE), SECOND: (SIZE, None)}),
        (SIZE - SIZE // 5, THIRD, {FIRST: (None, SIZE), SECOND: (SIZE, 2 * SIZE), THIRD: (2 * SIZE, None)}),
        # No movement has an id between: an end that ids have passed would refuse the next one.
        (
            3 * SIZE,
            f"transfers_movement_from_{4 * SIZE}",
            {FIRST: (None, SIZE), SECOND: (SIZE, 4 * SIZE), f"transfers_movement_from_{4 * SIZE}": (4 * SIZE, None)},
        ),
    ],
)
@pytest.mark.django_db
def test_a_partition_is_added_before_ids_are_in_the_last(newest: int, added: str | None, expected: Any) -> None:
    arrive_at(newest)

    assert partitions.extend() == added
    assert bounds() == expected
    assert partitions.extend() is None
    assert bounds() == expected


@pytest.mark.django_db
def test_a_scheduler_that_never_ran_refuses_no_transfer_and_is_late(alice: Caller, sapling: Wallet, moved: Any) -> None:
    token, _ = moved
    arrive_at(7 * SIZE)
    move(alice, token, "sapling")
    assert rows_in(SECOND) == 3

    added = f"transfers_movement_from_{9 * SIZE}"
    assert partitions.extend() == added

    assert bounds() == {FIRST: (None, SIZE), SECOND: (SIZE, 9 * SIZE), added: (9 * SIZE, None)}
    arrive_at(9 * SIZE)
    move(alice, token, "alice")
    assert (rows_in(SECOND), rows_in(added)) == (3, 1)
    assert len(numbers(alice, token)) == 6
    with connection.cursor() as cursor:
        # Each statement that writes would parse it.
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conname = 'movement_in_range'")
        assert cursor.fetchone() == (0,)
    assert_sound()


@pytest.mark.django_db
def test_each_partition_has_the_rules_of_the_table(alice: Caller, moved: Any) -> None:
    arrive_at(2 * SIZE)
    partitions.extend()
    rules = {}
    for name in bounds():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT regexp_replace(indexdef, '\\S* ON \\S*', '') FROM pg_indexes WHERE tablename = %s", [name]
            )
            indexes = {row for (row,) in cursor.fetchall()}
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass", [name])
            rules[name] = indexes, {row for (row,) in cursor.fetchall()}
    assert len(rules) == 3
    assert {len(indexes) for indexes, _ in rules.values()} == {3}
    assert len({repr(sorted(map(sorted, each))) for each in rules.values()}) == 1

    for refusal, sql in (
        (
            "movement_once_per_number",
            f"INSERT INTO {SECOND} SELECT id + 5, number, processed_at, destination_id, source_id, token_id,"
            f" transfer_number FROM {SECOND}",
        ),
        ("append-only", "UPDATE transfers_movement SET number = 9"),
        ("append-only", "DELETE FROM transfers_movement"),
    ):
        with pytest.raises(DatabaseError, match=refusal), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
    assert len(books()["movements"]) == 12


@pytest.mark.django_db
def test_the_audit_finds_a_number_that_is_in_two_partitions(moved: Any) -> None:
    write(
        f"INSERT INTO {SECOND} SELECT id + %s, number, processed_at, destination_id, source_id, token_id,"
        f" transfer_number FROM {FIRST} WHERE number = 2",
        SIZE,
    )

    assert "movement once per number" in {finding.check for finding in audits.findings()}


# --- detached ------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_partition_of_issues_alone_is_detached_before_anything_is_transferred(alice: Caller) -> None:
    arrive_at(SIZE)
    operations.issue_tokens(wallet=alice.wallet, count=1)
    sealing.seal(is_due=True)
    assert not Transfer.objects.exists()

    kept = partitions.detach(FIRST, distance=0)

    assert (kept.movements, kept.last_transfer) == (5, None)
    assert list(bounds()) == [SECOND]
    assert_sound()


@pytest.fixture
def detached(moved: Any) -> DetachedPartition:
    return partitions.detach(FIRST, distance=0)


@pytest.mark.django_db
def test_what_may_not_be_detached_or_attached(moved: Any) -> None:
    before = bounds()
    with pytest.raises(PartitionRefused, match="No partition is detached"):
        partitions.attach(FIRST)
    with pytest.raises(PartitionRefused, match=f"The oldest attached partition is {FIRST}"):
        partitions.detach(SECOND, distance=0)
    for distance in (SIZE, 3):
        with pytest.raises(PartitionRefused, match="too new"):
            partitions.detach(FIRST, distance=distance)
    assert bounds() == before
    assert not DetachedPartition.objects.exists()

    partitions.detach(FIRST, distance=2)
    with pytest.raises(PartitionRefused, match="too new"):
        partitions.detach(SECOND, distance=0)
    with pytest.raises(PartitionRefused, match=f"newest detached partition is {FIRST}"):
        partitions.attach(SECOND)
    assert list(bounds()) == [SECOND]


@pytest.mark.django_db
def test_each_reader_says_what_is_missing(alice: Caller, bob: Caller, sapling: Wallet, moved: Any) -> None:
    token, transfers = moved
    pending = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1).id
    before = alice.get(f"/tokens/{token}/transactions?limit=2").json()
    later = operations.issue_tokens(wallet=sapling, count=1, token_ids=[UUID(int=7)])
    never_moved = Token.objects.filter(wallet=sapling, moves=0).exclude(pk=UUID(int=7)).first()
    assert (later, len(before["history"])) == (1, 2)
    assert never_moved is not None
    issue = reports.issue_of(never_moved)
    # What is reserved has not moved, however early the transfer was made.
    write("UPDATE transfers_transfer SET number = -number WHERE id = %s", pending)
    partitions.detach(FIRST, distance=0)
    assert len(alice.get(f"/transfers/{pending}/tokens?limit=9").json()["tokens"]) == 1

    gone = (410, "The oldest movements of this token are stored elsewhere. Ask the operator to attach them")
    assert [numbers(alice, token, query) for query in ("", "&offset=1", "&offset=2", "&offset=3", "&offset=4")] == [
        gone
    ] * 3 + [gone, []]
    assert [numbers(alice, each) for each in (never_moved.pk, UUID(int=7))] == [[], []]
    for transfer in transfers[:2]:
        answer = alice.get(f"/transfers/{transfer}/tokens?limit=9")
        assert (answer.status_code, answer.json()["message"]) == (410, gone[1].replace("token", "transfer"))
    for transfer in transfers[2:]:
        assert len(alice.get(f"/transfers/{transfer}/tokens?limit=9").json()["tokens"]) == 1
    assert [stage.number for stage in reports.provenance(token_id=token)] == [3, 4]
    assert reports.issue_of(never_moved) == issue
    lines = [json.loads(line) for line in wallet_export.lines(wallet_id=sapling.pk)][:-1]
    (told,) = (line["row"] for line in lines if line["table"] == "transfers.DetachedPartition")
    assert (told["name"], told["below"]) == (FIRST, SIZE)
    assert {line["row"]["number"] for line in lines if line["table"] == "transfers.Movement"} == {0, 3, 4}
    counters.recount()
    assert_sound()


@pytest.mark.django_db
def test_an_import_is_refused_while_movements_are_detached(
    detached: DetachedPartition,
) -> None:
    with pytest.raises(importing.ImportRefused, match="Movements are detached"):
        importing._import(None, importing.Options(dsn=""), Display(StringIO()))  # type: ignore[arg-type]


DETACHED = "detached movements are sealed, and older than all others"


@pytest.mark.parametrize(
    ("sql", "check"),
    [
        ("UPDATE transfers_detachedpartition SET below = below + 2", DETACHED),
        # Sealed, and attached.
        (
            "WITH sealed AS (UPDATE transfers_seal SET movements = movements + 9)"
            " UPDATE transfers_detachedpartition SET below = below + 2",
            DETACHED,
        ),
        ("UPDATE transfers_detachedpartition SET last_transfer = last_transfer + 100", DETACHED),
        ("UPDATE transfers_seal SET movements = 0", DETACHED),
        ("DELETE FROM transfers_movement WHERE number = 4", "a token is where its last movement put it"),
        (
            "DELETE FROM transfers_movement WHERE number = 4",
            "a completed transfer moved what was asked, any other nothing",
        ),
        ("DELETE FROM transfers_movement WHERE number = 3", "a completed transfer of listed tokens moved these"),
        ("UPDATE transfers_movement SET number = 2 WHERE number = 3", "the history of a token has no gap"),
        ("DELETE FROM transfers_movement WHERE number = 0", "the history of a token has no gap"),
        (
            "UPDATE transfers_movement SET source_id = token_id WHERE number = 4",
            "each movement starts where and after the one before ended",
        ),
    ],
)
@pytest.mark.django_db
def test_the_audit_proves_what_is_attached(sapling: Wallet, detached: DetachedPartition, sql: str, check: str) -> None:
    operations.issue_tokens(wallet=sapling, count=1)
    write("UPDATE wallets_token SET created_at = now() + interval '1 minute' WHERE arrival > %s AND moves = 0", SIZE)
    assert_sound()

    write(sql)

    assert check in {finding.check for finding in audit.audit_findings()}


@pytest.mark.django_db
def test_a_partition_comes_back_as_it_was(alice: Caller, moved: Any) -> None:
    token, _ = moved
    before, places = books(), bounds()
    partitions.detach(FIRST, distance=0)
    assert len(books()["movements"]) == 2
    with pytest.raises(DatabaseError, match="detached"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {FIRST} SET number = number")

    # One row that differs in one column, the others as they were.
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE {FIRST}")
    for column, other in (
        ("id", "-1"), ("token_id", "gen_random_uuid()"), ("number", "7"), ("transfer_number", "transfer_number - 1"),
        ("source_id", "destination_id"), ("destination_id", "source_id"),
        ("processed_at", "processed_at + interval '1 microsecond'"),
    ):  # fmt: skip
        write(f"UPDATE {FIRST} SET {column} = {other} WHERE token_id = %s AND number = 1", token)
        with pytest.raises(PartitionRefused, match="does not have the rows"):
            partitions.attach(FIRST)
        assert list(bounds()) == [SECOND]
        write(f"DELETE FROM {FIRST}")
        write(f"INSERT INTO {FIRST} SELECT * FROM kept")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {FIRST} RENAME TO elsewhere")
    with pytest.raises(PartitionRefused, match="no table"):
        partitions.attach(FIRST)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE elsewhere RENAME TO {FIRST}")
    partitions.attach(FIRST)

    assert (books(), bounds()) == (before, places)
    assert not DetachedPartition.objects.exists()
    assert len(numbers(alice, token)) == 4
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {FIRST} SET number = number")
    assert_sound()


@pytest.mark.django_db
def test_the_command_lists_detaches_and_attaches(moved: Any) -> None:
    def said(*words: str) -> list[str]:
        out = StringIO()
        call_command("movement_partitions", *words, stdout=out)
        return out.getvalue().splitlines()

    first, last = said()
    assert first.startswith(f"{FIRST}  the first to 99,999,999  ")
    assert last.startswith(f"{SECOND}  100,000,000 to open  ")
    with pytest.raises(CommandError, match="too new"):
        said("detach", FIRST)
    arrive_at(2 * SIZE)
    assert said("detach", FIRST)[:2] == [
        f"{FIRST} is detached: 10 movements are in the table {FIRST} alone.",
        f"{FIRST}  to 99,999,999  detached, 10 movements",
    ]
    assert said("attach", FIRST)[0] == f"{FIRST} is attached: its rows are those that were detached."
    assert said() == [first, last]


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.django_db(transaction=True)
def test_a_change_does_not_wait_long_for_a_reader(alice: Caller, reads: bool) -> None:
    before = bounds()
    arrive_at(2 * SIZE)
    sealing.seal(is_due=True)

    def change() -> tuple[str | None, str]:
        """Add a partition, and detach the first, which then come back."""
        try:
            added = partitions.extend()
            try:
                return added, partitions.detach(FIRST, distance=0).name
            except PartitionRefused as error:
                return added, str(error)[:42]
        finally:
            connection.close()

    with transaction.atomic(), connection.cursor() as cursor:
        if reads:
            cursor.execute("SELECT count(*) FROM transfers_movement")
        with ThreadPoolExecutor(1) as pool:
            changed = pool.submit(change).result(timeout=60)

    if reads:
        assert changed == (None, "Another session uses the table of movement")
        assert bounds() == before
    else:
        assert changed == (f"transfers_movement_from_{3 * SIZE}", FIRST)
        partitions.attach(FIRST)
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE transfers_movement_from_{3 * SIZE}")
            cursor.execute(f"ALTER TABLE transfers_movement DETACH PARTITION {SECOND}")
            cursor.execute(
                f"ALTER TABLE transfers_movement ATTACH PARTITION {SECOND} FOR VALUES FROM ({SIZE}) TO (MAXVALUE)"
            )
        assert bounds() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_of_all", [True, False])
def test_the_command_changes_nothing_beside_an_audit(alice: Caller, is_of_all: bool) -> None:
    before = bounds()
    arrive_at(2 * SIZE)

    def detach() -> str:
        try:
            call_command("movement_partitions", "detach", FIRST)
        except CommandError as error:
            return str(error)
        finally:
            connection.close()
        return "detached"

    with transaction.atomic():
        audits._keep_out(is_of_all=is_of_all)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(detach).result(timeout=60) == "An audit is running already."
    assert bounds() == before


# --- seals ---------------------------------------------------------------------------------


def verified() -> tuple[list[str], list[int]]:
    """Return which blocks differ from their rows, and which could not be compared."""
    whole = verifying.whole()
    return [finding.detail.partition(" has ")[0] for finding in whole.findings], whole.elsewhere


@pytest.fixture
def sealed(alice: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch) -> tuple[UUID, list[UUID], int]:
    """
    As `moved`, in blocks of two movements; one block has the last movement of the first partition and the first of the
    second. And that block's height.
    """
    monkeypatch.setattr(sealing, "ROWS", 2)
    token = Token.objects.filter(wallet=alice.wallet).order_by("arrival")[0].pk
    ids = move(alice, token, "sapling")
    sealing.seal(is_due=True)
    ids += move(alice, token, "alice")
    arrive_at(SIZE)
    ids += move(alice, token, "sapling", "alice")
    sealing.seal(is_due=True)
    (between,) = Seal.objects.filter(movements=SIZE + 1).values_list("height", flat=True)
    return token, ids, between


@pytest.mark.django_db
def test_what_is_not_sealed_is_not_detached(moved: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE transfers_seal DISABLE TRIGGER USER")
        cursor.execute("UPDATE transfers_seal SET movements = %s", [SIZE - 2])
    with pytest.raises(PartitionRefused, match="is not sealed yet: see COPPICE_SEAL_EVERY_MINUTES"):
        partitions.detach(FIRST, distance=0)
    assert list(bounds()) == [FIRST, SECOND]
    last = Transfer.objects.get(pk=moved[1][1]).number
    for transfers, is_sealed in ((last - 1, False), (last, True)):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE transfers_seal SET movements = %s, transfers = %s", [SIZE - 1, transfers])
        if is_sealed:
            assert partitions.detach(FIRST, distance=0).name == FIRST
        else:
            with pytest.raises(PartitionRefused, match="is not sealed yet"):
                partitions.detach(FIRST, distance=0)
            assert list(bounds()) == [FIRST, SECOND]


@pytest.mark.django_db
def test_partitions_are_attached_from_the_newest_to_the_oldest(alice: Caller, moved: Any) -> None:
    before = books()
    third = partitions.extend()
    assert third is not None
    arrive_at(bounds()[third][0] or 0)
    move(alice, moved[0], "sapling", "alice")
    sealing.seal(is_due=True)
    for name in (FIRST, SECOND):
        partitions.detach(name, distance=0)
    assert list(bounds()) == [third]

    with pytest.raises(PartitionRefused, match=f"newest detached partition is {SECOND}"):
        partitions.attach(FIRST)
    assert list(bounds()) == [third]
    partitions.attach(SECOND)
    partitions.attach(FIRST)
    assert list(bounds()) == [FIRST, SECOND, third]
    assert len(books()["movements"]) == len(before["movements"]) + 2


def test_a_detached_partition_has_the_ids_of_its_range() -> None:
    part = partitions.Detached("old", 10, 13, is_here=True)
    for after, upto in itertools.product(range(8, 15), repeat=2):
        is_any = any(10 <= each < 13 for each in range(after + 1, upto + 1))
        assert part.has_any(after=after, upto=upto) is is_any, (after, upto)


@pytest.mark.django_db
def test_sealed_blocks_are_compared_with_detached_movements(alice: Caller, sealed: Any) -> None:
    token, transfers, between = sealed
    newest = verifying.newest_height()
    assert verified() == ([], [])
    proof = [alice.get(f"/transfers/{each}/proof").json()["proofs"] for each in transfers]
    last = alice.get(f"/tokens/{token}/proof?after_number=2").json()["proofs"]
    assert ([len(each) for each in proof], len(last)) == ([1] * 4, 2)
    partitions.detach(FIRST, distance=0)

    # The table is still here.
    assert verifying._first_here() == 1
    assert verified() == ([], [])
    assert [audits.findings(is_of_all=each) for each in (True, False)] == [[], []]
    assert [alice.get(f"/transfers/{each}/proof").json()["proofs"] for each in transfers] == proof
    assert alice.get(f"/tokens/{token}/proof?after_number=2").json()["proofs"] == last
    gone = alice.get(f"/tokens/{token}/proof?after_number=1")
    assert (gone.status_code, gone.json()["message"]) == (
        410,
        "The oldest movements of this token are stored elsewhere. Ask the operator to attach them",
    )
    changed = "UPDATE {} SET processed_at = processed_at {} interval '1 microsecond' WHERE number = 2"
    write(changed.format(FIRST, "+"))
    assert verified() == ([f"block {between}"], [])
    assert [bool(audits.findings(is_of_all=each)) for each in (True, False)] == [True, True]
    write(changed.format(FIRST, "-"))

    # And is not.
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {FIRST} RENAME TO elsewhere")
    assert verified() == ([], list(range(1, between + 1)))
    assert [audits.findings(is_of_all=each) for each in (True, False)] == [[], []]
    assert verifying.sampled().leaves == sum(Seal.objects.filter(height__gt=between).values_list("leaves", flat=True))
    assert newest > between
    assert verifying._first_here() == between + 1
    for answer in (
        alice.get(f"/transfers/{transfers[0]}/proof"),
        alice.get(f"/transfers/{transfers[1]}/proof"),
        alice.get(f"/tokens/{token}/proof?after_number=2"),
    ):
        assert (answer.status_code, answer.json()["message"][:20]) == (410, "The oldest movements")
    assert alice.get(f"/transfers/{transfers[3]}/proof").json()["proofs"] == proof[3]
    assert alice.get(f"/tokens/{token}/proof?after_number=3").json()["proofs"] == last[1:]
    # What is attached is proved.
    write("UPDATE transfers_movement SET processed_at = processed_at + interval '1 microsecond' WHERE number = 4")
    assert verified()[0] == [f"block {between + 1}"]
    assert verifying.ROWS in {finding.check for finding in audits.findings(is_of_all=False)}


@pytest.mark.django_db
def test_what_is_not_compared_is_named(alice: Caller, sealed: Any, caplog: pytest.LogCaptureFixture) -> None:
    *_, between = sealed
    partitions.detach(FIRST, distance=0)
    said = {}
    for where in ("here", "elsewhere"):
        assert verifying.not_compared() == (between if where == "elsewhere" else 0)
        for command in ("verify", "audit"):
            out = StringIO()
            call_command(command, stdout=out)
            said[where, command] = out.getvalue()
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE IF EXISTS {FIRST} RENAME TO elsewhere")

    for command in ("verify", "audit"):
        assert "Not compared" not in said["here", command]
    assert f"{verifying.newest_height()} seals with" in said["here", "verify"]
    assert (
        f"Not compared: blocks 1 to {between}; movements of them are in detached partitions that are not in this"
        " database."
    ) in said["elsewhere", "verify"]
    assert f"Not compared: the movements of {FIRST}, which are not in this database" in said["elsewhere", "audit"]
    assert caplog.text.count(f"sealed blocks 1 to {between} are not compared") == 1
    assert verifying.spans([1, 2, 4, 6, 7]) == "1 to 2, 4, 6 to 7"


@pytest.mark.parametrize(
    ("reader", "first"),
    [
        ("audit of all", "transfers_seal"),
        ("audit of new", "transfers_seal"),
        ("export", "FROM wallets_"),
        ("proof", "FROM transfers_detachedpartition ORDER"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_nothing_is_detached_after_a_reader_took_its_snapshot(alice: Caller, reader: str, first: str) -> None:
    def read() -> None:
        if reader == "proof":
            token = Token.objects.filter(wallet=alice.wallet).order_by("arrival")[0].pk
            assert len(proofs.of_token(token, after=-1)[0]) == 1
        elif reader == "export":
            assert alice.wallet is not None
            assert len(list(wallet_export.lines(wallet_id=alice.wallet.pk))) > 10
        else:
            assert audits.findings(is_of_all=reader == "audit of all") == []

    check_that_nothing_is_detached(during=read, at=first)


@pytest.mark.django_db(transaction=True)
def test_a_movement_that_is_written_to_its_partition_alone_is_waited_for(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "WAIT_SECONDS", 0.1)
    for lock, expected in (
        (f"LOCK TABLE {FIRST} IN ROW EXCLUSIVE MODE", {"movements"}),
        # As an insert into the table does, whatever partition it comes to.
        ("LOCK TABLE ONLY transfers_movement IN ROW EXCLUSIVE MODE", {"movements"}),
        ("LOCK TABLE ONLY transfers_movement IN EXCLUSIVE MODE", {"movements"}),
        # As a move to another tablespace and the validation of a range do, which are long.
        (f"LOCK TABLE {FIRST} IN ACCESS EXCLUSIVE MODE", set()),
        (f"LOCK TABLE {FIRST} IN SHARE UPDATE EXCLUSIVE MODE", set()),
        ("LOCK TABLE transfers_movement IN ACCESS SHARE MODE", set()),
    ):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(lock)

            def missing() -> set[str]:
                try:
                    return set(POSITIONS) - set(settled.settled(SEQUENCES))
                finally:
                    connection.close()

            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(missing).result(timeout=60) == expected, lock
