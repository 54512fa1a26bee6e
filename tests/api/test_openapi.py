"""`/openapi.json`, the copy of it in `docs/`, and `/docs/`."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from django.test import Client
from django.urls import get_resolver
from drf_spectacular.validation import validate_schema

from config.api import errors
from config.api.domain_error_codes import BY_CLASS
from config.api.json_schemas import Named
from config.api.treetracker import v2
from config.api.validation import Shape
from config.web import reference
from config.web.docs_pages import PAGES
from config.web.markdown import html_of
from tests.api.caller import Caller, answer
from tests.api.endpoints import endpoints
from transfers import operations as transfers
from wallets.errors import DomainError

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> Any:
    return Client().get("/openapi.json").json()


def resolved(document: Any, response: Any) -> Any:
    name = response.get("$ref", "").rpartition("/")[2]
    return document["components"]["responses"][name] if name else response


def operations(document: Any) -> Iterator[Any]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_the_one_that_is_served(document: Any) -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == document, "`make schema` writes it anew"


def test_the_document_is_the_same_on_every_python(document: Any) -> None:
    """Python 3.13 renamed two statuses, and strips the indentation of docstrings."""
    responses = [
        (status, resolved(document, response)["description"])
        for _, operation in operations(document)
        for status, response in operation["responses"].items()
    ]
    described = [operation["description"] for _, operation in operations(document) if "description" in operation]

    assert {text for status, text in responses if status == "413"} == {"Content Too Large"}
    assert {text for status, text in responses if status == "422"} == {"Unprocessable Content"}
    assert described == [inspect.cleandoc(text) for text in described]


def test_the_document_is_valid_openapi_31(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)


def test_every_endpoint_is_described_once(document: Any) -> None:
    described = [re.sub(r"{\w+}", "{}", name) for name, _ in operations(document)]
    there = {f"{method} {re.sub(r'{.*?}', '{}', path)}" for method, path, _ in endpoints(get_resolver())}

    assert set(described) == there
    assert len(described) == len(there)


def test_every_operation_has_a_name_a_summary_and_examples_of_every_answer(document: Any) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"], name
        is_for_all = operation["security"] == [{}]
        assert {"400", "422", "500", "503", *(() if is_for_all else ("401",))} <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            for media_type, content in resolved(document, response)["content"].items():
                assert media_type != "application/json" or content["examples"], f"{name} {status}"
        for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            assert media_type == "multipart/form-data" or content["examples"], name


# Generated clients have functions of these names: an id never changes.
OPERATIONS: Final = {
    "approvals.change": "PUT /wallets/{wallet_id}/approval",
    "approvals.get": "GET /wallets/{wallet_id}/approval",
    "auth.change_password": "POST /auth/password",
    "auth.end_session": "DELETE /auth/sessions/{session_id}",
    "auth.log_out": "DELETE /auth/token",
    "auth.login": "POST /auth",
    "auth.sessions": "GET /auth/sessions",
    "action_tokens.cancel": "DELETE /action-tokens/{action_token_id}",
    "action_tokens.create": "POST /action-tokens",
    "action_tokens.create_batch": "POST /action-tokens/batch",
    "action_tokens.describe": "POST /action-tokens/describe",
    "action_tokens.get": "GET /action-tokens/{action_token_id}",
    "action_tokens.list": "GET /action-tokens",
    "action_tokens.redeem": "POST /action-tokens/redeem",
    "coin_wallets.balance": "GET /api/wallets/balance",
    "coin_wallets.create": "POST /api/v1/wallets",
    "coin_wallets.get": "GET /api/v1/wallets/{name}",
    "coin_wallets.list": "GET /api/v1/wallets",
    "coin_wallets.statement": "GET /api/v1/wallets/{name}/statement",
    "coins.break": "POST /api/v1/break",
    "coins.check": "POST /api/v1/health",
    "coins.find": "POST /api/v1/find",
    "coins.fix": "POST /api/v1/fix",
    "coins.import": "POST /api/v1/import",
    "coins.transfer": "POST /api/v1/transfer",
    "events.list": "GET /events",
    "exports.confirm": "POST /api/v1/exports/{export_id}/confirm",
    "exports.create": "POST /api/v1/export",
    "exports.file": "GET /api/v1/exports/{export_id}/file",
    "exports.get": "GET /api/v1/exports/{export_id}",
    "exports.list": "GET /api/v1/exports",
    "exports.recall": "POST /api/v1/exports/{export_id}/recall",
    "keys.create": "POST /keys",
    "keys.end": "DELETE /keys/{key_id}",
    "keys.get": "GET /keys/{key_id}",
    "keys.list": "GET /keys",
    "keys.rename": "PATCH /keys/{key_id}",
    "lockers.code": "POST /api/v1/lockers/{locker_id}/code",
    "lockers.list": "GET /api/v1/lockers",
    "lockers.peek": "POST /api/v1/locker/peek",
    "lockers.peek_and_wait": "POST /api/transactions/locker/peek",
    "lockers.peek_and_wait_by_query": "GET /api/transactions/locker/peek",
    "lockers.peek_by_path": "GET /api/v1/locker/{code}",
    "lockers.put": "POST /api/v1/locker",
    "lockers.put_and_wait": "POST /api/transactions/locker/upload",
    "lockers.put_one_and_wait": "POST /api/transactions/locker/put-one-coin",
    "lockers.take": "POST /api/v1/locker/take",
    "lockers.take_and_wait": "POST /api/transactions/locker/download",
    "lockers.take_by_path": "POST /api/v1/locker/{code}",
    "payment_requests.cancel": "DELETE /api/v1/payment-requests/{payment_request_id}",
    "payment_requests.create": "POST /api/v1/payment-requests",
    "payment_requests.get": "GET /api/v1/payment-requests/{payment_request_id}",
    "payment_requests.list": "GET /api/v1/payment-requests",
    "payment_requests.pay": "POST /api/v1/payment-requests/{payment_request_id}/pay",
    "payment_requests.payment": "GET /api/v1/payment-requests/{payment_request_id}/payments/{payment_id}",
    "receipts.get": "GET /api/v1/receipts/{receipt_id}",
    "receipts.get_of_wallet": "GET /api/v1/transactions/{name}/{receipt_id}",
    "servers.echo": "GET /api/v1/echo",
    "tasks.get": "GET /api/v1/task/{task_id}",
    "tasks.get_system": "GET /api/system/tasks",
    "tokens.get": "GET /tokens/{token_id}",
    "tokens.list": "GET /tokens",
    "tokens.movements": "GET /tokens/{token_id}/transactions",
    "tokens.proof": "GET /tokens/{token_id}/proof",
    "transfers.accept": "POST /transfers/{transfer_id}/accept",
    "transfers.approve": "POST /transfers/{transfer_id}/approve",
    "transfers.cancel": "DELETE /transfers/{transfer_id}",
    "transfers.create": "POST /transfers",
    "transfers.create_batch": "POST /wallets/batch-transfer",
    "transfers.decline": "POST /transfers/{transfer_id}/decline",
    "transfers.fulfill": "POST /transfers/{transfer_id}/fulfill",
    "transfers.get": "GET /transfers/{transfer_id}",
    "transfers.proof": "GET /transfers/{transfer_id}/proof",
    "transfers.list": "GET /transfers",
    "transfers.pending": "GET /wallets/{wallet_id}/pending-transfers",
    "transfers.refuse": "POST /transfers/{transfer_id}/refuse",
    "transfers.tokens": "GET /transfers/{transfer_id}/tokens",
    "trusts.accept": "POST /trust_relationships/{trust_relationship_id}/accept",
    "trusts.cancel": "DELETE /trust_relationships/{trust_relationship_id}",
    "trusts.create": "POST /trust_relationships",
    "trusts.decline": "POST /trust_relationships/{trust_relationship_id}/decline",
    "trusts.dismiss_manager": "POST /wallets/{wallet_id}/dismiss",
    "trusts.get": "GET /trust_relationships/{trust_relationship_id}",
    "trusts.list": "GET /trust_relationships",
    "trusts.list_of_wallet": "GET /wallets/{wallet_id}/trust_relationships",
    "wallets.balance": "GET /wallets/{wallet_id}/balance",
    "wallets.create": "POST /wallets",
    "wallets.create_batch": "POST /wallets/batch-create-wallet",
    "wallets.export": "GET /wallets/{wallet_id}/export",
    "wallets.get": "GET /wallets/{wallet_id}",
    "wallets.list": "GET /wallets",
    "wallets.statement": "GET /wallets/{wallet_id}/statement",
    "wallets.update": "PATCH /wallets/{wallet_id}",
    "webhooks.create": "POST /webhooks",
    "webhooks.delete": "DELETE /webhooks/{webhook_id}",
    "webhooks.deliveries": "GET /webhooks/{webhook_id}/deliveries",
    "webhooks.get": "GET /webhooks/{webhook_id}",
    "webhooks.list": "GET /webhooks",
    "webhooks.resend": "POST /webhooks/{webhook_id}/deliveries/{delivery_id}/resend",
    "webhooks.rotate_secret": "POST /webhooks/{webhook_id}/rotate-secret",
    "webhooks.test": "POST /webhooks/{webhook_id}/test",
    "webhooks.update": "PATCH /webhooks/{webhook_id}",
}


def test_each_operation_keeps_the_id_that_its_view_declares(document: Any) -> None:
    described = {operation["operationId"]: name for name, operation in operations(document)}
    declared = [action.operation for *_, action in endpoints(get_resolver())]

    assert described == OPERATIONS
    assert sorted(declared) == sorted(OPERATIONS)
    # What generators make of them is unique as well.
    assert len({re.sub(r"\W", "_", each) for each in OPERATIONS}) == len(OPERATIONS)


CREDENTIALS: Final = {
    frozenset({"apiKey"}): "the API key alone.",
    frozenset({"apiKey", "bearer"}): "the API key and a bearer token.",
    frozenset({"bearer"}): "a bearer token.",
    frozenset(): "none.",
}


def test_each_operation_says_in_words_of_its_own_who_may_call_it_and_what_happens(document: Any) -> None:
    texts = {}
    for name, operation in operations(document):
        text, _, rest = operation["description"].partition("\n\nCredentials: ")
        texts[name] = text
        assert len(text) > 40, name
        [asked] = operation["security"]
        assert rest.partition("\n")[0] == CREDENTIALS[frozenset(asked)], name
    assert len(set(texts.values())) == len(texts)


def test_no_text_speaks_of_where_the_api_comes_from(document: Any) -> None:
    words = {word.lower() for word in re.findall(r"[A-Za-z]+", json.dumps(document))}

    assert words & {"seed", "seeds", "peer"} == set()
    assert "other product" not in json.dumps(document)


def test_each_schema_has_a_name_and_each_field_of_it_words(document: Any) -> None:
    schemas = document["components"]["schemas"]
    bare, nested = [], []

    def look(part: Any, where: str) -> None:
        if isinstance(part, dict):
            if "properties" in part:
                nested.append(where)
            for name, each in part.items():
                look(each, f"{where}.{name}")
        elif isinstance(part, list):
            for each in part:
                look(each, where)

    for name, schema in schemas.items():
        assert schema["description"], name
        for field, each in schema.get("properties", {}).items():
            # A component that stands for itself brings its own words.
            if not (each.get("description") or (set(each) == {"$ref"})):
                bare.append(f"{name}.{field}")
            look(each, f"{name}.{field}")
        for value in schema.get("enum", []):
            assert f"* `{value}`: " in schema["description"], name
    look(document["paths"], "paths")
    look(document["components"]["responses"], "responses")

    assert bare == []
    assert nested == []
    assert {
        "Transfer", "Wallet", "Token", "Trust", "Movement", "Event", "Coin", "LockerTask", "Receipt", "Locker", "Error",
        "TransferPage", "WalletPage", "TokenPage", "TrustPage", "MovementPage", "EventPage", "LockerPage", "ExportPage",
    } <= set(schemas)  # fmt: skip
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert used == set(schemas)


def test_parameters_tags_and_credentials_have_words(document: Any) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], f"{name} {parameter['name']}"
    used = [tag for _, operation in operations(document) for tag in operation["tags"]]
    tags = [each["name"] for each in document["tags"]]
    assert set(tags) == set(used)
    assert tags[:4] == ["authentication", "wallets", "tokens", "transfers"]
    assert all(each["description"] for each in document["tags"])
    assert all(each["description"] for each in document["components"]["securitySchemes"].values())


def test_the_servers_are_those_at_which_the_paths_are_served(document: Any, alice: Caller) -> None:
    assert [each["url"] for each in document["servers"]] == ["/", "/wallet", "/wallet/v2"]
    for name, operation in operations(document):
        assert ("servers" in operation) == ("/api/" in name or " /webhooks" in name or " /keys" in name), name
        assert operation.get("servers", document["servers"][:1]) == document["servers"][:1]
    for server in document["servers"]:
        assert alice.get(f"{server['url'].rstrip('/')}/wallets?limit=1").status_code == 200
    assert alice.get("/wallet/api/v1/wallets").status_code == 404


def test_a_component_without_words_for_a_field_is_refused() -> None:
    with pytest.raises(LookupError, match="Pair differs from its words in right"):
        Named("Pair", "Two numbers.", {"left": 1, "right": 2}, words={"left": "One."})
    with pytest.raises(LookupError, match="Pair differs from its words in middle"):
        Named("Pair", "A number.", Shape({}), words={"middle": "None."})


def test_what_endpoints_share_is_named_after_what_it_says(document: Any) -> None:
    names = list(document["components"]["responses"])

    assert {
        "BearerRefusedOrKeyRefused",
        "KeyInUse",
        "TransferNotFound",
        "LockerExportNotFound",
        "InvalidTransferId",
    } <= set(names)
    assert [name for name in names if not name.isalpha()] == []


def test_every_example_fits_its_schema(document: Any) -> None:
    for name, operation in operations(document):
        contents = [
            resolved(document, each)["content"][media_type]
            for each in operation["responses"].values()
            for media_type in ("application/json", "application/problem+json")
            if media_type in resolved(document, each)["content"]
        ]
        if "application/json" in operation.get("requestBody", {"content": {}})["content"]:
            contents.append(operation["requestBody"]["content"]["application/json"])
        for content in contents:
            validator = jsonschema.Draft202012Validator({**content["schema"], "components": document["components"]})
            for example in content["examples"].values():
                assert not list(validator.iter_errors(example["value"])), f"{name}: {example}"


def all_subclasses(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from all_subclasses(each)


# Refusals that no request can meet: those of commands, and bases or parts of others.
NOT_ON_THE_SURFACE = {
    "ApiKeyTaken", "InvalidApiKey", "InvalidPassword", "CaptureAlreadyIssued", "RowInvalid",
    # At every endpoint that takes a key.
    "KeyInUse",
    # At every endpoint of lockers.
    "LockersOff",
    # Of what operators do.
    "AlreadyDone", "AuditIsRunning", "CapturesUnreadable", "ChangedMeanwhile", "NotPossible", "TrustNotOpen",
}  # fmt: skip


def test_every_refusal_of_the_domain_is_described_at_some_endpoint() -> None:
    refusals = {kind.__name__ for kind in all_subclasses(DomainError) if kind in BY_CLASS}
    described = {type(each).__name__ for *_, action in endpoints(get_resolver()) for each in action.refusals}

    assert refusals - described == NOT_ON_THE_SURFACE


def test_an_answer_is_what_the_document_says(document: Any, alice: Caller) -> None:
    wallet = document["components"]["schemas"]["ListedWallet"]

    _, body = answer(alice.get("/wallets?limit=1"))

    _, later = answer(alice.get("/wallet/v2/wallets?limit=1"))

    assert list(body["wallets"][0]) == wallet["required"]
    assert list(later["wallets"][0]) == list(wallet["properties"])
    assert wallet["properties"]["about"]["type"] == ["string", "null"]


def test_each_status_of_the_later_version_is_described(document: Any) -> None:
    described = dict(operations(document))
    for method, path, action in endpoints(get_resolver()):
        responses = described[f"{method} {path}"]["responses"]
        if action.__qualname__ in v2.CREATES:
            assert {"200", "201"} <= set(responses), path
        for refusal in action.refusals if not path.startswith(("/api/", "/webhooks", "/keys")) else ():
            if isinstance(refusal, DomainError):
                before = errors.status_of(refusal)
                assert before is not None
                status, message = v2.refusal(action.__qualname__, refusal, status=before, message=str(refusal))
                (content,) = resolved(document, responses[str(status)])["content"].values()
                shown = [
                    each["value"].get("message", each["value"].get("detail")) for each in content["examples"].values()
                ]
                assert message in shown, f"{path} {message}"


@pytest.mark.parametrize("prefix", ["", "/wallet", "/wallet/v2"])
def test_answers_below_each_server_fit_the_description(document: Any, prefix: str, alice: Caller, bob: Caller) -> None:
    transfers.issue_tokens(wallet=alice.wallet, count=4)
    named = {re.sub(r"{\w+}", "{}", name): operation for name, operation in operations(document)}

    def call(caller: Caller, name: str, body: Any = None, *ids: str, query: str = "") -> Any:
        method, path = name.split()
        response = caller.send(method, prefix + path.format(*ids) + query, body)
        schema = resolved(document, named[name]["responses"][str(response.status_code)])
        schema = schema["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
        assert [each.message for each in validator.iter_errors(response.json())] == [], name
        assert response.status_code < 300, response.content
        return response.json()

    page, wallet = "?limit=2", str(alice.wallet.pk)
    link = call(alice, "POST /action-tokens", {"bundle": {"bundle_size": 1}, "message": "for you"})
    call(bob, "POST /action-tokens/describe", {"action_token": link["action_token"]})
    call(bob, "POST /action-tokens/redeem", {"action_token": link["action_token"]})
    link = call(alice, "POST /action-tokens", {"bundle": {"bundle_size": 1}, "recipient_email": "ann@example.org"})
    call(alice, "GET /action-tokens/{}", None, link["id"])
    call(alice, "DELETE /action-tokens/{}", None, link["id"])
    call(alice, "GET /action-tokens", query="?state=cancelled")
    call(alice, "POST /wallets", {"wallet": "sapling", "about": "planted in spring"})
    bundle = {"bundle": {"bundle_size": 2}, "sender_wallet": "alice", "receiver_wallet": "bobby"}
    sent = call(alice, "POST /transfers", bundle)
    call(alice, "GET /wallets/{}/pending-transfers", None, wallet)
    call(alice, "GET /transfers/{}/tokens", None, sent["id"], query=page)
    call(bob, "POST /transfers/{}/accept", {}, sent["id"])
    call(bob, "GET /transfers", query=f"{page}&state=completed&wallet=alice&after=2020&sort_by=created_at")
    call(bob, "GET /transfers/{}", None, sent["id"])
    [token, _] = call(bob, "GET /transfers/{}/tokens", None, sent["id"], query=page)["tokens"]
    call(bob, "GET /tokens", query=page)
    call(bob, "GET /tokens/{}", None, token["id"])
    assert call(bob, "GET /tokens/{}/transactions", None, token["id"], query=page)["history"]
    call(alice, "GET /wallets", query=f"{page}&name=sap&created_at_start_date=2020&order=asc")
    call(alice, "GET /wallets/{}", None, wallet)
    call(alice, "PATCH /wallets/{}", {"display_name": "Alice"}, wallet)
    trust = call(alice, "POST /trust_relationships", {"trust_request_type": "manage", "requestee_wallet": "bobby"})
    call(bob, "POST /trust_relationships/{}/accept", {}, trust["id"])
    call(alice, "GET /trust_relationships", query=f"{page}&search=bob&state=trusted")
    call(alice, "GET /wallets/{}/trust_relationships", None, wallet, query=f"{page}&exclude_managed=false")
    ended = call(bob, "POST /wallets/{}/dismiss", {"manager_wallet": "alice"}, str(bob.wallet.pk))
    assert len(ended["trust_relationships"]) == 1
    assert len(call(bob, "GET /events", query="?limit=50")["events"]) > 5


def test_a_parameter_that_an_endpoint_does_not_know_is_refused(alice: Caller) -> None:
    assert answer(alice.get(f"/wallets/{alice.wallet.pk}?x=1")) == (422, {"code": 422, "message": '"x" is not allowed'})
    assert answer(alice.get("/api/v1/wallets?x=1"))[1]["message"] == '"x" is not allowed'
    assert answer(alice.post("/wallets?x=1", {"wallet": "sapling"}))[0] == 422


@pytest.mark.parametrize("path", ["/docs/", "/docs/partners/", "/docs/clients/", "/docs/glossary/", "/docs/try/"])
def test_a_page_takes_everything_from_this_server_and_runs_nothing_that_is_written_into_it(path: Any) -> None:
    response = Client().get(path)
    page = response.content.decode()

    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert all(source.startswith("/") for source in re.findall(r'src="([^"]*)"', page))
    assert all(source.startswith("/") for source in re.findall(r'<link [^>]*href="([^"]*)"', page))
    assert not re.search(r"<style|<script>|<[^>]* style=|<[^>]* on\w+=", page)


def test_swagger_ui_sends_requests_by_a_script_of_this_server() -> None:
    page = Client().get("/docs/try/").content.decode()
    script = Client().get(re.search(r'src="(/docs/try/[^"]*)"', page)[1])

    assert script["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in script.content


def test_the_reference_has_every_operation_and_every_schema(document: Any) -> None:
    page = Client().get("/docs/").content.decode()
    anchors = re.findall(r' id="([^"]*)"', page)

    assert len(set(anchors)) == len(anchors)
    assert set(OPERATIONS) <= set(anchors)
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= set(anchors)
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(anchors)
    assert "Do not have enough tokens to send" in page


def test_the_reference_says_of_each_operation_and_schema_what_the_document_says(document: Any) -> None:
    shown = {each.id: each for group in reference.groups() for each in group.operations}
    page = Client().get("/docs/").content.decode()
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            operation = shown[told["operationId"]]
            assert (operation.method, operation.path, operation.summary) == (method.upper(), path, told["summary"])
            assert [(each.name, each.place, each.is_required) for each in operation.parameters] == [
                (each["name"], each["in"], each.get("required", False)) for each in told.get("parameters", [])
            ]
            assert all(each.type in page and each.text in page for each in operation.parameters)
            assert [each.media_type for each in operation.bodies] == list(
                told.get("requestBody", {}).get("content", {})
            )
            assert [each.status for each in operation.answers] == sorted(told["responses"])
            assert all(bool(each.messages) is (each.status >= "400") for each in operation.answers)
    for schema in reference.schemas():
        told = document["components"]["schemas"][schema.name]
        assert [(row.name, row.is_required) for row in schema.rows] == [
            (name, name in told.get("required", [])) for name in told.get("properties", {})
        ]
        assert all(row.type in page and row.text in page for row in schema.rows)


@pytest.mark.parametrize("name", ["partners", "clients", "glossary"])
def test_a_page_of_docs_is_whole_and_its_links_lead_somewhere(name: Any) -> None:
    response = Client().get(f"/docs/{name}/")
    page = response.content.decode()
    anchors = set(re.findall(r' id="([^"]*)"', page))

    assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = (COMMITTED.parent / f"{name}.md").read_text(encoding="utf-8")
    assert page.count("<h2 ") == len(re.findall(r"^## ", text, re.M))
    assert page.count("<pre ") == len(re.findall(r"^```", text, re.M)) // 2
    for target in re.findall(r'href="([^"]*)"', page):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith(("https://", "/static/")):
            found = Client().get(target, headers={"accept": "text/html,*/*"})
            assert found.status_code == 200, target


def test_no_other_file_is_shown() -> None:
    assert Client().get("/docs/operations/").status_code == 404
    assert Client().post("/docs/partners/").status_code == 405


def test_html_in_a_text_is_shown_as_text() -> None:
    assert html_of("<script>alert(1)</script> `<b>`") == (
        "<p>&lt;script&gt;alert(1)&lt;/script&gt; <code>&lt;b&gt;</code></p>\n"
    )
    assert "javascript:" not in html_of("[link](javascript:alert(1))").partition("href=")[2]


def test_the_pages_are_in_the_image() -> None:
    folder = COMMITTED.parents[1] / "docker"
    copied = re.search(r"^COPY (docs/.*) docs/$", (folder / "Dockerfile").read_text(), re.M)

    assert copied is not None
    assert copied[1].split() == [f"docs/{name}.md" for name in PAGES]
    ignored = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!docs/{name}.md" for name in PAGES} <= set(ignored)
