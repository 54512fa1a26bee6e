"""Exports: what leaves the balance, how often the file can be fetched, and that no coin is lost."""

import json
import re
import zipfile
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from lockers import audit, vault
from lockers.models import Account, Coin, Export, LockerTask, ReceiptLine, StatementLine
from lockers.operations import export as export_coins
from lockers.raida.files import read_file
from lockers.states import FileType
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import steal
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import assert_refused, ended, give, wallet_of, work


@pytest.fixture
def network(network: LocalNetwork, settings: Any) -> LocalNetwork:
    """Servers that behave, and patience with a machine that is busy."""
    settings.RAIDA_TIMEOUT_SECONDS = 5
    return network


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob(db: None) -> Caller:
    return logged_in("bobby", "unused")


def books() -> tuple[Any, ...]:
    models = (Coin, LockerTask, ReceiptLine, StatementLine, Account, Export)
    return tuple(list(model.objects.order_by("pk").values()) for model in models)


def export(caller: Caller, **body: Any) -> str:
    status, done = answer(caller.post("/api/v1/export", {"name": wallet_of(caller).name, "type": "bin", **body}))
    assert status == 200, done
    return str(done["id"])


def fetch(caller: Caller, export_id: str) -> bytes:
    response = caller.get(f"/api/v1/exports/{export_id}/file")
    assert response.status_code == 200, response.content
    return bytes(response.content)


def take_in(caller: Caller, content: bytes) -> dict[str, Any]:
    response = caller.client.post(
        "/api/v1/import",
        {"name": wallet_of(caller).name, "file": SimpleUploadedFile("coins", content)},
        headers={"authorization": f"Bearer {caller.bearer}"},
    )
    return ended(caller, work(answer(response)))


def test_an_export_takes_exactly_the_amount_out_of_the_balance(alice: Caller) -> None:
    stock(wallet_of(alice), 1, 1, 0, -1)

    status, done = answer(
        alice.post("/api/v1/export", {"name": "alice", "amount": 21, "type": "bin", "tag": "cold store"})
    )

    data = done.pop("data")
    assert (status, done) == (
        200,
        {"id": done["id"], "status": "completed", "progress": 100, "message": "Exported."},
    )
    assert data == {
        "total": 21,
        "coins": 3,
        "type": "bin",
        "file": "21 CloudCoin #3 'cold store'.bin",
        "url": f"/api/v1/exports/{done['id']}/file",
        "receipt_id": data["receipt_id"],
    }
    wallet = answer(alice.get("/api/v1/wallets/alice"))[1]
    assert (wallet["balance"], wallet["contents"]["exported"]) == (0.1, {"coins": 3, "total": 21})
    (line, _) = wallet["transactions"]
    assert (line["type"], line["amount"], line["running_balance"], line["receiptid"]) == (
        "Exported",
        -21,
        0.1,
        data["receipt_id"],
    )
    receipt = answer(alice.get(f"/api/v1/receipts/{data['receipt_id']}"))[1]
    assert [coin["result"] for coin in receipt["coins"]] == ["exported"] * 3
    assert list(audit.audit_findings()) == []


@pytest.mark.parametrize("file_type", ["bin", "png", "stack", "zip"])
def test_the_file_holds_the_coins_and_their_secrets(file_type: str, alice: Caller) -> None:
    rows = {(row.denomination, row.serial_number): row for row in stock(wallet_of(alice), 2, -8, 0)}
    export_id = export(alice, all=True, type=file_type)

    response = alice.get(f"/api/v1/exports/{export_id}/file")

    assert response["Content-Type"] == {"png": "image/png", "zip": "application/zip"}.get(
        file_type, "application/octet-stream"
    )
    assert response["Content-Disposition"] == f'attachment; filename="101.0000-0001 CloudCoin #3.{file_type}"'
    assert (response["Cache-Control"], response["X-Content-Type-Options"]) == ("no-store", "nosniff")
    records = read_file(response.content).coins
    assert {(each.coin.denomination, each.coin.serial_number) for each in records} == set(rows)
    for each in records:
        row = rows[each.coin.denomination, each.coin.serial_number]
        assert each.ans == vault.open_numbers(row.secrets, coin_id=row.pk)
    if file_type == "zip":
        smallest = min(rows)[1]
        names = zipfile.ZipFile(BytesIO(response.content)).namelist()
        assert f"0.0000-0001 CloudCoin #{smallest}.bin" in names


