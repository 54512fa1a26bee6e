"""From where an account has logged in before: of which account, for how long, and how many are kept."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from config.api import throttles
from wallets import origins, redis_servers
from wallets.models import KnownOrigin
from wallets.states import OriginMeans

ADDRESS, KEY = OriginMeans.ADDRESS, OriginMeans.API_KEY
HERE: Any = {ADDRESS: "192.0.2.1", KEY: "k"}


@pytest.mark.django_db
def test_an_origin_is_known_to_its_account_by_its_means_for_ninety_days() -> None:
    origins.remember(kind="wallet", account="alice", origins=HERE)

    def known(kind: str = "wallet", account: str = "alice", come_from: Any = HERE) -> list[OriginMeans]:
        return origins.known(kind=kind, account=account, origins=come_from)

    assert known() == sorted([ADDRESS, KEY])
    assert known(come_from={ADDRESS: "192.0.2.1"}) == [ADDRESS]
    # One text is not known by the other means.
    assert known(come_from={ADDRESS: "k", KEY: "192.0.2.1"}) == []
    assert (known(kind="desk"), known(account="bob"), known(come_from={})) == ([], [], [])
    for days, is_known in ((89.99, True), (90.01, False)):
        with transaction.atomic():
            KnownOrigin.objects.update(last_login_at=timezone.now() - timedelta(days=days))
            assert (bool(known()), origins.expired().count()) == ((True, 0) if is_known else (False, 2))
            transaction.set_rollback(True)


@pytest.mark.django_db
def test_the_newest_origins_of_each_means_of_an_account_are_kept() -> None:
    neighbours = [("wallet", "bob"), ("desk", "alice")]
    for kind, account in neighbours:
        for number in range(3):
            origins.remember(kind=kind, account=account, origins={ADDRESS: str(number), KEY: str(number)})
    now = timezone.now()
    for means, most in origins.AT_MOST.items():
        for number in range(most):
            origins.remember(kind="wallet", account="alice", origins={means: str(number)})
            known = KnownOrigin.objects.filter(kind="wallet", account="alice", means=means.value)
            known.filter(pk=known.latest("pk").pk).update(last_login_at=now - timedelta(hours=20 - number))

    def kept(means: OriginMeans) -> set[int]:
        numbers = range(-1, 20)
        return {
            number for number in numbers if origins.known(kind="wallet", account="alice", origins={means: str(number)})
        }

    assert (kept(ADDRESS), kept(KEY)) == (set(range(16)), set(range(4)))
    origins.remember(kind="wallet", account="alice", origins={KEY: "-1"})
    assert (kept(ADDRESS), kept(KEY)) == (set(range(16)), {-1, 1, 2, 3})
    for kind, account in neighbours:
        assert KnownOrigin.objects.filter(kind=kind, account=account).count() == 6


def test_a_counter_of_a_process_has_a_window_that_begins_with_its_first_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(redis_servers, "time", SimpleNamespace(monotonic=lambda: now))
    counts = redis_servers.Counts()

    assert (counts.count("a"), counts.seconds("a")) == (0, 1)
    counts.take_back("a")
    counts.add("a", 10)
    now += 4
    counts.add("a", 10)
    counts.add("b", 10)
    assert (counts.count("a"), counts.seconds("a"), counts.count("b"), counts.seconds("b")) == (2, 6, 1, 10)
    counts.take_back("a")
    assert (counts.count("a"), counts.seconds("a"), counts.count("b")) == (1, 6, 1)
    now += 6
    assert (counts.count("a"), counts.count("b")) == (0, 1)
    counts.add("a", 10)
    assert (counts.count("a"), counts.seconds("a")) == (1, 10)
    monkeypatch.setattr(redis_servers.Counts, "_AT_MOST", 2)
    now += 9
    counts.add("c", 10)
    # Those that have ended make room.
    assert set(counts._counts) == {"a", "c"}


@pytest.mark.django_db
def test_a_login_without_an_api_key_makes_its_address_known_and_no_missing_key() -> None:
    """Otherwise all who send no key would come from a known origin."""
    with throttles.login(kind="desk", account="olga", address="192.0.2.1"):
        pass

    assert [each.means for each in KnownOrigin.objects.filter(account="olga")] == [ADDRESS.value]


def test_a_shared_counter_has_a_window_that_begins_with_its_first_count(settings: Any) -> None:
    counts, key = redis_servers.SharedCounts(60), f"coppice:test:{timezone.now().timestamp()}"
    counts.add(settings.REDIS_URL, [key])
    redis_servers.client(settings.REDIS_URL).expire(key, 20)

    assert counts.add(settings.REDIS_URL, [key])[0][0] == 2
    ((number, seconds),) = counts.read(settings.REDIS_URL, [key])
    assert number == 2
    assert 0 < seconds <= 20
