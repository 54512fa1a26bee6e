"""The locker endpoints over HTTP: the shapes of the seeds, rights, and that a refusal changes nothing."""

import base64
import json
import re
import uuid
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.functions import Now

from lockers import queries, reports, tasks, wrong_code_limits
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import put as put_coins
from lockers.raida import codes
from lockers.raida.commands import Command
from lockers.raida.files import write_bin
from lockers.states import Step
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.api_description import api_description
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import CODE, ended, give, refused, work
from trusts import operations as trusts
from trusts.states import TrustRequestType


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob(db: None) -> Caller:
    return logged_in("bob", "unused")


def books() -> tuple[Any, ...]:
    return (
        list(Coin.objects.order_by("id").values()),
        list(Locker.objects.order_by("id").values()),
        LockerTask.objects.count(),
    )


def test_the_seeds_story_from_put_to_an_empty_locker(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 1, 1, 0, -1)

    put = ended(alice, work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 20, "tag": "hello"}))))
    assert (put["status"], put["progress"], put["raida"]) == ("completed", 100, ["p"] * 25)
    assert set(put["data"]) == {"transmit_code", "receipt_id", "total_stored", "total_failed", "servers"}
    assert put["data"]["servers"] == {"fewest": 25, "most": 25}
    assert (put["data"]["total_stored"], put["data"]["total_failed"]) == (20, 0)
    assert re.fullmatch(r"[0-9a-f]{32}", put["data"]["receipt_id"])
    code = put["data"]["transmit_code"]

    assert answer(alice.get(f"/api/transactions/locker/peek?locker_key={code}")) == (
        200,
        {
            "command": "locker-peek",
            "success": True,
            "message": "Locker contents retrieved",
            "coins": {"total_value": 20, "coin_count": 2, "denominations": {"10": 2}},
            "locker_key": code,
        },
    )
    peeked = ended(bob, work(answer(bob.get(f"/api/v1/locker/{code}"))))
    assert (peeked["data"]["total"], len(peeked["data"]["coins"])) == (20, 2)

    taken = ended(bob, work(answer(bob.post(f"/api/v1/locker/{code}", {"name": "bob"}))))
    assert (taken["status"], taken["data"]["total"]) == ("completed", 20)
    receipt = answer(bob.get(f"/api/v1/receipts/{taken['data']['receipt_id']}"))[1]
    assert [(coin["value"], coin["pown"], coin["result"]) for coin in receipt["coins"]] == [(10, "p" * 25, "bank")] * 2

    assert answer(bob.get(f"/api/transactions/locker/peek?locker_key={code}")) == refused(
        500, "Locker peek failed", locker_key=code, raida_success=0, raida_status_code=242, detail="ALL_FAIL"
    )
    assert answer(bob.get("/api/v1/wallets/bob"))[1]["denominations"] == {"10": 2}
    wallet = answer(alice.get("/api/v1/wallets/alice"))[1]
    assert (wallet["balance"], wallet["denominations"]) == (1.1, {"1": 1, "0.1": 1})
    assert wallet["contents"]["sent"] == {"coins": 2, "total": 20}
    assert_true_to_the_servers()


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on a task while a request waits for it: the test's transaction is open, so no worker could see the task."""
    look = queries.final_task
    monkeypatch.setattr(queries, "final_task", lambda **asked: (tasks.run(str(asked["task_id"])), look(**asked))[1])


def test_upload_and_download_answer_when_the_work_is_done(
    network: LocalNetwork, mint: Mint, alice: Caller, working: None
) -> None:
    give(alice, mint, 1, 0, 0, 0)
    asked = {"wallet": "alice", "locker_key": CODE}

    up = answer(alice.post("/api/transactions/locker/upload", {**asked, "denomination": "10", "memo": "rent"}))
    down = answer(alice.post("/api/transactions/locker/download", {"wallet_path": "alice", "locker_key": CODE}))

    put, take = LockerTask.objects.get(kind="put"), LockerTask.objects.get(kind="take")
    assert up == (
        200,
        {
            "status": "success",
            "operation": "locker-upload",
            "amount_uploaded": 10,
            "coins_uploaded": 1,
            "locker_key": CODE,
            "successful_uploads": 25,
            "message": "Stored.",
            "task_id": str(put.pk),
            "amount_failed": 0,
            "amount_unknown": 0,
            "receipt_id": put.receipt_id,
            "warning": put_coins.WEAK_CODE,
        },
    )
    assert down == (
        200,
        {
            "status": "success",
            "operation": "locker-download",
            "coins_found": 1,
            "coins_saved": 1,
            "total_value": 10,
            "graded_to_bank": 1,
            "graded_to_fracked": 0,
            "graded_to_counterfeit": 0,
            "wallet_path": "alice",
            "locker_key": CODE,
            "raida_success": 25,
            "task_id": str(take.pk),
            "graded_to_limbo": 0,
            "message": "Taken.",
            "receipt_id": take.receipt_id,
        },
    )
    assert put.tag == "rent"
    assert_true_to_the_servers()


