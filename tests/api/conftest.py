from collections.abc import Iterator

import pytest

from tests.api.caller import Caller, logged_in
from tests.api.web_server import web_server
from tests.support.counts import forget_counts, forget_failures
from wallets import operations


@pytest.fixture(autouse=True)
def _nobody_failed_to_log_in_yet() -> None:
    forget_failures()
    forget_counts()


@pytest.fixture(scope="module")
def web(django_db_setup: None) -> Iterator[str]:
    with web_server() as running:
        yield running


@pytest.fixture
def address(transactional_db: None, web: str) -> str:
    """`host:port` of a running server."""
    return web


@pytest.fixture
def api_key(db: None) -> str:
    return operations.create_api_key(name="partner")[1]


@pytest.fixture
def alice(api_key: str) -> Caller:
    return logged_in("alice", api_key)


@pytest.fixture
def bob(api_key: str) -> Caller:
    return logged_in("bobby", api_key)
