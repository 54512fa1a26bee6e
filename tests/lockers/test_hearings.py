"""Where answers go that arrive after 13 servers have decided: to the worker, or to the thread that writes them."""

from uuid import UUID

import pytest

from lockers.raida.statuses import Status
from lockers.transport import Answer, Results
from lockers.worker import listening
from lockers.worker.listening import Hearing, LastOf

TASK = UUID(int=1)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Results]:
    found: list[Results] = []
    monkeypatch.setattr(listening._writer, "put", lambda hearing, results: found.append(results))
    return found


def a_hearing() -> Hearing:
    return Hearing(TASK, lambda results: None)


def answers(*raidas: int) -> Results:
    return {raida: Answer(raida, Status.ALL_PASS, b"", 0.0) for raida in raidas}


def test_answers_are_kept_for_the_worker_until_the_task_has_ended(written: list[Results]) -> None:
    hearing = a_hearing()
    hearing._hear(answers(1))
    hearing._hear(answers(2))
    assert hearing.taken() == answers(1, 2)
    assert hearing.taken() == {}

    hearing._hear(answers(3))
    hearing.keep(answers(2))
    assert written == []
    hearing.task_has_ended()
    assert written == [answers(2, 3)]
    hearing._hear(answers(4))
    assert written == [answers(2, 3), answers(4)]
    assert hearing.taken() == {}


def test_nothing_is_written_without_answers_or_of_a_call_that_was_dropped(written: list[Results]) -> None:
    """Another worker has the task, and has asked again."""
    a_hearing().task_has_ended()
    dropped = a_hearing()
    dropped._hear(answers(1))
    dropped.drop()
    dropped._hear(answers(2))
    dropped.task_has_ended()

    assert written == []
    assert dropped.taken() == {}


def test_a_process_listens_to_so_many_calls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_open", set())
    monkeypatch.setattr(listening, "_MOST", 2)
    first, second = (listening.begin(TASK, lambda results: None) for _ in range(2))
    assert first is not None
    assert second is not None
    assert listening.begin(TASK, lambda results: None) is None

    first.over()

    assert listening.begin(TASK, lambda results: None) is not None


def test_of_several_calls_the_last_one_is_listened_to(monkeypatch: pytest.MonkeyPatch, written: list[Results]) -> None:
    monkeypatch.setattr(listening, "_open", set())
    last = LastOf(TASK, lambda results: None)
    first, second = last.begin(), last.begin()
    assert first is not None
    assert second is not None
    for raida, hearing in ((1, first), (2, second)):
        hearing._hear(answers(raida))

    last.task_has_ended()
    # What is heard after the end of the task is not discarded.
    last.drop()
    second._hear(answers(3))

    assert written == [answers(2), answers(3)]