def test_a_download_of_nothing_and_an_upload_in_doubt_are_no_success(
    network: LocalNetwork, mint: Mint, alice: Caller, working: None
) -> None:
    give(alice, mint, 0, 0)
    asked = {"wallet": "alice", "locker_key": CODE}

    down = answer(alice.post("/api/transactions/locker/download", asked))
    network.fault(range(25), "silent")
    up = answer(alice.post("/api/transactions/locker/upload", {**asked, "amount": 2}))

    assert down == refused(
        500,
        "Locker download failed",
        locker_key=CODE,
        raida_success=0,
        raida_status_code=242,
        detail="ALL_FAIL",
        task_id=str(LockerTask.objects.get(kind="take").pk),
        task_message="No locker with this code, or it was emptied already: the servers do not say which.",
    )
    put = LockerTask.objects.get(kind="put")
    assert up == refused(
        500,
        "The result of the locker upload is not known yet: do not repeat it, poll its task",
        locker_key=CODE,
        raida_success=0,
        raida_status_code=253,
        detail="NETWORK",
        task_id=str(put.pk),
        task_message=put.message,
    )
    assert "in limbo" in put.message
    assert alice.wallet is not None
    assert states(alice.wallet) == {"limbo": 2}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("upload", {"locker_key": CODE, "denomination": 0.3}, '"denomination" must be the value of one coin'),
        ("upload", {"wallet": "alice", "amount": 1}, '"locker_key" is required'),
        ("upload", {"wallet": "alice", "locker_key": CODE}, 'Exactly one of "amount" and "denomination" is required'),
        (
            "upload",
            {"wallet": "alice", "locker_key": CODE, "amount": 1, "denomination": "1"},
            'Exactly one of "amount" and "denomination" is required',
        ),
        (
            "upload",
            {"wallet": "alice", "locker_key": CODE, "denomination": 5},
            '"denomination" must be the value of one coin, from 0.00000001 to 1000000 in powers of ten',
        ),
        ("put-one-coin", {"locker_key": CODE, "amount": 1}, '"denomination" is required'),
        ("put-one-coin", {"locker_key": CODE, "denomination": True}, '"denomination" must be a string or a number'),
        ("download", {"wallet": "bob", "wallet_path": "bob", "locker_key": CODE}, "Only one of"),
        ("download", {"wallet": "alice", "locker_key": ""}, '"locker_key" is not allowed to be empty'),
    ],
)
def test_an_upload_or_download_that_is_not_clear_changes_nothing(
    path: str, body: dict[str, Any], message: str, alice: Caller
) -> None:
    assert alice.wallet is not None
    stock(alice.wallet, 0)
    before = books()

    status, got = answer(alice.post(f"/api/transactions/locker/{path}", body))

    assert (status, got["message"][: len(message)]) == (422, message)
    assert books() == before


def test_a_locker_is_looked_into_by_post_with_the_code_out_of_the_url(
    network: LocalNetwork, mint: Mint, alice: Caller, code: str
) -> None:
    give(alice, mint, 0, -1)
    started = answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 1, "transmit_code": code}))
    assert started == (200, {"id": started[1]["id"], "status": "running", "progress": 0})
    work(started)

    by_post = answer(alice.post("/api/transactions/locker/peek", {"locker_key": code}))

    assert by_post == answer(alice.get(f"/api/transactions/locker/peek?locker_key={code}"))
    assert by_post[1]["coins"] == {"total_value": 1, "coin_count": 1, "denominations": {"1": 1}}


def test_a_get_moves_no_money(alice: Caller) -> None:
    before = books()
    words = ("upload", "put", "put-no-sum", "put-one-coin", "download")
    paths = [f"/api/{below}locker/{word}" for below in ("", "transactions/") for word in words]
    paths.append("/api/v1/deposit-coins-to-locker")
    # Of a code in a path a GET is a peek, and one of the product's names for taking has no other meaning.
    paths.append(f"/api/v1/retrieve-coins-from-locker/{CODE}")

    for path in paths:
        status, body = answer(alice.get(f"{path}?wallet=alice&locker_key={CODE}&amount=1"))
        assert (path, status, body["code"]) == (path, 405, 405)

    assert books() == before


