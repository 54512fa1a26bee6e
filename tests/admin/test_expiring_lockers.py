"""Pages of lockers that expire, and of their tasks."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.test import Client
from django.utils import timezone

from lockers.models import Coin, Locker, LockerTask
from lockers.states import CoinState
from tests.lockers.stock import stock

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def locker(ledger: SimpleNamespace) -> Locker:
    found = Locker.objects.get()
    (row,) = stock(found.wallet, 0)
    Coin.objects.filter(pk=row.pk).update(state=CoinState.LOCKED, locker=found)
    return found


def texts(desk: Client, locker: Locker) -> list[str]:
    """Return the pages of the locker and of its task."""
    task = LockerTask.objects.get(locker=locker)
    paths = (f"locker/{locker.pk}", f"lockertask/{task.pk}")
    return [desk.get(f"/admin/lockers/{path}/change/").content.decode() for path in paths]


def test_a_locker_that_does_not_expire_says_nothing_of_it(desk: Client, locker: Locker) -> None:
    assert not any("expires" in text or "what became of it" in text for text in texts(desk, locker))
    assert "1 locker" not in desk.get("/admin/lockers/locker/?expiry=due").content.decode()


def test_the_pages_say_when_it_expires(desk: Client, locker: Locker) -> None:
    at = timezone.now() + timedelta(days=2)
    Locker.objects.filter(pk=locker.pk).update(expires_at=at, take_back_at=at)

    for text in texts(desk, locker):
        assert f"{at:%Y-%m-%d %H:%M:%S} UTC" in text
        assert "what became of it" not in text


def test_the_pages_say_what_is_not_known_and_when_the_servers_are_asked(desk: Client, locker: Locker) -> None:
    at = timezone.now() + timedelta(hours=3)
    Locker.objects.filter(pk=locker.pk).update(expires_at=AT, take_back_at=at)

    for text in texts(desk, locker):
        assert "Expired on 2026-01-02 at 03:04:05 UTC: not known yet where 1 CloudCoin is" in text
        assert f"{at:%Y-%m-%d %H:%M:%S} UTC" in text
    assert str(locker.pk)[:8] in desk.get("/admin/lockers/locker/?expiry=due").content.decode()


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (10**8, "Taken back on 2026-01-02 at 03:04:05 UTC."),
        (0, "Taken by another holder of the code before it expired."),
    ],
)
def test_the_pages_say_who_has_the_coins(desk: Client, locker: Locker, returned: int, sentence: str) -> None:
    Coin.objects.filter(locker=locker, state=CoinState.LOCKED).update(state=CoinState.SENT)
    Locker.objects.filter(pk=locker.pk).update(
        state="emptied", expires_at=AT, changed_at=AT, returned=returned, returned_at=AT if returned else None
    )

    assert all(sentence in text for text in texts(desk, locker))
    assert str(locker.pk)[:8] not in desk.get("/admin/lockers/locker/?expiry=due").content.decode()
