"""Files from elsewhere over HTTP: those that were recorded from other clients, as they are and in every wrapping."""

import base64
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from lockers.localnet.fleet import LocalNetwork
from lockers.models import Coin, LockerTask
from lockers.raida.files import Member, read_file, write_bin, write_stack, write_zip
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.lockers.test_endpoints import ended, work
from tests.raida import recorded


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


def test_more_bytes_than_an_import_takes_are_refused_before_they_are_read(alice: Caller) -> None:
    status, body = upload(alice, big=bytes(20 * 1024 * 1024))

    assert (status, body) == (413, {"error": True, "message": "Request entity too large", "code": 413})
    assert LockerTask.objects.count() == 0


def test_a_thousand_files_are_read_and_more_are_refused_in_as_many_words(alice: Caller) -> None:
    some = upload(alice, **{f"f{number}": b"x" for number in range(1000)})
    more = upload(alice, **{f"f{number}": b"x" for number in range(1001)})

    assert (some[0], len(some[1]["files"])) == (422, 1000)
    assert more == (413, {"error": True, "message": "At most 1000 files at once", "code": 413})
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