def test_clients_of_both_products_find_everything_by_the_names_that_they_know(
    network: LocalNetwork, mint: Mint, alice: Caller, code: str, working: None
) -> None:
    give(alice, mint, 1, 0, 0, -1)

    # Of the first.
    opened = answer(alice.post("/api/v1/wallets", {"name": "savings", "email": "", "password": ""}))
    assert (opened[0], opened[1]["name"], opened[1]["balance"]) == (200, "savings", 0)
    put = {"name": "alice", "amount": 1, "transmit_code": code}
    stored = ended(alice, work(answer(alice.post("/api/v1/deposit-coins-to-locker", put))))
    seen = ended(alice, work(answer(alice.get(f"/api/v1/verify-locker-contents/{code}"))))
    assert seen["data"]["total"] == 1
    taken = answer(alice.post(f"/api/v1/retrieve-coins-from-locker/{code}", {"name": "savings"}))
    assert ended(alice, work(taken))["data"]["total"] == 1
    receipt_id = stored["data"]["receipt_id"]
    assert answer(alice.get(f"/api/v1/transactions/alice/{receipt_id}")) == answer(
        alice.get(f"/api/v1/receipts/{receipt_id}")
    )
    assert answer(alice.get(f"/api/v1/transactions/savings/{receipt_id}"))[0] == 404

    # Of the second, for which a wallet need not be named.
    one = answer(alice.post("/api/locker/put-one-coin", {"locker_key": code, "denomination": 0.1}))[1]
    line = LockerTask.objects.get(pk=one["task_id"]).receipt_lines.get()
    assert (one["status"], one["denomination"], one["serial_number"]) == ("success", 0.1, line.serial_number)
    more = answer(alice.post("/api/locker/put", {"locker_key": code, "amount": 10}))[1]
    told = answer(alice.get(f"/api/system/tasks?task_id={more['task_id']}"))[1]
    assert (told["status"], told["payload"]["status"], told["payload"]["progress"]) == ("success", "success", 100)
    assert (told["payload"]["raida_responded"], told["payload"]["raida_total"]) == (25, 25)
    again = answer(alice.get(f"/api/task?id={more['task_id']}"))[1]
    assert again == told
    assert answer(alice.get(f"/api/locker/peek?locker_key={code}"))[1]["coins"]["total_value"] == 10.1
    assert answer(alice.post("/api/locker/download", {"locker_key": code}))[1]["coins_saved"] == 2
    balance = answer(alice.get("/api/wallets/balance"))[1]
    assert (balance["wallet_name"], balance["total_coins"], balance["total_value"]) == ("alice", 3, 11.1)
    assert balance["folders"]["bank_value"] == 11.1
    assert_true_to_the_servers()


@pytest.mark.parametrize(
    ("amount", "coins", "stored"),
    [("0.1", (-1,), 0.1), ("10.2", (1, -1, -1), 10.2), ("0.05", (-2,) * 5, 0.05), (10, (1,), 10)],
)
@pytest.mark.parametrize("door", ["/api/v1/locker", "/api/transactions/locker/upload"])
def test_each_door_puts_amounts_below_one_as_decimal_texts(
    network: LocalNetwork,
    mint: Mint,
    alice: Caller,
    working: None,
    door: str,
    amount: Any,
    coins: tuple[int, ...],
    stored: Any,
) -> None:
    give(alice, mint, 1, -1, -1)
    given = {
        "/api/v1/locker": {"name": "alice", "amount": amount, "transmit_code": CODE},
        "/api/transactions/locker/upload": {"wallet": "alice", "amount": amount, "locker_key": CODE},
    }

    status, body = answer(alice.post(door, given[door]))
    if door == "/api/v1/locker":
        done = ended(alice, work((status, body)))
        told = done["status"], done["data"]["total_stored"]
    else:
        told = "completed" if body["status"] == "success" else body, body["amount_uploaded"]

    assert told == ("completed", stored)
    assert sorted(Coin.objects.filter(state="locked").values_list("denomination", flat=True)) == sorted(coins)
    assert answer(alice.get("/api/v1/wallets/alice"))[1]["balance"] == pytest.approx(10.2 - stored)
    assert_true_to_the_servers()


@pytest.mark.parametrize("query", ["", "?locker_key="])
def test_a_peek_without_a_key_is_the_seeds_400(query: str, alice: Caller) -> None:
    assert answer(alice.get(f"/api/transactions/locker/peek{query}")) == refused(
        400, "Missing required parameter: locker_key"
    )


