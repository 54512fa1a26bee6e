"""
Every parameter and field in which a client names a wallet resolves it by the same rule.

They come from the API description: a new text fails here until it says whether it names a wallet, and if it does,
until it is resolved by `wallets.queries.reference`.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from config.api.openapi_document import message_of
from config.environment import ROOT
from lockers.operations import payment_requests
from tests.api.caller import Caller, logged_in
from tests.support.api_description import api_description
from tests.support.databases import shared_rows
from tests.support.object_matrix import coin_file
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet

pytestmark = pytest.mark.django_db

ID = "3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5b"
NAMING = {
    "wallet", "wallet_path", "name", "srcname", "dstname", "sender_wallet", "receiver_wallet", "requester_wallet",
    "requestee_wallet", "manager_wallet",
}  # fmt: skip
NOT_NAMING = {
    "about", "display_name", "email", "password", "items.data", "items.name", "locker_key", "memo", "tag",
    "transmit_code", "code", "receipt_id", "cursor", "id", "since", "task_id", "Idempotency-Key", "search",
    "order_by", "created_at_start_date", "created_at_end_date", "before", "after", "reference", "expires_at",
    "action_token", "created_since", "description", "message", "new_password", "old_password", "recipient_email", "url",
    "at", "from", "to",
}  # fmt: skip
CREATING = {("POST", "/wallets"), ("POST", "/api/v1/wallets")}
DESCRIPTION = api_description()


class Door(NamedTuple):
    method: str
    path: str
    place: str  # "path", "query", or a content type
    field: str
    rest: dict[str, Any]


def texts(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Give the names of all fields that take any text."""
    for kind in ("oneOf", "anyOf", "allOf"):
        for each in schema.get(kind, []):
            yield from texts(each, prefix)
    for name, each in schema.get("properties", {}).items():
        if each.get("type") == "string" and not {"format", "enum"} & each.keys():
            yield prefix + name
        yield from texts(each, f"{prefix}{name}.")
    if "items" in schema:
        yield from texts(schema["items"], prefix)


