"""Movements of several partitions, and a session that wants to detach one while another reads."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection

from config.seals import sealing
from transfers import partitions
from transfers.partitions import SIZE, PartitionRefused


def arrive_at(number: int) -> None:
    """Let the next movement have the id after this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('transfers_arrival', %s)", [number])


def bounds() -> dict[str, tuple[int | None, int | None]]:
    return {each.name: (each.first, each.end) for each in partitions.attached()}


def check_that_nothing_is_detached(*, during: Callable[[], object], at: str) -> None:
    """
    Assert that a detachment is refused when a reader has executed its first statement that matches a pattern.

    Needs a test whose rows are committed.
    """
    before = bounds()
    arrive_at(2 * SIZE)
    sealing.seal(is_due=True)
    outcomes: list[str] = []

    def detach() -> str:
        try:
            return partitions.detach("transfers_movement_from_0", distance=0).name
        except PartitionRefused as error:
            return str(error)[:15]
        finally:
            connection.close()

    def after_the_statement(execute: Any, sql: str, *rest: Any) -> Any:
        answer = execute(sql, *rest)
        if re.search(at, sql) and not outcomes:
            with ThreadPoolExecutor(1) as pool:
                outcomes.append(pool.submit(detach).result(timeout=60))
        return answer

    with connection.execute_wrapper(after_the_statement):
        during()
    assert outcomes == ["Another session"]
    assert bounds() == before