REFUSALS: list[tuple[Any, int, str]] = [
    ({"name": "alice"}, 422, '"amount" is required'),
    ({"name": "alice", "amount": 0}, 422, '"amount" must be greater than 0'),
    ({"name": "alice", "amount": "0.0"}, 422, '"amount" must be greater than 0'),
    ({"name": "alice", "amount": -1}, 422, '"amount" must be greater than 0'),
    ({"name": "alice", "amount": "twenty"}, 422, '"amount" must be a whole number, or a decimal text such as "0.5"'),
    ({"name": "alice", "amount": "0.000000001"}, 422, '"amount" must be a whole number, or a decimal text such'),
    ({"name": "alice", "amount": True}, 422, '"amount" must be a number'),
    ({"name": "alice", "amount": 0.5}, 422, '"amount" must be a whole number, or a decimal text such as "0.5"'),
    ({"name": "alice", "amount": 10**12}, 422, '"amount" must be less than or equal to 90000000000'),
    ({"name": "alice", "amount": 1, "tag": "x" * 251}, 422, '"tag" length must be less than or equal to 250'),
    ({"name": "alice", "amount": 1, "transmit_code": " "}, 422, "The transmit code of a new locker is printable ASCII"),
    ({"name": "alice", "amount": 1, "transmit_code": "käse"}, 422, "The transmit code of a new locker is printable"),
    ({"name": "alice", "amount": 1, "colour": "red"}, 422, '"colour" is not allowed'),
    ({"name": "nobody", "amount": 1}, 404, "Could not find entity by wallet name: nobody"),
    ({"name": "bob", "amount": 1}, 403, "The wallet bob is not yours, and you do not manage it"),
    ({"name": "alice", "amount": 12}, 422, "Not enough coins: 11 of 12 are free in this wallet"),
]


def test_the_polling_loop_of_seed_000_ends_when_the_put_was_refused(alice: Caller) -> None:
    """The seed's client reads no HTTP status: it polls for the `id` of whatever came back until `status` ends."""
    begun = answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 20}))[1]
    polled = answer(alice.get(f"/api/v1/task/{begun.get('id', 'undefined')}"))[1]

    assert (begun["status"], polled["status"]) == ("error", "error")
    assert polled == refused(404, "There is no task with that id")[1]


def test_every_described_error_below_api_ends_a_polling_loop() -> None:
    described = api_description()
    examples = [
        example["value"]
        for path, methods in described["paths"].items()
        if path.startswith("/api/")
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if status >= "400"
        # Payment requests answer with problem details.
        for example in response["content"].get("application/json", {"examples": {}})["examples"].values()
    ]

    assert len(examples) > 100
    assert {(each.get("status"), each["error"]) for each in examples} == {("error", True)}
    error = described["components"]["schemas"]["LockerError"]
    assert {"status", "error", "message", "code"} <= set(error["required"])


@pytest.mark.parametrize(("body", "status", "message"), REFUSALS)
def test_a_put_that_cannot_be_is_refused_and_reserves_nothing(
    body: Any, status: int, message: str, network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 1, 0)
    before = books()

    got = answer(alice.post("/api/v1/locker", body))

    assert (got[0], got[1]["error"], got[1]["code"]) == (status, True, status)
    assert got[1]["message"].startswith(message)
    assert books() == before


def test_the_same_request_sent_twice_stores_once(network: LocalNetwork, mint: Mint, alice: Caller) -> None:
    give(alice, mint, 0, 0, 0)
    body = {"name": "alice", "amount": 1}

    first = answer(alice.post("/api/v1/locker", body, idempotency_key="once"))
    again = answer(alice.post("/api/v1/locker", body, idempotency_key="once"))

    assert again == first
    assert LockerTask.objects.filter(kind="put").count() == 1
    assert Coin.objects.filter(task=first[1]["id"]).count() == 1


def test_what_belongs_to_others_is_not_there(network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller) -> None:
    give(alice, mint, 0)
    task = LockerTask.objects.get()

    assert answer(bob.get(f"/api/v1/task/{task.pk}")) == refused(404, "There is no task with that id")
    assert answer(bob.get(f"/api/v1/task/{uuid.uuid4()}")) == refused(404, "There is no task with that id")
    assert answer(bob.get("/api/v1/task/7")) == refused(404, "There is no task with that id")
    assert answer(bob.get(f"/api/v1/receipts/{task.receipt_id}")) == refused(404, "There is no receipt with that id")
    assert answer(bob.get("/api/v1/wallets/alice"))[0] == 403
    assert [each["name"] for each in answer(bob.get("/api/v1/wallets"))[1]["wallets"]] == ["bob"]


