"""What is sealed cannot be changed without being found, and a seal has what is settled and nothing else."""

import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from config.seals import blocks, chain, merkle, sealing, settled, verifying
from config.seals.tables import SEQUENCES, TABLES
from lockers.models import StatementLine
from lockers.states import LineType
from tests.concurrency.writers import uncommitted
from tests.support.sealed_rows import SEALED, another, columns, drop_checks, execute, key_of, plant, plant_all
from tests.tables import empty_tables
from transfers import partitions
from transfers.models import Issue, Movement, Transfer, TransferTerms
from transfers.partition_models import DetachedPartition
from transfers.seal_models import POSITIONS, LateTransfer, Seal, SealMark
from trusts.models import TrustChange
from wallets.audit import Finding

pytestmark = pytest.mark.django_db

KEY, NEXT_KEY = (b64encode(bytes(range(first, first + 32))).decode() for first in (0, 1))
# Append-only tables that are not sealed, and why.
NOT_SEALED = {
    "wallets_event": "names in it are pseudonymised, and what it announces is sealed",
    "wallets_operatoraction": "names in it are pseudonymised",
    "lockers_receiptline": "late answers change it, and what it is worth is in the lines of statements",
    "transfers_seal": "it is the chain",
}


def public(private: str) -> str:
    return b64encode(Ed25519PrivateKey.from_private_bytes(b64decode(private)).public_key().public_bytes_raw()).decode()


@pytest.fixture(autouse=True)
def _key(settings: Any) -> None:
    settings.SEAL_KEY, settings.SEAL_OLD_KEYS = KEY, []


def found(**options: Any) -> list[Finding]:
    return verifying.whole(**options).findings


