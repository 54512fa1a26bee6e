"""Imports over HTTP of files that other clients wrote, plain and in each kind of archive."""

import base64
import zipfile
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from lockers import errors, vault
from lockers.models import Coin, LockerTask, Upload
from lockers.raida.archives import Member, write_zip
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, read_file, write_bin, write_stack
from lockers.worker import import_, task_store
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.raida import recorded
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import ended, work


@pytest.fixture
def network(network: LocalNetwork, settings: Any) -> LocalNetwork:
    """Servers that behave, and patience with a machine that is busy."""
    settings.RAIDA_TIMEOUT_SECONDS = 5
    return network


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


def upload(caller: Caller, **files: bytes) -> tuple[int, Any]:
    sent = {name: SimpleUploadedFile(name, content) for name, content in files.items()}
    return answer(
        caller.client.post(
            "/api/v1/import", {"name": "alice", **sent}, headers={"authorization": f"Bearer {caller.bearer}"}
        )
    )


def vector(name: str) -> bytes:
    (found,) = [each for each in recorded.named(name) if each["name"] == name]
    return bytes.fromhex(found["expected_hex"])


LEGACY = "These are legacy coins: they have to be upgraded before a locker takes them"
NO_DENOMINATIONS = "The coins of this file name no denomination and were read as coins of 1."


def test_the_recorded_files_are_told_apart_file_by_file(network: LocalNetwork, alice: Caller) -> None:
    files = {
        "one": vector(".bin format 9 dn=0 sn=1002"),
        "again": vector(".bin format 9 with PANs dn=0 sn=1002"),
        "pans": vector(".bin format 9 with PANs dn=-3 sn=4100"),
        "png": vector("go: PNG chunk cLDc holding a format-9 .bin"),
        "legacy": vector("go: legacy .bin format 0 (SN 12345)"),
        "legacy_png": vector("go: PNG with legacy .bin"),
        "stack": vector("go: JSON stack as marshalled by the Go type"),
        "cut": vector(".bin format 9 dn=0 sn=1002")[:-1],
        "empty": b"PK\x05\x06" + bytes(18),
        "other": b"hello",
    }

    started = upload(alice, **files)

    outcomes = {each["name"]: each for each in started[1]["files"]}
    assert {name: (each["accepted"], each["refused"]) for name, each in outcomes.items()} == {
        **dict.fromkeys(files, (0, 0)),
        "one": (1, 0),
        "again": (0, 1),
        "pans": (1, 0),
        "stack": (1, 0),
        **_png_outcome(files["png"]),
    }
    assert outcomes["stack"]["note"].startswith(NO_DENOMINATIONS)
    assert {name: each["reason"] for name, each in outcomes.items() if "reason" in each} == {
        "legacy": LEGACY,
        "legacy_png": LEGACY,
        "cut": "The file has another length than its header says",
        "empty": "The archive is empty",
        "other": "This is not a coin file",
    }
    # No server of this network knows any of them: they are not money, and nothing else of them is claimed.
    task = ended(alice, work(started))
    assert task["data"]["total"] == 0
    assert answer(alice.get("/api/v1/wallets/alice"))[1]["balance"] == 0
    assert not Coin.objects.filter(state__in=["bank", "fracked"]).exists()


def _png_outcome(content: bytes) -> dict[str, tuple[int, int]]:
    (record,) = read_file(content).coins
    return {"png": (0, 1) if record.coin.serial_number == 1002 else (1, 0)}


def test_coins_come_in_by_base64_and_by_form_in_every_wrapping(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    one, two, three, four = mint(0, 1, -1, 2)
    packed = write_zip([Member("a.bin", write_bin([one])), Member("folder/b.stack", write_stack([two]))])
    items = [{"data": base64.b64encode(packed).decode(), "name": "coins.zip"}]

    first = answer(alice.post("/api/v1/import", {"name": "alice", "items": items}))
    second = upload(alice, several=write_bin([three, four]))

    assert first[1]["files"] == [
        {"name": "coins.zip/a.bin", "accepted": 1, "refused": 0},
        {"name": "coins.zip/folder/b.stack", "accepted": 1, "refused": 0},
    ]
    assert [ended(alice, work(each))["data"]["total"] for each in (first, second)] == [11, 100.1]
    assert alice.wallet is not None
    assert states(alice.wallet) == {"bank": 4}
    assert_true_to_the_servers()


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\r\n",
        lambda text: f"data:application/octet-stream;base64,{text}",
        lambda text: f"DATA:;name=a%20b.bin;Base64,\n{text}\n",
    ],
    ids=["plain", "in lines", "data URI", "data URI in lines"],
)
def test_base64_is_read_as_programs_write_it(
    network: LocalNetwork, mint: Mint, alice: Caller, written: Callable[[str], str]
) -> None:
    text = base64.b64encode(write_bin(mint(0, 1))).decode()

    status, body = answer(alice.post("/api/v1/import", {"name": "alice", "items": [{"data": written(text)}]}))

    assert (status, body["files"]) == (200, [{"name": "items[0]", "accepted": 2, "refused": 0}])
    assert ended(alice, work((status, body)))["data"]["total"] == 11