PATHS = [
    ("POST", "/api/v1/locker"), ("GET", "/api/v1/lockers"), ("POST", "/api/v1/locker/take"),
    ("POST", "/api/v1/locker/peek"), ("GET", "/api/v1/locker/x"), ("POST", "/api/v1/locker/x"),
    ("GET", "/api/v1/task/x"), ("POST", "/api/v1/import"), ("GET", "/api/v1/echo"), ("POST", "/api/v1/find"),
    ("GET", "/api/v1/wallets"), ("GET", "/api/v1/wallets/alice"), ("GET", "/api/v1/receipts/x"),
    ("GET", "/api/transactions/locker/peek?locker_key=x"), ("POST", "/api/transactions/locker/upload"),
    ("POST", "/api/transactions/locker/download"), ("POST", "/api/transactions/locker/peek"),
    ("POST", "/api/v1/export"), ("GET", "/api/v1/exports"), ("GET", "/api/v1/exports/x"),
    ("GET", "/api/v1/exports/x/file"), ("POST", "/api/v1/exports/x/confirm"), ("POST", "/api/v1/exports/x/recall"),
    ("POST", "/api/v1/transfer"), ("GET", "/api/v1/wallets/alice/statement"), ("POST", "/api/v1/lockers/x/code"),
    ("POST", "/api/v1/fix"), ("POST", "/api/v1/health"), ("POST", "/api/v1/break"), ("POST", "/api/v1/wallets"),
    ("GET", "/api/v1/transactions/alice/x"), ("GET", "/api/system/tasks?id=x"), ("GET", "/api/wallets/balance"),
    ("POST", "/api/transactions/locker/put-one-coin"),
    ("POST", "/api/v1/payment-requests"), ("GET", "/api/v1/payment-requests"), ("GET", "/api/v1/payment-requests/x"),
    ("DELETE", "/api/v1/payment-requests/x"), ("POST", "/api/v1/payment-requests/x/pay"),
    ("GET", "/api/v1/payment-requests/x/payments/y"),
    # Other names of the same.
    ("POST", "/api/v1/deposit-coins-to-locker"), ("GET", "/api/v1/verify-locker-contents/x"),
    ("POST", "/api/v1/retrieve-coins-from-locker/x"), ("GET", "/api/locker/peek?locker_key=x"),
    ("POST", "/api/locker/peek"), ("POST", "/api/locker/upload"), ("POST", "/api/locker/put"),
    ("POST", "/api/locker/put-no-sum"), ("POST", "/api/transactions/locker/put"),
    ("POST", "/api/transactions/locker/put-no-sum"), ("POST", "/api/locker/put-one-coin"),
    ("POST", "/api/locker/download"), ("GET", "/api/task?id=x"), ("GET", "/api/transactions/task?id=x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("locker_key=A-CODE&locker_key=B-CODE", '"locker_key" must be a string'),
        ("locker_key=A-CODE&x=1", '"x" is not allowed'),
        ("locker_key=%20", "A transmit code is text in UTF-8 without NUL, and not empty"),
        ("locker_key=k%E4se", "A transmit code is text in UTF-8 without NUL, and not empty"),
        ("locker_key=x%ED%A0%80", "A transmit code is text in UTF-8 without NUL, and not empty"),
        ("locker_key=x%00", '"locker_key" must not hold a NUL character'),
        (f"locker_key={'x' * 1001}", '"locker_key" length must be less than or equal to 1000 characters long'),
    ],
)
def test_a_key_that_cannot_be_one_is_asked_of_no_server(query: str, message: str, alice: Caller) -> None:
    assert answer(alice.get(f"/api/transactions/locker/peek?{query}")) == refused(422, message)


def test_a_code_in_a_path_is_as_long_as_one_in_a_body(alice: Caller) -> None:
    too_long = refused(422, '"code" length must be less than or equal to 1000 characters long')

    assert answer(alice.get(f"/api/v1/locker/{'x' * 1001}")) == too_long
    assert answer(alice.post(f"/api/v1/locker/{'x' * 1001}", {"name": "alice"})) == too_long
    assert LockerTask.objects.count() == 0


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_no_path_answers_without_a_bearer_token(method: str, path: str, db: None) -> None:
    assert Caller().send(method, path).status_code == 401
    assert LockerTask.objects.count() == 0


def test_a_form_with_files_is_imported_from_memory(network: LocalNetwork, mint: Mint, alice: Caller) -> None:
    upload = SimpleUploadedFile("coins.bin", write_bin(mint(0, 0, 0, 0)))

    response = alice.client.post(
        "/api/v1/import",
        {"name": "alice", "tag": "gift", "file": upload},
        headers={"authorization": f"Bearer {alice.bearer}"},
    )

    done = ended(alice, work(answer(response)))
    assert done["data"]["files"] == [{"name": "coins.bin", "accepted": 4, "refused": 0}]
    assert (done["data"]["total"], done["data"]["pown_results"]["authentic"]) == (4, 4)