@contextmanager
def undone() -> Iterator[None]:
    """Undo what the block writes."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def checks_after(statement: str, *parameters: Any) -> set[str]:
    """Return which rules are broken after a statement, which is undone. Audits must notice what `verify` does."""
    with undone():
        execute(statement, *parameters)
        findings = found()
        assert bool(verifying.sampled().findings) is bool(findings)
        return {finding.check for finding in findings}


def test_every_column_of_a_sealed_model_is_in_its_seal() -> None:
    for model, names in SEALED.items():
        fields = {field.name for name in names for field in TABLES[name].fields} - {"capture_id"}
        assert fields == set(columns(model)), model
    assert {name for names in SEALED.values() for name in names} | {"block"} == set(TABLES)
    assert tuple(each.position for each in SEQUENCES) == POSITIONS
    assert {each.source for each in SEQUENCES} == {
        model._meta.db_table for model in SEALED if model is not TransferTerms
    }


def test_every_append_only_table_is_sealed_or_named_here() -> None:
    rows = execute(
        "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger"
        # Not the copies in partitions.
        " WHERE NOT tgisinternal AND tgparentid = 0 AND tgname LIKE %s",
        "%append\\_only",
    )
    sealed = {model._meta.db_table for model in SEALED if model is not Transfer}
    assert {table for (table,) in rows} == sealed | set(NOT_SEALED)


def test_a_change_of_any_column_of_a_sealed_row_is_found() -> None:
    drop_checks()
    keys = plant_all()
    assert sealing.seal(is_due=True) == 1
    assert found() == []
    asked = {field.name for field in TABLES["request"].fields}
    for model, names in SEALED.items():
        table = model._meta.db_table
        for name in names:
            for column, kind in columns(model).items():
                if name == "request" and column not in asked:
                    continue
                (field,) = [each for each in model._meta.local_concrete_fields if each.column == column]
                nullable = field.null
                for value in [another(column, kind), *(["NULL"] if nullable else [])]:
                    broken = checks_after(
                        f"UPDATE {table} SET {column} = {value} WHERE {key_of(model)} = %s", keys[name]
                    )
                    assert broken == {verifying.ROWS}, (name, column, value)


def test_values_that_no_row_can_have_are_found_too() -> None:
    keys = plant_all()
    sealing.seal(is_due=True)
    for statement, name in (
        ("UPDATE transfers_transfer SET closed_at = 'infinity' WHERE number = %s", "transfer"),
        ("UPDATE transfers_issue SET issued_at = '0044-03-15 BC' WHERE id = %s", "issue"),
        ("UPDATE lockers_statementline SET amount = 'NaN' WHERE id = %s", "statement_line"),
    ):
        assert checks_after(statement, keys[name]) == {verifying.ROWS}


def test_the_tree_of_a_token_is_sealed_with_its_first_movement() -> None:
    plant(SEALED_BY_NAME["movement"], number="0", token_id=f"'{'1' * 32}'")
    execute(
        "INSERT INTO wallets_token (id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at)"
        " VALUES (%s, gen_random_uuid(), gen_random_uuid(), 0, 1, 1, false, now(), now())",
        "1" * 32,
    )
    sealing.seal(is_due=True)
    assert checks_after("UPDATE wallets_token SET capture_id = gen_random_uuid()") == {verifying.ROWS}
    assert checks_after("UPDATE wallets_token SET wallet_id = gen_random_uuid()") == set()


SEALED_BY_NAME = {name: model for model, names in SEALED.items() for name in names}


def test_rows_that_are_removed_inserted_or_exchanged_are_found() -> None:
    first, second = plant_all(), plant_all()
    sealing.seal(is_due=True)
    for model, (name, *_) in SEALED.items():
        table, key = model._meta.db_table, key_of(model)
        others = [column for column in columns(model) if column != key]
        copied = ["gen_random_uuid()" if kind == "uuid" else column for column, kind in columns(model).items()
                  if column != key]  # fmt: skip
        assert checks_after(f"DELETE FROM {table} WHERE {key} = %s", first[name]) == {verifying.ROWS}, name
        assert checks_after(
            f"INSERT INTO {table} ({key}, {', '.join(others)})"
            f" SELECT {key} - 1, {', '.join(copied)} FROM {table} WHERE {key} = %s",
            first[name],
        ) == {verifying.ROWS}, name
        assert checks_after(
            f"WITH gone AS (DELETE FROM {table} WHERE {key} IN (%s, %s) RETURNING *)"
            f" INSERT INTO {table} ({key}, {', '.join(others)})"
            f" SELECT CASE {key} WHEN %s THEN %s ELSE %s END, {', '.join(others)} FROM gone ORDER BY 1",
            first[name], second[name], first[name], second[name], first[name],
        ) == {verifying.ROWS}, name  # fmt: skip


def test_a_change_of_any_column_of_the_chain_is_found() -> None:
    for _ in range(3):
        plant_all()
        sealing.seal(is_due=True)
    for column, kind in columns(Seal).items():
        for height in (1, 2, 3):
            assert checks_after(
                f"UPDATE transfers_seal SET {column} = {another(column, kind)} WHERE height = %s", height
            ), (column, height)
    for column in columns(Seal):
        with undone():
            if column != "height":
                execute(f"ALTER TABLE transfers_seal ALTER {column} DROP NOT NULL")
                assert checks_after(f"UPDATE transfers_seal SET {column} = NULL WHERE height = 2"), column
    late = LateTransfer.objects.get(asked_id=2).number
    for statement in (
        "DELETE FROM transfers_seal WHERE height = 1",
        "DELETE FROM transfers_seal WHERE height = 2",
        f"DELETE FROM transfers_latetransfer WHERE number = {late}",
        f"UPDATE transfers_latetransfer SET number = number + 1 WHERE number = {late}",
        f"UPDATE transfers_latetransfer SET asked_id = 1 WHERE number = {late}",
        f"UPDATE transfers_latetransfer SET decided_id = 3 WHERE number = {late}",
    ):
        assert checks_after(statement) & {verifying.ROWS, verifying.CHAIN}, statement


def test_a_chain_that_another_key_signed_again_is_found(settings: Any) -> None:
    keys = plant_all()
    sealing.seal(is_due=True)
    honest = {1: bytes(Seal.objects.get().hash)}
    assert found(kept=honest) == []
    with undone():
        execute("UPDATE transfers_transfer SET token_count = 1000 WHERE number = %s", keys["transfer"])
        execute("DELETE FROM transfers_seal")
        execute("DELETE FROM transfers_latetransfer")
        settings.SEAL_KEY = NEXT_KEY
        sealing.seal(is_due=True)
        assert found() == []
        # Who kept a checkpoint sees it whatever key signed.
        assert {each.check for each in found(kept=honest)} == {verifying.KEPT}
        settings.SEAL_KEY = KEY
        assert {each.check for each in found()} == {verifying.SIGNATURES}
        with pytest.raises(sealing.ChainRefused, match="not signed by a key of this installation"):
            sealing.seal(is_due=True)
        # And nor may the forger leave the signatures out.
        execute("UPDATE transfers_seal SET key_id = '', signature = ''")
        assert {each.check for each in found()} == {verifying.SIGNATURES}
        with pytest.raises(sealing.ChainRefused, match="The chain is not signed"):
            sealing.seal(is_due=True)
        assert Seal.objects.count() == 1
    assert {each.detail for each in found(kept={1: honest[1], 2: b"x" * 32})} == {"seal 2 was kept and is not here"}


def test_the_signature_of_the_newest_seal_is_verified_whatever_is_sampled() -> None:
    plant_all()
    sealing.seal(is_due=True)
    execute("UPDATE transfers_seal SET signature = %s", b"-" * 64)
    assert {each.check for each in verifying.verify(hashes_block=lambda height: False).findings} == {
        verifying.SIGNATURES
    }


def test_a_damaged_chain_is_not_continued_without_a_key_either(settings: Any) -> None:
    settings.SEAL_KEY = ""
    plant_all()
    sealing.seal(is_due=True)
    plant_all()
    execute("UPDATE transfers_seal SET leaves = leaves + 1")
    with pytest.raises(sealing.ChainRefused, match="its hash is not that of its content"):
        sealing.seal(is_due=True)
    assert Seal.objects.count() == 1
    # Nor is it believed if the hash fits: without a signature, the rows decide.
    for change in ("leaves = leaves - 1", "leaves = leaves + 1", "root = sha256(root)"):
        with undone():
            execute("UPDATE transfers_seal SET leaves = leaves - 1")
            assert found() == []
            execute(f"UPDATE transfers_seal SET {change}")
            execute("UPDATE transfers_seal SET hash = %s", blocks.header(Seal.objects.get()).hash())
            assert {each.check for each in found()} == {verifying.ROWS}, change


def test_old_public_keys_stay_verifiable_after_a_rotation(settings: Any) -> None:
    plant_all()
    sealing.seal(is_due=True)
    settings.SEAL_KEY = NEXT_KEY
    assert {each.check for each in found()} == {verifying.SIGNATURES}
    settings.SEAL_OLD_KEYS = [public(KEY)]
    plant_all()
    assert sealing.seal(is_due=True) == 1
    assert found() == []
    assert [seal.key_id for seal in Seal.objects.order_by("height")] == [
        chain.key_id(b64decode(public(key))) for key in (KEY, NEXT_KEY)
    ]


def test_without_a_key_the_chain_is_kept_unsigned_until_someone_begins_to_sign(settings: Any) -> None:
    settings.SEAL_KEY = ""
    plant_all()
    sealing.seal(is_due=True)
    assert [(seal.key_id, bytes(seal.signature)) for seal in Seal.objects.all()] == [("", b"")]
    assert found() == []
    settings.SEAL_KEY = KEY
    plant_all()
    assert {each.check for each in found()} == {verifying.SIGNATURES}
    with pytest.raises(sealing.ChainRefused, match="begin-signing"):
        sealing.seal(is_due=True)
    said = StringIO()
    call_command("verify", begin_signing=True, stdout=said)
    assert "Signed from now on with the key" in said.getvalue()
    assert found() == []
    assert sealing.seal(is_due=True) == 1
    with pytest.raises(sealing.ChainRefused, match="signed already"):
        sealing.begin_signing()
    # And nothing is added unsigned to a chain that is signed.
    settings.SEAL_KEY, settings.SEAL_OLD_KEYS = "", [public(KEY)]
    plant_all()
    with pytest.raises(sealing.ChainRefused, match="COPPICE_SEAL_KEY is not set"):
        sealing.seal(is_due=True)
    assert Seal.objects.count() == 3
    assert found() == []
    # A signature that is missing in a chain that is signed is a finding, whatever is begun.
    settings.SEAL_KEY, settings.SEAL_OLD_KEYS = KEY, []
    execute("UPDATE transfers_seal SET key_id = '', signature = '' WHERE height = 3")
    assert {each.check for each in found()} == {verifying.SIGNATURES}
    with pytest.raises(CommandError, match="history is not as it was sealed"):
        call_command("verify", begin_signing=True, stdout=StringIO(), stderr=StringIO())


def test_an_open_transfer_is_sealed_as_asked_and_its_outcome_when_it_is_decided() -> None:
    number = plant(Transfer, state="'requested'")
    plant(TransferTerms, transfer_number=str(number))
    sealing.seal(is_due=True)
    assert [leaf.table.name for leaf in _leaves(1)] == ["block", "request", "terms"]
    assert sealing.seal(is_due=True) == 0
    # What is not asked for may still change.
    execute("UPDATE transfers_transfer SET state = 'pending', approval_of = 'send' WHERE number = %s", number)
    assert found() == []
    execute("UPDATE transfers_transfer SET state = 'cancelled', closed_at = now() WHERE number = %s", number)
    other = plant(Transfer, state="'completed'")
    assert sealing.seal(is_due=True) == 1
    assert [(leaf.table.name, number in leaf.values, other in leaf.values) for leaf in _leaves(2)[1:]] == [
        ("transfer", False, True), ("approval", False, True), ("transfer", True, False), ("approval", True, False),
    ]  # fmt: skip
    assert list(LateTransfer.objects.values_list("number", "asked_id", "decided_id")) == [(number, 1, 2)]
    assert found() == []
    for column in ("state = 'completed'", "closed_at = now() - interval '1 day'", "token_count = 0"):
        assert checks_after(f"UPDATE transfers_transfer SET {column} WHERE number = %s", number) == {verifying.ROWS}


def test_the_leaves_of_a_block_keep_their_order_and_their_bytes() -> None:
    """Blocks that were sealed earlier verify only while both stay: other tests compare what one version makes."""

    def fixed(model: Any, key: int, **values: str) -> None:
        known = {column: f"'{key:032}'" for column, kind in columns(model).items() if kind == "uuid"}
        plant(model, **known | {"number": str(key)} | {key_of(model): str(key)} | values)

    # In no order of their keys: five of the block, and four of earlier blocks, of which two became final.
    numbers = (905, 902, 907, 901, 906, 904, 903, 909, 908)
    for number in numbers:
        fixed(Transfer, number, state="'completed'" if number % 2 else "'cancelled'")
    for model in (Movement, Issue, TrustChange, StatementLine):
        for key in (906, 905):
            fixed(model, key, **{"type": f"'{next(iter(LineType))}'"} if model is StatementLine else {})
    for key in (907, 906):
        fixed(TransferTerms, key)
    execute(
        "INSERT INTO transfers_latetransfer (number, asked_id, decided_id)"
        " VALUES (902, 1, 2), (901, 1, 2), (903, 1, NULL), (904, 1, 3), (907, 2, NULL), (905, 2, 3)"
    )
    leaves = list(blocks.rows(height=2, after=dict.fromkeys(POSITIONS, 904), upto=dict.fromkeys(POSITIONS, 908)))

    def key(leaf: blocks.Leaf) -> Any:
        names = [field.name for field in leaf.table.fields]
        return leaf.values[names.index(key_of(SEALED_BY_NAME[leaf.table.name]))]

    assert [(leaf.table.name, key(leaf)) for leaf in leaves[1:]] == [
        ("request", 905), ("request", 907), ("transfer", 906), ("transfer", 908), ("approval", 906), ("approval", 908),
        ("transfer", 901), ("transfer", 902), ("approval", 901), ("approval", 902), ("terms", 906), ("terms", 907),
        ("movement", 905), ("movement", 906), ("issue", 905), ("issue", 906), ("trust_change", 905),
        ("trust_change", 906), ("statement_line", 905), ("statement_line", 906),
    ]  # fmt: skip
    assert merkle.root(blocks.hashes(b"-" * 32, iter(leaves))).hex() == (
        "a96b0198ff81d3b41de136456e8194056c62d8aefda77a32d7537f48916f3730"
    )


def _leaves(height: int) -> list[blocks.Leaf]:
    seals = {seal.height: seal for seal in Seal.objects.all()}
    before = blocks.positions(seals.get(height - 1))
    return list(blocks.rows(height=height, after=before, upto=blocks.positions(seals[height])))


def test_a_block_has_a_limited_number_of_rows_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "ROWS", 2)
    for _ in range(5):
        plant(Issue)
    for _ in range(3):
        plant(Transfer, state="'requested'")
    # Full blocks are made although none is due; what is left waits.
    assert sealing.seal(is_due=False) == 2
    assert not SealMark.objects.exists()
    assert sealing.seal(is_due=False) == 0
    assert sealing.seal(is_due=True) == 1
    assert SealMark.objects.exists()
    assert list(Seal.objects.order_by("height").values_list("leaves", flat=True)) == [5, 4, 2]
    execute("UPDATE transfers_transfer SET state = 'failed'")
    assert sealing.seal(is_due=False) == 0
    assert sealing.seal(is_due=True) == 2
    assert list(Seal.objects.order_by("height").values_list("leaves", flat=True)) == [5, 4, 2, 5, 3]
    assert found() == []


@pytest.mark.parametrize(("minutes", "made"), [(9, 0), (11, 1)])
def test_a_block_that_is_not_full_is_made_once_in_a_while(settings: Any, minutes: int, made: int) -> None:
    settings.SEAL_EVERY_MINUTES = 10
    plant(Issue)
    # The first is made at once.
    assert sealing.seal() == 1
    plant(Issue)
    assert sealing.seal() == 0
    execute("UPDATE transfers_sealmark SET complete_at = clock_timestamp() - make_interval(mins => %s)", minutes)
    assert sealing.seal() == made
    # Whether there is a block or not, the time since everything was sealed begins again.
    execute("UPDATE transfers_sealmark SET complete_at = clock_timestamp() - make_interval(mins => 11)")
    assert sealing.seal() == 1 - made
    plant(Issue)
    assert sealing.seal() == 0


def test_a_writer_that_began_later_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load there is always some writer of a table."""
    writers = iter([{("transfers_transfer", "3/1"), ("transfers_movement", "3/1")}, {("transfers_transfer", "4/2")}])
    monkeypatch.setattr(settled, "_writers", lambda cursor, sequences: next(writers))

    assert settled.settled(SEQUENCES).keys() == set(POSITIONS)
    assert next(writers, None) is None