def described() -> Iterator[Door]:
    for path, methods in DESCRIPTION["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                schema = parameter["schema"]
                if schema.get("type") == "string" and not {"format", "enum"} & schema.keys():
                    yield Door(method.upper(), path, parameter["in"], parameter["name"], {})
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                examples = [each["value"] for each in content.get("examples", {}).values()]
                for field in dict.fromkeys(texts(content["schema"])):
                    fitting = [each for each in examples if field in each] or examples or [{}]
                    yield Door(method.upper(), path, kind, field, fitting[0])


def test_every_text_says_whether_it_names_a_wallet() -> None:
    unknown = {(door.method, door.path, door.field) for door in described() if door.field not in NAMING | NOT_NAMING}

    assert not unknown


def ask(caller: Caller, door: Door, text: str) -> Any:
    path, body = door.path.replace("{wallet_id}", str(caller.wallet.pk)), {**door.rest, door.field: text}
    if "receipt_id" in path:
        path = path.replace("{receipt_id}", "5f0c4a4e9d3b4b7c8f8e2a1d6c7b9e01")
    if "payment_request_id" in path:
        asked = payment_requests.create(actor=caller.wallet, name=None, units=1, description="a tree")
        path = path.replace("{payment_request_id}", str(asked.pk))
    if door.place == "path":
        return caller.send(door.method, path.replace("{name}", text))
    if door.place == "query":
        extra = "limit=1&" if path in {"/tokens", "/transfers", "/events"} else ""
        return caller.send(door.method, f"{path}?{extra}{door.field}={text}")
    if door.place == "application/json":
        # What the examples call by name is the caller.
        for field in NAMING - {door.field}:
            if field in body:
                body[field] = "alice"
        if "wallet" in body and "wallet_path" in body:
            body.pop({"wallet": "wallet_path", "wallet_path": "wallet"}[door.field])
        if "items" in body:
            body["items"] = [{"data": coin_file()}]
        if path == "/auth":
            body["password"] = "wrong"
        return caller.send(door.method, path, body)
    if "batch" in path:
        content = "wallet_name,token_transfer_amount_overwrite\nsapling,1\n"
        body["csv"] = SimpleUploadedFile("batch.csv", content.encode(), "text/csv")
    else:
        body["file"] = SimpleUploadedFile("coins.bin", base64.b64decode(coin_file()))
    return caller.send(door.method, path, encode_multipart(BOUNDARY, body), content_type=MULTIPART_CONTENT)


# A part of names, that of the wallets in a list.
MATCHING = {("GET", "/wallets", "name")}
# The names of restricted keys.
OF_KEYS = {("POST", "/keys", "name"), ("PATCH", "/keys/{key_id}", "name")}
DOORS = [
    door
    for door in described()
    if door.field in NAMING and (door.method, door.path, door.field) not in MATCHING | OF_KEYS
]


@pytest.fixture(scope="module")
def alice(django_db_setup: None, django_db_blocker: Any) -> Iterator[Caller]:
    with shared_rows(django_db_blocker):
        yield logged_in("alice", wallets.create_api_key(name="partner")[1])


@pytest.fixture
def impostor(alice: Caller) -> Wallet:
    """A wallet that is named like an id, stored by an earlier version; alice manages it, so nothing else refuses."""
    impostor = Wallet.objects.create(name=ID, name_key=ID)
    row = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.MANAGE, requestee=str(impostor.pk))
    trusts.accept_trust(actor=impostor, trust_id=row.id)
    return impostor


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.method} {door.path} {door.field}")
@pytest.mark.parametrize("text", [ID, ID.replace("-", "").upper()])
def test_text_in_the_form_of_an_id_is_an_id_everywhere(alice: Caller, impostor: Wallet, door: Any, text: Any) -> None:
    response = ask(alice, door, text)

    message = message_of(json.loads(response.content))
    if (door.method, door.path) in CREATING:
        assert (response.status_code, message) == (422, f"invalid wallet name:{text} has the form of an id")
    else:
        written = text if door.path.startswith("/wallets/batch") else ID
        assert (response.status_code, message) == (404, f"Could not find wallet by id: {written}")
    assert Wallet.objects.count() == 2


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.method} {door.path} {door.field}")
def test_a_name_with_an_invisible_character_names_nobody(alice: Caller, impostor: Wallet, door: Any) -> None:
    response = ask(alice, door, "ali\u3164ce")

    assert response.status_code == 422
    assert message_of(json.loads(response.content)).endswith(
        "invalid wallet name:ali\u3164ce holds the invisible U+3164"
    )
    assert Wallet.objects.count() == 2


LOCKER_DOORS = [door for door in DOORS if door.path.startswith("/api/") and (door.method, door.path) not in CREATING]


@pytest.mark.parametrize("is_taken", [True, False], ids=["another wallet has the name", "no wallet has the name"])
@pytest.mark.parametrize("door", LOCKER_DOORS, ids=lambda door: f"{door.method} {door.path} {door.field}")
def test_default_is_the_callers_own_wallet_at_every_locker_door(alice: Caller, door: Any, is_taken: bool) -> None:
    """Names are global: for all but one tenant the name that clients of the other product send would be foreign."""
    if is_taken:
        Wallet.objects.create(name="Default", name_key="default")

    told = []
    for text in ("Default", str(alice.wallet.pk)):
        with transaction.atomic():
            told.append(ask(alice, door, text))
            # A second import of the same coins would be another case.
            transaction.set_rollback(True)

    default, own = ((each.status_code, json.loads(each.content)) for each in told)
    assert default[0] == own[0] not in {403, *([] if "receipt_id" in door.path else [404])}
    assert [default[1].get(name) for name in ("message", "detail")] == [
        own[1].get(name) for name in ("message", "detail")
    ]


def test_the_locker_doors_are_all_there() -> None:
    assert len(LOCKER_DOORS) >= 20