def test_a_form_with_files_has_no_items(alice: Caller) -> None:
    response = alice.client.post(
        "/api/v1/import",
        {"name": "alice", "items": "x", "file": SimpleUploadedFile("coins.bin", b"x")},
        headers={"authorization": f"Bearer {alice.bearer}"},
    )

    status, got = answer(response)
    assert (status, got["message"]) == (422, '"items" is not allowed')
    assert LockerTask.objects.count() == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "alice", "items": [{"data": "???"}]}, '"items[0].data" must be base64'),
        ({"name": "alice", "items": []}, '"items" must contain at least 1 items'),
        ({"name": "alice"}, '"items" is required, or files in a multipart form'),
        ({"name": "alice", "items": [{"data": "R0lGODlh"}]}, "No coin was imported."),
    ],
)
def test_an_import_of_nothing_is_refused(body: Any, message: str, alice: Caller) -> None:
    status, got = answer(alice.post("/api/v1/import", body))

    assert (status, got["message"][: len(message)]) == (422, message)
    assert LockerTask.objects.count() == 0


def test_a_coin_is_broken_on_request(network: LocalNetwork, mint: Mint, alice: Caller) -> None:
    give(alice, mint, 1)

    done = ended(alice, work(answer(alice.post("/api/v1/break", {"name": "alice", "denomination": "10"}))))

    assert (done["status"], done["data"]["total"]) == ("completed", 10)
    wallet = answer(alice.get("/api/v1/wallets/alice"))[1]
    assert (wallet["balance"], wallet["denominations"]) == (10, {"1": 10})
    receipt = answer(alice.get(f"/api/v1/receipts/{done['data']['receipt_id']}"))[1]
    assert len(receipt["coins"]) == 11
    assert_true_to_the_servers()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "alice", "denomination": "10"}, "The wallet has no free coin of 10 that may be broken"),
        ({"name": "alice", "denomination": "0.00000001"}, "The smallest coin cannot be broken"),
        ({"name": "alice", "denomination": "5"}, '"denomination" must be the value of one coin'),
        ({"name": "alice"}, '"denomination" is required'),
    ],
)
def test_a_break_that_cannot_be_changes_nothing(body: Any, message: str, alice: Caller) -> None:
    assert alice.wallet is not None
    stock(alice.wallet, 0, -8)
    before = books()

    status, got = answer(alice.post("/api/v1/break", body))

    assert (status, got["message"][: len(message)]) == (422, message)
    assert books() == before


def test_coins_are_fixed_on_request(network: LocalNetwork, mint: Mint, alice: Caller) -> None:
    network.fault(range(3), "wrong-secret")
    give(alice, mint, 0, 0)
    network.clear()

    done = ended(alice, work(answer(alice.post("/api/v1/fix", {"name": "alice"}))))

    assert done["data"] == {
        "coins_processed": 2, "coins_healed": 2, "coins_fracked": 0, "receipt_id": done["data"]["receipt_id"],
    }  # fmt: skip
    assert answer(alice.post("/api/v1/fix", {"name": "alice"})) == refused(
        409, "Every free coin of this wallet is accepted by all servers"
    )
    assert_true_to_the_servers()


def test_whatever_step_a_task_is_at_it_can_be_shown(alice: Caller) -> None:
    assert alice.wallet is not None
    stock(alice.wallet, 0)
    task_id = answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 1}))[1]["id"]

    for step in Step:
        LockerTask.objects.filter(pk=task_id).update(step=step)
        status, body = answer(alice.get(f"/api/v1/task/{task_id}"))
        assert (status, body["step"], body["message"] != "") == (200, step, step is not Step.DONE)


def test_an_echo_counts_who_is_there(network: LocalNetwork, alice: Caller) -> None:
    network.fault(range(3), "down")

    done = ended(alice, work(answer(alice.get("/api/v1/echo"))))

    assert (done["data"]["online"], done["data"]["pownstring"]) == (22, "nnn" + "p" * 22)
    assert done["data"]["latencies"][:3] == [None] * 3


def test_a_code_is_told_once_and_again_to_who_lost_the_answer_and_then_only_in_as_many_words(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 0, 0)
    task_id = work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 2})))

    first = answer(alice.get(f"/api/v1/task/{task_id}"))
    again = answer(alice.get(f"/api/v1/tasks/{task_id}"))
    LockerTask.objects.filter(pk=task_id).update(code_shown_at=Now() - queries.CODE_IS_SHOWN)
    late = answer(alice.get(f"/api/v1/task/{task_id}"))

    code = first[1]["data"]["transmit_code"]
    assert re.fullmatch(r"([A-HJKMNP-Z2-9]{4}-){3}[A-HJKMNP-Z2-9]{4}", code)
    assert again == first
    locker = Locker.objects.get()
    assert late[1]["data"] == {
        "locker_id": str(locker.pk),
        **{name: value for name, value in first[1]["data"].items() if name != "transmit_code"},
    }
    path = f"/api/v1/lockers/{locker.pk}/code"
    assert answer(alice.post(path)) == (200, {"transmit_code": code})
    assert answer(bob.post(path)) == refused(404, "There is no locker with that id")
    work(answer(bob.post("/api/v1/locker/take", {"name": "bob", "transmit_code": code})))
    assert answer(alice.post(path)) == refused(
        409, "The code of a locker is given only while coins are in it; this one is emptied"
    )