def test_a_transaction_that_writes_a_table_or_has_locked_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have taken a key. Readers have not, nor who moves a partition to another tablespace."""
    monkeypatch.setattr(settled, "WAIT_SECONDS", 0.0)
    strong = ("SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")
    part = partitions.attached()[0].name
    for table, mode, position in (
        *((each.source, "ROW EXCLUSIVE", each.position) for each in SEQUENCES),
        *((each.source, mode, each.position) for each in SEQUENCES for mode in strong),
        (part, "ROW EXCLUSIVE", "movements"),
        *((part, mode, None) for mode in strong),
        *((each.source, mode, None) for each in SEQUENCES for mode in ("ROW SHARE", "SHARE UPDATE EXCLUSIVE", "SHARE")),
    ):
        statement = f"LOCK TABLE ONLY {table} IN {mode} MODE"
        with uncommitted(partial(execute, statement)):
            assert set(POSITIONS) - settled.settled(SEQUENCES).keys() == {position} - {None}, statement
    # What the own transaction writes is final for it.
    for each in SEQUENCES:
        execute(f"LOCK TABLE {each.source} IN EXCLUSIVE MODE")
    assert settled.settled(SEQUENCES).keys() == set(POSITIONS)


def test_a_key_that_no_row_has_taken_yet_is_not_final() -> None:
    for each in SEQUENCES:
        execute(f"ALTER SEQUENCE {each.sequence} RESTART WITH 7")
    assert settled.settled(SEQUENCES) == dict.fromkeys(POSITIONS, 6)
    for each in SEQUENCES:
        execute(f"SELECT nextval('{each.sequence}')")
    assert settled.settled(SEQUENCES) == dict.fromkeys(POSITIONS, 7)


def test_rows_that_are_not_final_keep_their_position(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_all()
    sealing.seal(is_due=True)
    before = blocks.positions(Seal.objects.latest("height"))
    plant_all()
    # Writers of transfers have not ended, and a restored sequence of movements is behind its rows.
    final = settled.settled(SEQUENCES) | {"movements": before["movements"] - 1}
    del final["transfers"]
    monkeypatch.setattr(sealing, "settled", lambda sequences: final)

    assert sealing.seal(is_due=True) == 1

    after = blocks.positions(Seal.objects.latest("height"))
    assert {name for name in POSITIONS if after[name] == before[name]} == {"movements", "transfers"}
    assert {name for name in POSITIONS if after[name] < before[name]} == set()
    assert found() == []


def test_a_sample_has_the_newest_block_and_in_time_each() -> None:
    assert verifying.sample(0) == frozenset()
    assert verifying.sample(3) == {1, 2, 3}
    with pytest.MonkeyPatch.context() as patch:
        seen = set()
        for turn in range(13):
            patch.setattr(verifying.time, "time", lambda turn=turn: 600.0 * turn)
            chosen = verifying.sample(100)
            assert 100 in chosen
            assert 8 <= len(chosen) <= 17
            patch.setattr(verifying, "SAMPLED_AT_RANDOM", 0)
            seen |= verifying.sample(100)
        assert seen == set(range(1, 101))
        patch.setattr(verifying, "SAMPLED_AT_RANDOM", 8)
        # Of 41 heights, each in turn.
        seen = set()
        for turn in range(6):
            patch.setattr(verifying.time, "time", lambda turn=turn: 600.0 * turn)
            seen |= verifying.sample(100, first=60)
        assert seen == set(range(60, 101))
    assert verifying.sample(7, first=5) == {5, 6, 7}
    assert verifying.sample(7, first=8) == frozenset()


def test_trees_are_those_of_rfc_6962() -> None:
    # The test vectors of certificate transparency.
    leaves = [bytes.fromhex(text) for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
    )]  # fmt: skip
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root(hashes[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root(hashes[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle.root(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert [node.hex() for node in merkle.path(hashes, 0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


@pytest.mark.django_db(transaction=True)
class TestLateCommits:
    @pytest.fixture(autouse=True)
    def _empty(self) -> Iterator[None]:
        yield
        empty_tables()

    @pytest.mark.parametrize("waits", [True, False])
    def test_a_row_that_commits_late_is_sealed(self, monkeypatch: pytest.MonkeyPatch, *, waits: bool) -> None:
        """The control, which does not wait for writers, seals the higher key and never the lower one."""
        monkeypatch.setattr(settled, "WAIT_SECONDS", 0.2)
        if not waits:
            monkeypatch.setattr(settled, "_writers", lambda cursor, sequences: set())
        taken, go = threading.Event(), threading.Event()

        def late() -> None:
            try:
                with transaction.atomic():
                    plant(Issue)
                    taken.set()
                    assert go.wait(60)
            finally:
                connection.close()

        thread = threading.Thread(target=late)
        thread.start()
        try:
            assert taken.wait(60)
            with transaction.atomic():
                plant(Issue)
                plant(Transfer, state="'completed'")
            sealed = sealing.seal(is_due=True)
            assert Seal.objects.get().issues == (0 if waits else Issue.objects.get().pk)
            assert Seal.objects.get().transfers > 0
            # Not all that is settled is sealed.
            assert SealMark.objects.exists() is not waits
            assert sealed == 1
        finally:
            go.set()
            thread.join()
        assert sealing.seal(is_due=True) == waits
        assert sum(Seal.objects.values_list("leaves", flat=True)) == (6 if waits else 4)
        assert [finding.check for finding in found()] == ([] if waits else [verifying.ROWS])

    def test_the_command_verifies_one_snapshot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = []
        whole = verifying.whole

        def verified(**options: Any) -> verifying.Verified:
            settings.extend(execute("SELECT current_setting('transaction_isolation')") or [])
            settings.extend(execute("SELECT current_setting('transaction_read_only')") or [])
            return whole(**options)

        monkeypatch.setattr(verifying, "whole", verified)
        call_command("verify", stdout=StringIO())
        assert settings == [("repeatable read",), ("on",)]

    def test_one_process_seals(self) -> None:
        with transaction.atomic():
            plant_all()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [sealing._LOCK])
            outcome: list[int] = []

            def seal() -> None:
                outcome.append(sealing.seal(is_due=True))
                connection.close()

            thread = threading.Thread(target=seal)
            thread.start()
            thread.join()
        assert outcome == [0]
        assert sealing.seal(is_due=True) == 1


@pytest.mark.parametrize(("first", "end", "number"), [(0, 1, 0), (0, 2, 1), (5, 6, 1), (9, 10, 1), (10, 20, 0)])
def test_a_block_is_not_compared_if_one_of_its_movements_may_be_in_a_missing_partition(
    first: int, end: int, number: int
) -> None:
    empty = dict.fromkeys(["previous", "root", "hash", "secret"], b"")
    Seal.objects.create(height=1, format=1, leaves=0, sealed_at=timezone.now(), **empty, **dict.fromkeys(POSITIONS, 9))
    with connection.cursor() as cursor:
        cursor.execute(verifying._NOT_COMPARED, [[first], [end]])
        assert cursor.fetchone() == (number,)


@pytest.mark.parametrize(("end", "first"), [(2, 2), (10, 2), (11, 3), (12, 4), (21, 4), (22, 4)])
def test_the_first_block_that_is_compared_is_the_one_after_the_last_missing_movement(end: int, first: int) -> None:
    for height, upto in enumerate((9, 10, 20), start=1):
        row = dict.fromkeys(["previous", "root", "hash", "secret"], bytes([height])) | dict.fromkeys(POSITIONS, upto)
        Seal.objects.create(height=height, format=1, leaves=0, sealed_at=timezone.now(), **row)
    assert verifying._first_here() == 1
    DetachedPartition.objects.create(below=end, name="missing", movements=1, checksum=0)

    assert verifying._first_here() == first
