"""Clients of the package over the product, in the process of the test."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from coppice_client import Client, Retries
from django.test import Client as DjangoClient

from tests.api.caller import Caller, logged_in
from tests.support.counts import forget_failures
from wallets import operations

ADDRESS = "http://testserver"
QUICK = Retries(pauses=(0.001, 0.001, 0.001))

Handle = Callable[[httpx2.Request], httpx2.Response]


class Network(httpx2.BaseTransport):
    """
    Passes requests to the product, and does to some what a network does.

    `faults` are used up one for each request: each gets the request and a function that hands it over.
    """

    def __init__(self) -> None:
        self._product = DjangoClient(raise_request_exception=False)
        self.faults: list[Callable[[httpx2.Request, Handle], httpx2.Response]] = []
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)(request, self.deliver)
        return self.deliver(request)

    def deliver(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if not name.startswith("content-")}
        answer = self._product.generic(
            request.method,
            request.url.raw_path.decode(),
            request.read(),
            content_type=request.headers.get("Content-Type", ""),
            headers=headers,
        )
        return httpx2.Response(
            answer.status_code, headers=list(answer.items()), content=answer.content, request=request
        )

    def client(self, caller: Caller | None = None, **options: Any) -> Client:
        api_key, token = (None, None) if caller is None else (caller.api_key, caller.bearer)
        options = {"api_key": api_key, "token": token, "retries": QUICK} | options
        return Client(ADDRESS, http=httpx2.Client(base_url=ADDRESS, transport=self), **options)


def lost_answer(request: httpx2.Request, deliver: Handle) -> httpx2.Response:
    """The product does its work, and the answer does not arrive."""
    deliver(request)
    raise httpx2.ReadError("lost")


def lost_request(request: httpx2.Request, deliver: Handle) -> httpx2.Response:
    """The connection breaks while the request is sent."""
    raise httpx2.WriteError("lost")


def unreachable(request: httpx2.Request, deliver: Handle) -> httpx2.Response:
    raise httpx2.ConnectError("refused")


def answering(status: int, body: Any = None, **headers: str) -> Callable[[httpx2.Request, Handle], httpx2.Response]:
    """Answer in the product's place, as a proxy or a limit does."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(request: httpx2.Request, deliver: Handle) -> httpx2.Response:
        return httpx2.Response(status, json=body, headers=fields, request=request)

    return answer


@pytest.fixture(autouse=True)
def _no_login_has_failed_yet() -> None:
    forget_failures()


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def api_key(db: None) -> str:
    return operations.create_api_key(name="partner")[1]


@pytest.fixture
def alice(api_key: str) -> Caller:
    return logged_in("alice", api_key)


@pytest.fixture
def bob(api_key: str) -> Caller:
    return logged_in("bob", api_key)