def test_default_is_a_wallet_of_that_name_for_who_controls_it_now(alice: Caller) -> None:
    named = Wallet.objects.create(name="Default", name_key="default")
    row = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.MANAGE, requestee=str(named.pk))

    assert json.loads(alice.get("/api/v1/wallets/default").content)["name"] == "alice"
    trusts.accept_trust(actor=named, trust_id=row.id)
    assert json.loads(alice.get("/api/v1/wallets/default").content)["name"] == "Default"
    body = {"srcname": "Default", "dstname": "alice", "amount": 1}
    assert json.loads(alice.send("POST", "/api/v1/transfer", body).content)["message"].startswith("Not enough coins")
    trusts.decline_trust(actor=named, trust_id=row.id)
    assert alice.get(f"/api/v1/wallets/{named.pk}").status_code == 403
    assert json.loads(alice.get("/api/v1/wallets/default").content)["name"] == "alice"
    refused = json.loads(alice.send("POST", "/api/v1/transfer", body).content)
    assert refused["message"] == "Cannot move coins from a wallet to itself"


def test_default_is_an_ordinary_name_on_the_token_surface(alice: Caller) -> None:
    for named in (False, True):
        if named:
            Wallet.objects.create(name="Default", name_key="default")
        told = alice.get("/tokens?limit=1&wallet=Default")
        assert told.status_code == (403 if named else 404)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/wallets/batch-transfer", 404, f"Could not find wallet by id: {ID}"),
        ("/wallets/batch-create-wallet", 200, f"invalid wallet name:{ID} has the form of an id"),
    ],
)
def test_the_rows_of_a_batch_are_resolved_likewise(
    alice: Caller, impostor: Wallet, path: str, status: int, message: str
) -> None:
    form = {
        "sender_wallet": "alice",
        "token_transfer_amount_default": "1",
        "csv": SimpleUploadedFile("batch.csv", f"wallet_name\n{ID}\n".encode(), "text/csv"),
    }

    response = alice.send("POST", path, encode_multipart(BOUNDARY, form), content_type=MULTIPART_CONTENT)

    assert response.status_code == status
    body = json.loads(response.content)
    assert body["rows"] == [{"line": 2, "column": "wallet_name", "message": message}]
    assert Wallet.objects.count() == 2


def test_no_other_code_looks_names_up() -> None:
    """The key of a name is compared in one function, and in the statements to which it hands what it found."""
    allowed = {
        "wallets/queries.py", "wallets/operations.py", "config/admin/actions/wallets.py", "config/admin/wallets.py",
            "config/ops/pseudonyms.py",
        # Operators search by a part of a name; no right follows from what is found.
        "wallets/reports.py",
        "transfers/ledger.py", "transfers/sql/send.sql", "transfers/sql/decide_batch.sql",
        # Names of another service are compared with those here by the same keys.
        "config/treetracker_import/wallet_names.py", "config/treetracker_import/writing.py",
    }  # fmt: skip
    sources = [
        path
        for app in ("wallets", "trusts", "transfers", "lockers", "config")
        for path in (Path(ROOT) / app).rglob("*")
        if path.suffix in {".py", ".sql"} and not {"migrations", "schema"} & set(path.parts)
    ]
    looking = {
        str(path.relative_to(ROOT))
        for path in sources
        if any(each in path.read_text() for each in ("name_key=", "name_key__", "name_key =", "objects.filter(name="))
    }

    assert looking - {"wallets/models.py", "trusts/models.py"} <= allowed
    by_name = {str(path.relative_to(ROOT)) for path in sources if "wallet_by_name(" in path.read_text()}
    assert by_name == {"wallets/queries.py", "config/dev/demo_data.py"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/wallets/a%00b", None, 400),
        ("GET", "/tokens?limit=1&wallet=a%00b", None, 422),
        ("GET", "/api/v1/wallets/a%ed%a0%80b", None, 404),
        ("POST", "/auth", b'{"wallet": "a\\ud800b", "password": "x"}', 400),
        ("POST", "/wallets", b'{"wallet": "a\\ud800b"}', 400),
        ("POST", "/trust_relationships", b'{"trust_request_type": "send", "requestee_wallet": "a\\udfffb"}', 400),
        ("POST", "/auth", {"wallet": "\u3164" * 1000, "password": "x"}, 422),
        ("POST", "/auth", {"wallet": "\ufdfa" * 1000, "password": "x"}, 422),
    ],
)
def test_a_text_that_cannot_be_stored_is_refused(alice: Caller, method: str, path: str, body: Any, status: int) -> None:
    assert alice.send(method, path, body).status_code == status
    assert Wallet.objects.count() == 1