def test_a_file_is_given_again_until_its_arrival_is_confirmed(alice: Caller, bob: Caller) -> None:
    stock(wallet_of(alice), 0)
    export_id = export(alice, amount="1", tag='../"x"\r\n; y')
    path = f"/api/v1/exports/{export_id}"

    first, again = fetch(alice, export_id), fetch(alice, export_id)

    assert first == again
    assert_refused(answer(bob.get(f"{path}/file")), 404, "There is no export with that id")
    assert_refused(answer(bob.post(f"{path}/confirm")), 404, "There is no export with that id")
    assert_refused(answer(bob.post(f"{path}/recall")), 404, "There is no export with that id")
    status, confirmed = answer(alice.post(f"{path}/confirm"))
    assert (status, confirmed["fetched"], confirmed["remaining"]) == (200, 2, 1)
    assert re.fullmatch(r"1 CloudCoin #\d+ 'x y'\.bin", confirmed["file"]), confirmed["file"]
    assert answer(alice.post(f"{path}/confirm")) == (200, confirmed)
    assert answer(alice.get("/api/v1/exports"))[1] == {"exports": [confirmed]}
    assert answer(alice.get(path)) == (200, confirmed)
    assert_refused(
        answer(alice.get(f"{path}/file")), 410, "The arrival of this file was confirmed, so it is not served again"
    )


def test_a_bigger_coin_is_broken_first_for_a_file_of_exactly_the_amount(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    give(alice, mint, 1, 0, 0, 0)

    done = ended(alice, work(answer(alice.post("/api/v1/export", {"name": "alice", "amount": 5, "type": "stack"}))))

    assert (done["status"], done["message"], done["data"]["total"]) == ("completed", "Exported.", 5)
    file = read_file(fetch(alice, done["id"]))
    assert [record.coin.denomination for record in file.coins] == [0] * 5
    assert states(wallet_of(alice)) == {"bank": 8, "broken": 1, "exported": 5}
    assert Account.objects.get().balance == 8 * 10**8
    assert_true_to_the_servers()


REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"amount": 12}, 422, "Not enough coins: 11 of 12 are free in this wallet"),
    ({}, 422, 'Either "amount" is required, or "all" must be true'),
    ({"all": False}, 422, 'Either "amount" is required, or "all" must be true'),
    ({"all": True, "amount": 1}, 422, 'Either "amount" is required, or "all" must be true'),
    ({"amount": 1, "type": "jpeg"}, 422, '"type" must be one of [bin, png, stack, zip]'),
    ({"amount": 1, "folder": "/tmp"}, 422, '"folder" is not allowed'),
    ({"name": "bobby", "amount": 1}, 403, "The wallet bobby is not yours, and you do not manage it"),
    ({"name": "nobody", "amount": 1}, 404, "Could not find entity by wallet name: nobody"),
]


@pytest.mark.parametrize(("body", "status", "message"), REFUSALS)
def test_an_export_that_cannot_be_changes_nothing(
    body: dict[str, Any], status: int, message: str, alice: Caller, bob: Caller
) -> None:
    stock(wallet_of(alice), 1, 0)
    before = books()

    got = answer(alice.post("/api/v1/export", {"name": "alice", "type": "bin", **body}))

    assert_refused(got, status, message)
    assert books() == before


def test_an_empty_wallet_has_nothing_to_export_and_a_zip_has_a_limit(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "alice", "all": True, "type": "zip"}
    assert_refused(answer(alice.post("/api/v1/export", body)), 422, "The wallet has no free coins")
    assert export_coins.MAXIMUM_EXPORT_COINS[FileType.ZIP] == 2000
    monkeypatch.setitem(export_coins.MAXIMUM_EXPORT_COINS, FileType.ZIP, 3)
    stock(wallet_of(alice), *[-8] * 4)

    status, refused = answer(alice.post("/api/v1/export", body))

    assert (status, refused["message"]) == (422, "This amount needs 4 coins; at most 3 go at once")
    assert answer(alice.post("/api/v1/export", {**body, "type": "bin"}))[0] == 200


