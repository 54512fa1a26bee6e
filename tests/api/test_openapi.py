"""`/openapi.json`, the copy of it in `docs/`, and `/docs/`."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client
from django.urls import get_resolver
from drf_spectacular.validation import validate_schema

from config.api.error_codes import BY_CLASS
from tests.api.caller import Caller, answer
from tests.api.endpoints import endpoints
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
        assert {"400", "401", "422", "500", "503"} <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            for media_type, content in resolved(document, response)["content"].items():
                assert media_type != "application/json" or content["examples"], f"{name} {status}"
        for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            assert media_type == "multipart/form-data" or content["examples"], name


def test_what_endpoints_share_is_named_after_what_it_says(document: Any) -> None:
    names = list(document["components"]["responses"])

    assert {"BearerRefused", "KeyInUse", "TransferNotFound", "LockerExportNotFound", "InvalidTransferId"} <= set(names)
    assert [name for name in names if not name.isalpha()] == []


def test_every_example_fits_its_schema(document: Any) -> None:
    for name, operation in operations(document):
        contents = [
            resolved(document, each)["content"]["application/json"]
            for each in operation["responses"].values()
            if "application/json" in resolved(document, each)["content"]
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
    response = resolved(document, document["paths"]["/wallets"]["get"]["responses"]["200"])
    wallet = response["content"]["application/json"]["schema"]["properties"]["wallets"]["items"]

    _, body = answer(alice.get("/wallets?limit=1"))

    _, later = answer(alice.get("/wallet/v2/wallets?limit=1"))

    assert list(body["wallets"][0]) == wallet["required"]
    assert list(later["wallets"][0]) == list(wallet["properties"])
    assert wallet["properties"]["about"]["type"] == ["string", "null"]


def test_a_parameter_that_an_endpoint_does_not_know_is_refused(alice: Caller) -> None:
    assert answer(alice.get(f"/wallets/{alice.wallet.pk}?x=1")) == (422, {"code": 422, "message": '"x" is not allowed'})
    assert answer(alice.get("/api/v1/wallets?x=1"))[1]["message"] == '"x" is not allowed'
    assert answer(alice.post("/wallets?x=1", {"wallet": "sapling"}))[0] == 422


def test_the_page_takes_everything_from_this_server_and_runs_nothing_that_is_written_into_it() -> None:
    response = Client().get("/docs/")
    page = response.content.decode()

    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in re.sub(r"<!--.*?-->", "", page)
    assert all(source.startswith("/") for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert not re.search(r"<style|<script>| style=| on\w+=", page)
    script = Client().get(re.search(r'src="(/docs/[^"]*)"', page)[1])
    assert script["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in script.content
