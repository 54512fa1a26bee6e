"""The id of a request in its answer. tests/config/test_logs_of_processes.py finds it in the log of a worker."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from config import celery
from wallets.request_id import current_request_id


@pytest.mark.parametrize("given", ["4f6f2f9c-3d2b-4b52-9d0a-0c5d2f7f7a11", "a", "A" * 64])
def test_a_well_formed_id_is_taken_over(client: Client, given: Any) -> None:
    assert client.get("/livez", headers={"X-Request-Id": given})["X-Request-Id"] == given


@pytest.mark.parametrize("given", [None, "", "A" * 65, "a b", "a_b", "é", 'x"}', "x\ny", "１２"])
def test_any_other_id_is_replaced(client: Client, given: Any) -> None:
    answer = client.get("/livez", headers={} if given is None else {"X-Request-Id": given})

    assert answer["X-Request-Id"] != given
    assert len(answer["X-Request-Id"]) == 16
    assert int(answer["X-Request-Id"], 16) >= 0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (SimpleNamespace(request_id="of the message", headers={"request_id": "of a header"}), "of the message"),
        (SimpleNamespace(headers={"request_id": "of a header"}), "of a header"),
        (SimpleNamespace(headers=None), "of the task"),
    ],
)
def test_a_task_is_logged_with_the_id_of_its_request_and_what_follows_without(asked: Any, expected: str) -> None:
    celery.set_request_id(task_id="of the task", task=SimpleNamespace(request=asked))
    assert current_request_id() == expected
    celery.reset_request_id()
    assert current_request_id() == ""