@pytest.mark.parametrize(
    "data", ["data:text/plain,AAAA", "data:;base64", "data:;base64,data:;base64,AAAA", "AA-_", "A A\0"]
)
def test_what_is_not_base64_is_refused(alice: Caller, data: str) -> None:
    status, body = answer(alice.post("/api/v1/import", {"name": "alice", "items": [{"data": data}]}))

    assert status in {400, 422}
    assert "base64" in body["message"] or "NUL" in body["message"]
    assert not LockerTask.objects.exists()


def test_more_bytes_than_an_import_takes_are_refused_before_they_are_read(alice: Caller) -> None:
    status, body = upload(alice, big=bytes(20 * 1024 * 1024))

    assert (status, body) == (
        413,
        {"status": "error", "error": True, "message": "Request entity too large", "code": 413},
    )
    assert LockerTask.objects.count() == 0


def test_a_thousand_files_are_read_and_more_are_refused_in_as_many_words(alice: Caller) -> None:
    some = upload(alice, **{f"f{number}": b"x" for number in range(1000)})
    more = upload(alice, **{f"f{number}": b"x" for number in range(1001)})

    assert (some[0], len(some[1]["files"])) == (422, 1000)
    assert more == (413, {"status": "error", "error": True, "message": "At most 1000 files at once", "code": 413})
    assert LockerTask.objects.count() == 0


def test_a_form_that_names_two_wallets_names_none(alice: Caller) -> None:
    form = {"name": ["alice", "bob"], "file": SimpleUploadedFile("f.bin", b"x")}

    response = alice.client.post("/api/v1/import", form, headers={"authorization": f"Bearer {alice.bearer}"})

    assert answer(response)[1]["message"] == '"name" must be a string'


def test_an_archive_that_unfolds_to_more_than_it_may_is_refused(alice: Caller) -> None:
    bomb = write_zip([Member("zeros", bytes(65 * 1024 * 1024))])
    assert len(bomb) < 100_000

    status, body = upload(alice, bomb=bomb)

    assert (status, body["files"][0]["reason"]) == (422, "An archive unfolds to at most 64 MiB")
    assert LockerTask.objects.count() == 0


def zips(records: list[CoinRecord], *, padding: int = 0) -> dict[str, bytes]:
    """An archive for each coin, with something that is no coin file and unfolds to `padding` bytes."""
    return {
        f"{number}.zip": write_zip([Member("c.bin", write_bin([record])), Member("notes", b"x" * padding)])
        for number, record in enumerate(records)
    }


