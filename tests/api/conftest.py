from collections.abc import Iterator

import pytest

from config.api import throttles
from tests.api.web_server import web_server


@pytest.fixture(autouse=True)
def _nobody_failed_to_log_in_yet() -> None:
    throttles.forget_failures()


@pytest.fixture
def address(transactional_db: None) -> Iterator[str]:
    """`host:port` of a running server."""
    with web_server() as running:
        yield running