def test_lockers_are_listed_page_by_page_without_their_codes(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 0, 0, 1)
    codes = ["A-VERY-LONG-CODE-OF-ALICE", "ANOTHER-LONG-CODE-OF-ALICE", "short"]
    for code, amount, tag in zip(codes, (2, 10, 3), ("rent", "gift", ""), strict=True):
        body = {"name": "alice", "amount": amount, "tag": tag, "transmit_code": code}
        if amount == 3:
            assert answer(alice.post("/api/v1/locker", body))[0] == 422
        else:
            work(answer(alice.post("/api/v1/locker", body)))
    work(answer(bob.post("/api/v1/locker/take", {"name": "bob", "transmit_code": codes[0]})))

    first = alice.get("/api/v1/lockers?limit=1")
    second = alice.get(re.search(r"<http://testserver(.*)>", first["Link"])[1])  # type: ignore[index]

    (gift,), (rent,) = answer(first)[1]["lockers"], answer(second)[1]["lockers"]
    told = ("wallet", "state", "tag", "amount", "remaining", "coins")
    assert [gift[name] for name in told] == ["alice", "filled", "gift", 10, 10, 1]
    assert [rent[name] for name in told] == ["alice", "emptied", "rent", 2, 0, 0]
    assert set(gift) == {"id", *told, "created", "changed"}
    assert "Link" not in second
    assert answer(alice.get("/api/v1/lockers"))[1]["lockers"] == [gift, rent]
    assert answer(bob.get("/api/v1/lockers")) == (200, {"lockers": []})
    assert not [code for code in codes if code[:3] in first.content.decode() + second.content.decode()]


def test_no_secret_reaches_a_log_or_the_database_in_clear(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    records = mint(0, 0, 0, 0)
    data = base64.b64encode(write_bin(records)).decode()
    code = "CANARY-CODE-THAT-NOBODY-MAY-SEE"
    work(answer(alice.post("/api/v1/import", {"name": "alice", "items": [{"data": data}]})))
    work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 4, "transmit_code": code})))
    work(answer(bob.post("/api/v1/locker/take", {"name": "bob", "transmit_code": code})))

    written = caplog.text + json.dumps([books(), list(LockerTask.objects.values())], default=_as_text)

    assert code not in written
    assert not [record for record in records for an in record.ans if an.hex() in written]
    assert states(bob.wallet) == {"bank": 4} if bob.wallet else False


def _as_text(value: object) -> str:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


def test_a_task_has_no_code_that_is_not_text(network: LocalNetwork, alice: Caller) -> None:
    for path, body in (("/api/v1/locker/peek", {}), ("/api/v1/locker/take", {"name": "alice"})):
        for text in ("x\0", "x\ud800"):
            got = answer(alice.send("POST", path, json.dumps({**body, "transmit_code": text}).encode()))
            assert got == refused(400, got[1]["message"])
            assert got[1]["message"].startswith("Malformed JSON")
    assert LockerTask.objects.count() == 0


def locker_of(alice: Caller, mint: Mint, code: str) -> None:
    """Fill a locker under any code, as another client can."""
    give(alice, mint, 1, 0)
    ended(alice, work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 11, "transmit_code": code}))))


