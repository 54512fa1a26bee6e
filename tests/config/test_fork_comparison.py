"""The comparison of two chains of seals; tests/config/test_forks.py compares those of backups."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from config.seals import forks, sealing
from tests.support.sealed_rows import execute
from transfers import operations
from transfers.seal_models import Seal
from wallets import operations as wallets

A, B, C, X = (bytes([number]) * 32 for number in range(4))


@pytest.mark.parametrize(
    ("backup", "ours", "kept", "message"),
    [
        ({1: A, 2: B}, {1: A, 2: B, 3: C}, None, None),
        ({1: A, 2: B, 3: C}, {1: A, 2: B}, {2: B}, None),
        ({1: A}, {}, None, None),
        ({}, {1: A}, None, None),
        ({1: A, 2: B}, {1: A, 2: B, 3: C}, {3: C}, "has 2 seals and none at the heights"),
        ({}, {}, {1: A}, "has 0 seals and none at the heights"),
        ({1: A, 2: B, 3: C}, {}, {1: A, 2: X, 3: X}, "its seal 2 is not the checkpoint that was kept"),
        ({1: A, 2: B, 3: C}, {1: A, 2: X, 3: X}, {1: A}, "its seal 2 is not that of this database"),
        ({1: A, 2: X}, {1: A, 2: B, 3: C}, None, "its seal 2 is not that of this database"),
    ],
)
def test_another_history_is_refused_at_the_lowest_height_that_differs(
    backup: dict[int, bytes], ours: dict[int, bytes], kept: dict[int, bytes] | None, message: str | None
) -> None:
    if message is None:
        forks.refuse_another_history(backup, ours=ours, kept=kept)
        return
    with pytest.raises(forks.Fork, match=message):
        forks.refuse_another_history(backup, ours=ours, kept=kept)


def test_the_last_common_height_is_the_greatest_with_the_same_seal() -> None:
    assert forks.last_common({1: A, 2: B, 3: C}, {1: A, 2: B, 3: X}) == 2
    assert forks.last_common({1: A, 3: C}, {2: B, 3: C, 4: A}) == 3
    assert forks.last_common({1: A}, {1: X}) == 0


def test_the_seals_of_a_dump_are_read_by_the_names_of_its_columns() -> None:
    dump = (
        "SET row_security = off;\n"
        'COPY public.transfers_seal (id, "hash", size, height) FROM stdin;\n'
        f"7\t\\\\x{A.hex()}\t3\t1\n8\t\\\\x{B.hex()}\t4\t2\n\\.\n9\t\\\\x{C.hex()}\t5\t3\n"
    )

    assert forks.in_dump(dump) == {1: A, 2: B}
    assert forks.in_dump("SET row_security = off;\n") == {}


def test_the_seals_here_are_those_of_the_database(db: None) -> None:
    alice = wallets.create_wallet(name="alice")
    assert forks.here() == {}
    for _ in range(2):
        operations.issue_tokens(wallet=alice, count=1)
        sealing.seal(is_due=True)

    assert forks.here() == {each.height: bytes(each.hash) for each in Seal.objects.all()}
    assert set(forks.here()) == {1, 2}


def test_checkpoints_are_one_document_or_one_on_each_line(tmp_path: Path) -> None:
    pages = [{"checkpoints": [{"height": 1, "hash": A.hex()}]}, {"checkpoints": [{"height": 2, "hash": B.hex()}]}]
    file = tmp_path / "kept"

    file.write_text(json.dumps(pages[1], indent=2))
    assert forks.read_checkpoints(file) == {2: B}
    file.write_text("\n\n".join(map(json.dumps, pages)) + "\n")
    assert forks.read_checkpoints(file) == {1: A, 2: B}
    for text, message in (
        ('{"checkpoints": []}', "has no checkpoint"),
        ('{"seals": []}', "has no checkpoints as"),
        ('{"checkpoints": [{"height": 1, "hash": "no"}]}', "has no checkpoints as"),
        ("[1]", "has no checkpoints as"),
    ):
        file.write_text(text)
        with pytest.raises(forks.UnreadableCheckpoints, match=message):
            forks.read_checkpoints(file)
    with pytest.raises(forks.UnreadableCheckpoints, match="cannot be read"):
        forks.read_checkpoints(tmp_path / "absent")


@pytest.mark.django_db
def test_the_command_says_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("verify")
    assert "Nothing is sealed yet." in capsys.readouterr().out
    operations.issue_tokens(wallet=wallets.create_wallet(name="alice"), count=3)
    sealing.seal(is_due=True)
    kept = tmp_path / "kept.json"
    kept.write_bytes(Client().get("/public/checkpoints").content)
    call_command("verify", checkpoints=kept)
    assert "every sealed row is as it was sealed" in capsys.readouterr().out
    page = json.loads(kept.read_text())
    page["checkpoints"][0]["hash"] = "00" * 32
    kept.write_text(json.dumps(page))
    with pytest.raises(CommandError, match=r"1 findings: each row is as it was sealed here, .* up to height 0 alone"):
        call_command("verify", checkpoints=kept)
    assert "seal 1 is another than the one that was kept" in capsys.readouterr().err
    execute("UPDATE transfers_issue SET tokens = 4")
    with pytest.raises(CommandError, match="1 findings"):
        call_command("verify")
    told = capsys.readouterr().err
    assert "block 1 has 5 rows, 5 were sealed, and they differ: transfers 1 to " in told
    # The keys go on from those of earlier tests.
    assert "issues 1 to " in told
    kept.write_text("[]")
    with pytest.raises(CommandError, match="has no checkpoints"):
        call_command("verify", checkpoints=kept)
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("verify", checkpoints=tmp_path / "none")
