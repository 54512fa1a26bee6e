"""Requests without a body."""

import json
import re
from typing import Any

import pytest
from django.urls import get_resolver

from config.api.openapi_document import document, message_of
from tests.api.caller import Caller
from tests.api.endpoints import endpoints

pytestmark = pytest.mark.usefixtures("transactional_db")


ID = "0b5d4b1e-0000-4000-8000-000000000001"


def _without_body() -> list[str]:
    """Return the paths of actions that read a body without fields."""
    return [path for _, path, action in endpoints(get_resolver()) if getattr(action, "needs_no_body", False)]


def test_the_description_says_which_actions_need_no_body() -> None:
    optional = {
        path
        for path, operations in document()["paths"].items()
        for operation in operations.values()
        if operation.get("requestBody", {}).get("description", "").startswith("May be omitted")
    }

    assert optional == set(_without_body())
    assert len(optional) == 9
    for path in optional:
        assert document()["paths"][path]["post"]["requestBody"]["required"] is False
    assert document()["paths"]["/transfers"]["post"]["requestBody"]["required"] is True


@pytest.mark.parametrize("path", _without_body())
def test_an_action_without_fields_needs_neither_body_nor_content_type(alice: Caller, path: Any) -> None:
    path = re.sub(r"\{\w+\}", ID, path)

    without = alice.post(path, content_type=None)
    typed = alice.post(path, content_type="application/json")
    filled = alice.post(path, b"{}", content_type=None)

    assert without.status_code in {403, 404}
    told, expected = ({**json.loads(each.content), "instance": ""} for each in (typed, without))
    assert (typed.status_code, told) == (without.status_code, expected)
    message = message_of(json.loads(filled.content))
    assert (filled.status_code, message) == (415, "Invalid content type. API only supports application/json")
