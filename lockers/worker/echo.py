"""
Echo: whether each server answers, and how fast; for a caller as a task, for operators once a minute.
"""

from typing import Final

from django.conf import settings
from django.db import connection

from lockers import transport
from lockers.raida.commands import Command
from lockers.raida.payloads import encode_empty
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import TaskState
from lockers.transport import Answer, Call
from lockers.worker import circuit_breaker, finalize
from lockers.worker.broadcast import TaskRun

_WRITE: Final = """
INSERT INTO lockers_serverreading AS known (raida, asked_at, outcome, answered_at, latency_ms)
SELECT raida, statement_timestamp(), outcome, CASE WHEN outcome = 'answered' THEN statement_timestamp() END, latency_ms
  FROM unnest(%s::smallint[], %s::text[], %s::int[]) AS given (raida, outcome, latency_ms) ORDER BY raida
ON CONFLICT (raida) DO UPDATE SET
    asked_at = EXCLUDED.asked_at,
    outcome = EXCLUDED.outcome,
    answered_at = coalesce(EXCLUDED.answered_at, known.answered_at),
    latency_ms = coalesce(EXCLUDED.latency_ms, known.latency_ms)
"""


def run(task_run: TaskRun) -> None:
    """Send an echo to all servers, and end the task with what they answered."""
    call = Call(command=Command.ECHO, payloads=dict.fromkeys(range(RAIDA_COUNT), encode_empty()))
    results = transport.ask(task_run.servers, call, until=transport.within(settings.RAIDA_TIMEOUT_SECONDS))
    task_run.circuits.record(results)
    online = [isinstance(results.get(raida), Answer) for raida in range(RAIDA_COUNT)]
    board = "".join("p" if one else "n" for one in online)
    latencies = [
        round(result.elapsed_seconds * 1000) if isinstance(result := results.get(raida), Answer) else None
        for raida in range(RAIDA_COUNT)
    ]
    finalize.finish(
        held=task_run.held,
        state=TaskState.COMPLETED,
        message="",
        result={
            "online": sum(online),
            "pownstring": board,
            "pownarray": [int(one) for one in online],
            "latencies": latencies,
            "raida": board,
            # Servers whose last request failed; while their circuit is open, they are skipped.
            "ailing": [
                {
                    "raida": each.raida,
                    "silences": each.silences,
                    "silent_since": int(each.silent_since.timestamp()),
                    "rests_until": None if each.rest_until is None else int(each.rest_until.timestamp()),
                }
                for each in circuit_breaker.failing()
            ],
        },
    )


def read_servers() -> None:
    """Send an echo to every server, and record the latencies in one statement; circuits are not changed."""
    results = transport.ask(
        transport.servers_from_settings(settings.RAIDA_HOSTS),
        Call(command=Command.ECHO, payloads=dict.fromkeys(range(RAIDA_COUNT), encode_empty())),
        until=transport.within(settings.RAIDA_TIMEOUT_SECONDS),
    )
    rows = [
        (raida, "answered", round(result.elapsed_seconds * 1000)) if isinstance(result, Answer)
        else (raida, result.reason, None)
        for raida, result in sorted(results.items())
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [list(column) for column in zip(*rows, strict=True)])