def test_what_unfolds_to_much_is_read_by_a_worker_and_its_task_tells_each_file(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    records = mint(0, 0, 0, 0)
    files = zips(records, padding=300_000)

    started = upload(alice, **files, other=b"hello")

    assert started == (200, {"id": started[1]["id"], "status": "running", "progress": 0})
    row = Upload.objects.get()
    assert not any(number in bytes(row.content) for record in records for number in record.ans)
    assert not Coin.objects.exists()
    task = ended(alice, work(started))
    assert (task["status"], task["data"]["total"]) == ("completed", 4)
    assert [(each["name"], each["accepted"]) for each in task["data"]["files"]][:3] == [
        ("0.zip/c.bin", 1), ("0.zip/notes", 0), ("1.zip/c.bin", 1),
    ]  # fmt: skip
    assert task["data"]["files"][-1]["reason"] == "This is not a coin file"
    assert not Upload.objects.exists()
    assert_true_to_the_servers()


def test_a_worker_tells_what_was_wrong_and_keeps_nothing(network: LocalNetwork, mint: Mint, alice: Caller) -> None:
    records = mint(0, 0, 0, 0)
    assert ended(alice, work(upload(alice, c=write_bin(records))))["data"]["total"] == 4
    before = list(Coin.objects.order_by("id").values())

    held = ended(alice, work(upload(alice, **zips(records, padding=300_000))))
    none = ended(alice, work(upload(alice, noise=b"x" * 2_000_000)))
    many = ended(alice, work(upload(alice, c=write_bin(numbered(20_001)))))

    reason = "This coin is held in this ledger already; it cannot be imported a second time"
    assert (held["status"], held["message"]) == (
        "error",
        f"No coin was imported. {reason}. This is not a coin file.",
    )
    assert held["details"]["files"][0]["refusals"][0]["reason"] == reason
    assert (none["status"], none["message"]) == ("error", "No coin was imported. This is not a coin file.")
    assert many["message"] == "20001 coins are too many for one import; at most 20000 at once"
    assert (list(Coin.objects.order_by("id").values()), Upload.objects.count()) == (before, 0)


def numbered(count: int) -> list[CoinRecord]:
    numbers = vault.fresh_numbers()
    return [CoinRecord(WireCoin(0, number), numbers) for number in range(count)]


def test_a_worker_that_died_while_it_read_leaves_the_files_to_the_next(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    started = upload(alice, **zips(mint(0, 0, 0, 0), padding=300_000))
    task_id = UUID(started[1]["id"])
    dead = task_store.claim(task_id=task_id)
    assert dead is not None
    assert import_.begin_reading(held=dead) is not None
    LockerTask.objects.update(lease_until=None)

    assert ended(alice, work(started))["data"]["total"] == 4

    with pytest.raises(errors.TaskSuperseded):
        import_.begin_reading(held=dead)
    assert_true_to_the_servers()


def test_an_import_whose_time_is_up_before_it_was_read_keeps_no_file(alice: Caller, mint: Mint) -> None:
    started = upload(alice, noise=b"x" * 2_000_000)
    LockerTask.objects.update(deadline="2020-01-01T00:00Z")

    task = ended(alice, work(started))

    assert (task["status"], Upload.objects.count()) == ("error", 0)


def test_archives_count_together_and_are_refused_before_anything_unfolds(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = write_zip([Member("zeros", bytes(60 * 1024 * 1024))])
    entries = write_zip([Member(f"{number}", b"") for number in range(1_500)])

    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("something was unfolded"))
    large = upload(alice, one=bomb, two=bomb)
    many = upload(alice, one=entries, two=entries, three=entries)

    assert (large[0], large[1]["message"]) == (422, "The files of an import unfold to at most 64 MiB together")
    assert many[1]["message"] == "The archives of an import have at most 4000 files and folders together"
    assert many[0] == 422
    assert LockerTask.objects.count() == 0


def test_an_archive_in_an_archive_is_not_unfolded(alice: Caller) -> None:
    inner = write_zip([Member("zeros", bytes(60 * 1024 * 1024))])
    outer = write_zip([Member(f"{number}.zip", inner) for number in range(3)])

    status, body = upload(alice, bomb=outer)

    assert status == 422
    assert {each["reason"] for each in body["files"]} == {"An archive in an archive is not read: unpack it first"}


def test_an_archive_with_a_false_size_unpacks_to_at_most_that_size(alice: Caller) -> None:
    honest = write_zip([Member("zeros", bytes(5_000_000))])
    said = (5_000_000).to_bytes(4, "little")
    assert honest.count(said) == 2

    status, body = upload(alice, bomb=honest.replace(said, (1_000).to_bytes(4, "little")))

    assert (status, body["files"][0]["reason"]) == (422, "The archive is damaged")


def test_what_an_upload_is_sealed_as_opens_for_its_task_alone() -> None:
    uploads = [("a.bin", b"\x00\x01"), ("ünïcode", b""), ("", bytes(1000))]
    sealed = vault.seal_upload(uploads, task_id=UUID(int=1))

    assert vault.open_upload(sealed, task_id=UUID(int=1)) == uploads
    with pytest.raises(vault.SealBroken):
        vault.open_upload(sealed, task_id=UUID(int=2))
