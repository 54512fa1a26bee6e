"""A retry of a task at the moment at which a find settles the coins that the task left open."""

import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from config.admin.actions.lockers import RetryTask
from lockers import current_results
from lockers.models import Coin, LockerTask
from tests.concurrency.races import PATIENCE_SECONDS, kinds, race
from tests.support.ended_tasks import a_task
from wallets import operator_log
from wallets.models import OperatorAction, Wallet
from wallets.operator_log import Operator

pytestmark = pytest.mark.django_db(transaction=True)


class FindAndRetry:
    """A find that settles the coins between the preview of a retry and its effect."""

    def __init__(self, alice: Wallet, monkeypatch: pytest.MonkeyPatch, *, held: bool) -> None:
        self.put = a_task(alice, "put", "limbo", "limbo")
        self._operator = Operator(staff=User.objects.create_superuser("olivia"), confirmation="one", reason="asked")
        self._shown = RetryTask().snapshot(self.put, {})
        self._held = held
        self._followed, self._compared, self._found = threading.Event(), threading.Event(), threading.Event()
        compare = operator_log.compare

        def then_wait(*args: Any) -> None:
            compare(*args)
            self._compared.set()
            assert self._found.wait(timeout=PATIENCE_SECONDS)

        monkeypatch.setattr(operator_log, "compare", then_wait)

    def find(self) -> str:
        with transaction.atomic():
            Coin.objects.update(state="bank", pown="p" * 25)
            current_results.follow(later=a_task(self.put.wallet, "find", "bank", "bank"))
            self._followed.set()
            # With the lock the retry does not come so far before this commits.
            assert self._compared.wait(timeout=0.5 if self._held else PATIENCE_SECONDS) is not self._held
        self._found.set()
        return "found"

    def retry(self) -> str:
        assert self._followed.wait(timeout=PATIENCE_SECONDS)
        RetryTask().run(self._operator, self.put, {}, self._shown)
        return "retried"


def test_a_retry_rests_on_what_the_find_has_settled(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    both = FindAndRetry(alice, monkeypatch, held=True)

    assert kinds(race([both.find, both.retry])) == {"found": 1, "ChangedMeanwhile": 1}

    assert LockerTask.objects.filter(kind="put").count() == 1
    assert not OperatorAction.objects.exists()


def test_without_the_lock_a_retry_begins_what_nobody_was_shown(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(RetryTask, "locks_row", False)
    both = FindAndRetry(alice, monkeypatch, held=False)

    assert kinds(race([both.find, both.retry])) == {"found": 1, "retried": 1}

    assert LockerTask.objects.filter(kind="put").count() == 2
