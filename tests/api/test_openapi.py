"""`/openapi.json` and `/docs/`."""

import re

import pytest
from django.test import Client

from tests.api.caller import answer


@pytest.fixture(scope="module")
def document():
    return Client().get("/openapi.json").json()


def test_the_document_is_openapi_31_and_names_each_path_once(document):
    assert document["openapi"] == "3.1.1"
    assert {"/auth", "/wallets", "/wallets/{wallet_id}", "/tokens", "/tokens/{token_id}"} <= set(document["paths"])
    assert not [path for path in document["paths"] if path.startswith("/wallet/") or path.endswith("/")]


def test_every_described_operation_has_examples_and_every_error(document):
    for path in ("/auth", "/wallets", "/wallets/{wallet_id}", "/tokens", "/tokens/{token_id}"):
        for operation in document["paths"][path].values():
            assert {"200", "401", "403", "422", "429", "500", "503"} <= set(operation["responses"])
            for response in operation["responses"].values():
                assert response["content"]["application/json"]["examples"]


def test_an_answer_is_what_the_document_says(document, alice):
    schema = document["paths"]["/wallets"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    wallet = schema["properties"]["wallets"]["items"]

    _, body = answer(alice.get("/wallets?limit=1"))

    assert list(body["wallets"][0]) == wallet["required"] == list(wallet["properties"])
    assert wallet["properties"]["about"]["type"] == ["string", "null"]


def test_the_page_takes_everything_from_this_server_and_runs_nothing_that_is_written_into_it():
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