@pytest.mark.parametrize("code", ["käse und brot", "пароль", "🔑🔑", "tab\tkey", "a/b?c"])
def test_any_text_is_a_key_at_every_door(
    code: str,
    network: LocalNetwork,
    mint: Mint,
    alice: Caller,
    bob: Caller,
    working: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = f"{code} {uuid.uuid4()}"
    with monkeypatch.context() as patch:
        patch.setattr(codes, "for_new_locker", codes.verbatim)
        locker_of(alice, mint, code)

    seen = answer(bob.get(f"/api/transactions/locker/peek?{urlencode({'locker_key': code})}"))
    assert (seen[0], seen[1]["coins"]["total_value"], seen[1]["locker_key"]) == (200, 11, code)
    assert "locker_key_used" not in seen[1]
    doors = [("POST", "/api/v1/locker/peek", {"transmit_code": code})]
    if "/" not in code:
        doors.append(("GET", f"/api/v1/locker/{quote(code)}", None))
    for method, path, body in doors:
        peeked = ended(bob, work(answer(bob.send(method, path, body))))
        assert (peeked["status"], peeked["data"]["total"]) == ("completed", 11)
    taken = ended(bob, work(answer(bob.post("/api/v1/locker/take", {"name": "bob", "transmit_code": code}))))
    assert (taken["status"], taken["data"]["total"]) == ("completed", 11)
    assert_true_to_the_servers()


def test_a_generated_code_as_people_type_it_opens_the_locker(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller, code: str, working: None
) -> None:
    locker_of(alice, mint, code)
    typed = f"„{code.lower().replace('-', ' – ')}“"
    network.forget_seen()

    seen = answer(bob.post("/api/transactions/locker/peek", {"locker_key": typed}))
    assert (seen[0], seen[1]["locker_key"], seen[1]["locker_key_used"]) == (200, typed, code)
    assert network.seen(Command.PEEK, 0) == 2
    peeked = ended(bob, work(answer(bob.post("/api/v1/locker/peek", {"transmit_code": typed}))))
    assert (peeked["data"]["total"], peeked["data"]["transmit_code_used"]) == (11, code)
    assert network.seen(Command.PEEK, 0) == 4

    taken = ended(bob, work(answer(bob.post("/api/v1/locker/take", {"name": "bob", "transmit_code": typed}))))
    assert (taken["data"]["total"], taken["data"]["transmit_code_used"]) == (11, code)
    locker_of(alice, mint, code)
    loaded = answer(bob.post("/api/transactions/locker/download", {"locker_key": code.replace("-", "")}))[1]
    assert (loaded["coins_saved"], loaded["locker_key_used"]) == (2, code)
    assert_true_to_the_servers()


def test_a_code_as_it_was_made_is_peeked_once_and_nothing_is_said_of_another(
    network: LocalNetwork, mint: Mint, alice: Caller, code: str, working: None
) -> None:
    locker_of(alice, mint, code)
    network.forget_seen()

    assert "locker_key_used" not in answer(alice.get(f"/api/transactions/locker/peek?locker_key={code}"))[1]
    assert network.seen(Command.PEEK, 0) == 1
    loaded = answer(alice.post("/api/transactions/locker/download", {"locker_key": code}))[1]
    assert loaded["coins_saved"] == 2
    assert "locker_key_used" not in loaded
    assert network.seen(Command.PEEK, 0) == 2


def test_a_locker_under_the_text_as_typed_comes_first(
    network: LocalNetwork, mint: Mint, alice: Caller, code: str
) -> None:
    locker_of(alice, mint, code)
    give(alice, mint, 2)
    body = {"name": "alice", "amount": 100, "transmit_code": code.lower()}
    ended(alice, work(answer(alice.post("/api/v1/locker", body))))

    seen = answer(alice.get(f"/api/transactions/locker/peek?locker_key={code.lower()}"))[1]

    assert seen["coins"]["total_value"] == 100
    assert "locker_key_used" not in seen


def test_the_code_of_a_peek_is_told_to_who_typed_it_and_not_for_long(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller, code: str
) -> None:
    locker_of(alice, mint, code)
    task_id = work(answer(bob.post("/api/v1/locker/peek", {"transmit_code": code.lower()})))
    assert ended(bob, task_id)["data"]["transmit_code_used"] == code

    row = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.MANAGE, requestee="bob")
    trusts.accept_trust(actor=bob.wallet, trust_id=row.id)
    assert "transmit_code_used" not in ended(alice, task_id)["data"]
    LockerTask.objects.filter(pk=task_id).update(finished_at=Now() - queries.CODE_IS_SHOWN)
    assert "transmit_code_used" not in ended(bob, task_id)["data"]
    task = LockerTask.objects.get(pk=task_id)
    assert code not in json.dumps([task.result, task.plan]).upper()
    told = {name: value for name, value, _ in reports.result_of(task)}
    assert told == {"total": 11 * 10**8, "transmit code": "opened the locker in another spelling than the one sent"}


def test_both_spellings_of_a_wrong_code_are_one_guess(
    network: LocalNetwork, alice: Caller, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Any] = []
    monkeypatch.setattr(wrong_code_limits, "note_wrong_code", lambda **who: noted.append(who))

    assert answer(alice.get(f"/api/transactions/locker/peek?locker_key={code.lower()}"))[0] == 500
    assert len(noted) == 1
    task_id = work(answer(alice.post("/api/v1/locker/take", {"name": "alice", "transmit_code": code.lower()})))
    assert ended(alice, task_id)["status"] == "error"
    assert len(noted) == 2


def test_the_second_spelling_is_not_asked_for_while_too_few_servers_answer_the_first(
    network: LocalNetwork, alice: Caller, code: str
) -> None:
    network.fault(range(13), "down")

    assert answer(alice.get(f"/api/transactions/locker/peek?locker_key={code.lower()}"))[0] == 500
    assert network.seen(Command.PEEK, 13) == 1