@pytest.mark.parametrize("file_type", ["bin", "png", "stack", "zip"])
def test_what_alice_exports_bob_imports(
    file_type: str, network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 1, 0, -8)
    export_id = export(alice, all=True, type=file_type)
    content = fetch(alice, export_id)

    done = take_in(bob, content)

    assert (done["data"]["total"], done["data"]["pown_results"]["authentic"]) == (11.00000001, 3)
    assert (states(wallet_of(alice)), states(wallet_of(bob))) == ({"sent": 3}, {"bank": 3})
    assert answer(alice.get(f"/api/v1/exports/{export_id}"))[1]["remaining"] == 0
    assert_refused(
        answer(alice.get(f"/api/v1/exports/{export_id}/file")),
        409,
        "Coins of this file are in a wallet of this service again, or on the way into one",
    )
    assert_true_to_the_servers()


def test_a_lost_file_is_recalled_and_then_worth_nothing(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 1, 0)
    export_id = export(alice, amount=11)
    lost = fetch(alice, export_id)
    alice.post(f"/api/v1/exports/{export_id}/confirm")

    back = ended(alice, work(answer(alice.post(f"/api/v1/exports/{export_id}/recall"))))

    assert (back["type"], back["data"]["total"]) == ("import", 11)
    assert states(wallet_of(alice)) == {"sent": 2, "bank": 2}
    assert answer(alice.get("/api/v1/wallets/alice"))[1]["balance"] == 11
    assert answer(alice.post(f"/api/v1/exports/{export_id}/recall"))[0] == 409
    assert_true_to_the_servers()
    # The coins are held here, so no wallet here can import them; elsewhere no server knows the numbers any more.
    refused = alice.client.post(
        "/api/v1/import",
        {"name": "bobby", "file": SimpleUploadedFile("coins", lost)},
        headers={"authorization": f"Bearer {bob.bearer}"},
    )
    assert answer(refused)[0] == 422


def test_a_late_recall_takes_no_coin_from_an_importer_that_was_faster(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 0, 0)
    export_id = export(alice, amount=2)
    take_in(bob, fetch(alice, export_id))

    status, refused = answer(alice.post(f"/api/v1/exports/{export_id}/recall"))

    assert (status, refused["code"]) == (409, 409)
    assert (states(wallet_of(alice)), states(wallet_of(bob))) == ({"sent": 2}, {"bank": 2})
    assert_true_to_the_servers()


def test_a_recall_of_coins_that_went_to_another_service_gains_and_claims_nothing(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    give(alice, mint, 0, 0)
    export_id = export(alice, amount=2)
    for row in Coin.objects.filter(export=export_id):
        steal(row)

    task = ended(alice, work(answer(alice.post(f"/api/v1/exports/{export_id}/recall"))))

    assert (task["status"], task["data"]["total"]) == ("completed", 0)
    assert task["message"].startswith("No coin could be proved authentic.")
    assert states(wallet_of(alice)) == {"exported": 2, "missed": 2}
    assert answer(alice.get("/api/v1/wallets/alice"))[1]["balance"] == 0
    assert list(audit.audit_findings()) == []


def test_no_secret_of_an_export_is_stored_in_clear(alice: Caller) -> None:
    rows = stock(wallet_of(alice), 0, 0)
    numbers = [number.hex() for row in rows for number in vault.open_numbers(row.secrets, coin_id=row.pk)]
    export_id = export(alice, amount=2)
    fetch(alice, export_id)

    stored = json.dumps(
        [books()], default=lambda value: bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)
    )

    assert not [number for number in numbers if number in stored]


def test_exports_are_listed_page_by_page(alice: Caller) -> None:
    stock(wallet_of(alice), *[0] * 5)
    made = [export(alice, amount=1) for _ in range(5)]

    seen, path = [], "/api/v1/exports?limit=2"
    while path:
        response = alice.get(path)
        seen += [each["id"] for each in answer(response)[1]["exports"]]
        link = re.match(r"<http://testserver(.*)>", response.get("Link", ""))
        path = link[1] if link else ""

    # One transaction of the test, so all have one time; the order among them is that of their ids.
    assert sorted(seen) == sorted(made)
