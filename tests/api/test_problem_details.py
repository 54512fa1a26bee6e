"""Errors of endpoints that neither of the two services has are problem details (RFC 9457)."""

import json
from typing import Any

import pytest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory

from config.api import errors, openapi
from config.api.error_codes import CODES
from config.api.error_schemas import PROBLEM
from config.api.json_schemas import plain
from config.api.openapi import NOTHING, Access, Takes, describe
from config.api.views import ApiViewSet
from tests.api.caller import Caller
from wallets.errors import WalletNotFound

HELP = "https://trees.example/ledger/docs/errors#"
PATHS = ["/webhooks", "/webhooks/", "/webhooks/a/b/c", "/api/v1/payment-requests", "/api/v1/payment-requests/a/b/c"]


class Failing(ApiViewSet):
    """A view without credentials that fails in the way that its test names."""

    authentication_classes = []
    permission_classes = []
    error: Exception = WalletNotFound("Could not find entity")

    def list(self, request: Request) -> Response:
        raise self.error


def problem(path: str, error: Exception) -> tuple[Any, dict[str, Any]]:
    """Return the response of a view at `path` that raises the error, and its body."""
    request = APIRequestFactory().get(path)
    request.request_id = "0123456789abcdef"
    response = Failing.as_view({"get": "list"}, error=error)(request)
    response.render()
    return response, json.loads(response.content)


@pytest.mark.parametrize("path", PATHS)
def test_an_error_of_a_view_is_a_problem(path: str, settings: Any) -> None:
    settings.PUBLIC_URL, settings.PATH_PREFIX = "https://trees.example/ledger", "/ledger"

    response, body = problem(path, WalletNotFound("Could not find entity"))

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert (response["Error-Code"], response["Link"]) == ("wallet_not_found", f'<{HELP}wallet_not_found>; rel="help"')
    assert body == {
        "type": f"{HELP}wallet_not_found",
        "title": CODES["wallet_not_found"].title,
        "status": 404,
        "detail": "Could not find entity",
        "code": "wallet_not_found",
        "instance": "0123456789abcdef",
    }
    assert body.keys() == plain(PROBLEM).keys()


@pytest.mark.parametrize("path", ["/wallets", "/webhooksabc", "/api/v1/task", "/api/v1/payment-requestsabc"])
def test_an_error_of_another_path_is_not(path: str) -> None:
    response, body = problem(path, WalletNotFound("Could not find entity"))

    assert (response["Content-Type"], body["code"]) == ("application/json", 404)
    assert "detail" not in body


def test_an_unexpected_error_says_nothing_of_its_cause() -> None:
    _, body = problem("/webhooks", RuntimeError("secret"))

    assert (body["status"], body["code"], body["detail"]) == (500, "internal_error", "Unknown error")


@pytest.mark.parametrize("path", ["/webhooks/a/b/c/d", "/api/v1/payment-requests/a/b/c/d"])
def test_an_unknown_path_is_a_problem_with_the_id_of_the_request(alice: Caller, path: str) -> None:
    response = alice.get(path)

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(response.content) == {
        "type": "/docs/errors#path_unknown",
        "title": "There is no such path",
        "status": 404,
        "detail": f"Cannot GET {path}",
        "code": "path_unknown",
        "instance": response["X-Request-Id"],
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [("/webhooks", 401), ("/api/v1/payment-requests", 401), ("/api/v1/task", 401), ("/wallets", 403)],
)
def test_a_missing_bearer_token_is_401(path: str, status: int) -> None:
    assert errors.bearer_refused(path, is_missing=True).status_code == status


@pytest.mark.parametrize(("access", "path"), [(Access.BOTH, "/webhooks"), (Access.BEARER, "/api/v1/payment-requests")])
def test_the_description_of_an_action_has_its_errors_as_problems(
    access: Access, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The document of other tests has no component of this one.
    monkeypatch.setattr(openapi, "COMPONENTS", {})
    monkeypatch.setattr(openapi, "CALLED", {})
    described = describe(
        "nothings.create",
        "Create nothing",
        tag="nothings",
        takes=Takes(body=NOTHING),
        answers=NOTHING,
        refusals=[WalletNotFound("Could not find entity")],
        access=access,
        has_problems=True,
    )

    responses = described._responses("Failing.list")

    refused = {key: each for key, each in responses.items() if key[0] >= 400}
    assert {media_type for _, media_type in refused} == {"application/problem+json"}
    assert {status for status, _ in refused} == {400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503}
    assert all(each.response == PROBLEM.reference for each in refused.values())
    assert all(each.value["status"] == status for (status, _), said in refused.items() for each in said.examples)
    [found] = [each.value for each in refused[404, "application/problem+json"].examples]
    assert found == errors.body_of(path, CODES["wallet_not_found"], "Could not find entity")
