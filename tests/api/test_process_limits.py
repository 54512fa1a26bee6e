"""The limits of one process, called directly: which counters a request has, and who may wait, send or export."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.http import HttpRequest

from config.api import limits
from config.api.errors import RequestRefused
from lockers.errors import TooManyWaiting
from wallets import redis_servers
from wallets.models import Wallet
from wallets.queries import Credentials

ALICE, BOB, CAROL, DORA = (uuid4() for _ in range(4))
KEY, OTHER = uuid4(), uuid4()


def found(wallet_id: UUID | None, key_id: UUID | None) -> Credentials:
    wallet = None if wallet_id is None else Wallet(pk=wallet_id)
    return Credentials(key_id, False, False, None, wallet, None, None, False)


def test_each_limit_has_a_counter_of_its_own_for_each_caller(settings: Any) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = 60, 70
    settings.TASKS_PER_MINUTE, settings.INQUIRIES_PER_MINUTE = 50, 25
    of_wallet = ("wallet", 60, f"coppice:requests:wallet:{ALICE}", 60)
    of_key = ("api-key", 70, f"coppice:requests:key:{KEY}", 60)
    of_tasks = ("wallet-tasks", 50, f"coppice:tasks:wallet:{ALICE}", 60)
    # In five seconds a twelfth, rounded up.
    of_inquiries = ("wallet-inquiries", 3, f"coppice:inquiries:wallet:{ALICE}", 5)

    def quotas(wallet_id: UUID | None, key_id: UUID | None, *, is_task: bool, is_inquiry: bool) -> list[Any]:
        listed = limits._quotas(found(wallet_id, key_id), is_task=is_task, is_inquiry=is_inquiry)
        return [(each.name, each.limit, each.key, each.window_seconds) for each in listed]

    assert quotas(ALICE, KEY, is_task=False, is_inquiry=False) == [of_wallet, of_key]
    assert quotas(ALICE, KEY, is_task=True, is_inquiry=False) == [of_wallet, of_key, of_tasks]
    assert quotas(ALICE, None, is_task=True, is_inquiry=True) == [of_wallet, of_tasks, of_inquiries]
    assert quotas(None, KEY, is_task=True, is_inquiry=True) == [of_key]
    # 0 is no limit.
    settings.REQUESTS_PER_MINUTE = settings.TASKS_PER_MINUTE = settings.INQUIRIES_PER_MINUTE = 0
    assert quotas(ALICE, KEY, is_task=True, is_inquiry=True) == [of_key]
    settings.REQUESTS_PER_MINUTE_PER_KEY = 0
    assert quotas(ALICE, KEY, is_task=True, is_inquiry=True) == []


@pytest.mark.parametrize(
    ("value", "more", "ends", "asked", "is_admitted"),
    [
        (97, 1, 10.1, 9.1, True), (98, 1, 10.1, 9.1, True), (99, 1, 10.1, 9.1, False), (100, 0, 10.1, 9.1, False),
        # It adds its requests after 2 % of the limit, and after a second, and begins anew with the window.
        (90, 2, 10.1, 9.1, False), (90, 0, 10.1, 9.0, False), (90, 0, 10.0, 9.1, False),
    ],
)  # fmt: skip
def test_what_a_process_admits_without_asking(
    value: int, more: int, ends: float, asked: float, is_admitted: bool
) -> None:
    assert limits._Counter(value, ends, asked, more).admits(100, 10.0) == is_admitted


def test_as_many_calls_wait_as_a_wallet_may_have_at_once(settings: Any) -> None:
    settings.WAITING_CALLS_PER_WALLET = 2
    for wallet_id in (ALICE, BOB, ALICE):
        limits.begin_waiting(wallet_id)
    with pytest.raises(TooManyWaiting):
        limits.begin_waiting(ALICE)
    limits.end_waiting(ALICE)
    limits.begin_waiting(ALICE)
    with pytest.raises(TooManyWaiting):
        limits.begin_waiting(ALICE)

    for wallet_id in (ALICE, BOB, ALICE):
        limits.end_waiting(wallet_id)
    assert not limits._waiting


def test_images_of_a_wallet_and_of_a_key_are_stored_by_few_requests_at_once() -> None:
    def code(wallet_id: UUID, key_id: UUID | None) -> Any:
        with pytest.raises(RequestRefused) as refusal, limits.images_of(wallet_id, api_key_id=key_id):
            pass
        return refusal.value.code

    with limits.images_of(ALICE, api_key_id=KEY):
        first = code(ALICE, OTHER)
        with limits.images_of(BOB, api_key_id=KEY):
            second = code(CAROL, KEY)
            with limits.images_of(CAROL, api_key_id=OTHER):
                pass
        # What ended leaves room for one, and no more.
        with limits.images_of(BOB, api_key_id=KEY):
            third = code(CAROL, KEY)
    assert first != second == third
    assert not limits._sending_images
    assert not limits._images_by_key


def test_exports_are_bounded_by_wallet_by_key_and_in_all() -> None:
    ended: list[UUID] = []

    def lines(wallet_id: UUID) -> Callable[[], Iterator[str]]:
        def read() -> Iterator[str]:
            try:
                yield from "ab"
            finally:
                ended.append(wallet_id)

        return read

    def export(wallet_id: UUID, key_id: UUID | None) -> limits.Export:
        return limits.Export(wallet_id, lines(wallet_id), api_key_id=key_id)

    def is_refused(wallet_id: UUID, key_id: UUID | None) -> bool:
        with pytest.raises(RequestRefused) as refusal:
            export(wallet_id, key_id)
        return refusal.value.status_code == 429

    with ExitStack() as opened:
        first = export(ALICE, KEY)
        opened.callback(first.close)
        assert is_refused(ALICE, OTHER)
        assert is_refused(BOB, KEY)
        second = export(BOB, None)
        opened.callback(second.close)
        assert is_refused(CAROL, OTHER)
        assert next(iter(first)) == "a"
        first.close()
        # Without a key none shares it.
        third = export(CAROL, None)
        opened.callback(third.close)
        assert is_refused(DORA, OTHER)
        assert (list(third), list(third)) == (["a", "b"], [])
    assert not limits._exporting
    assert ended == [ALICE, CAROL]


def test_a_wallet_has_one_proof_at_once() -> None:
    with limits.proof_for(ALICE), limits.proof_for(BOB), pytest.raises(RequestRefused), limits.proof_for(ALICE):
        pass
    assert not limits._proving


def test_what_a_request_is_told_of_its_limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = 60, 70
    settings.TASKS_PER_MINUTE, settings.INQUIRIES_PER_MINUTE = 50, 0
    policy = '"wallet";q=60;w=60, "api-key";q=70;w=60, "wallet-tasks";q=50;w=60'
    for counted, is_refused, told, wait in [
        (
            [(1, 59.2), (70, 8.0), (3, 0.2)],
            False,
            '"wallet";r=59;t=60, "api-key";r=0;t=8, "wallet-tasks";r=47;t=1',
            None,
        ),
        # Refused until the last of those that are used up begins anew.
        ([(60, 9.0), (71, 8.5), (3, 50.0)], True, '"wallet";r=0;t=9, "api-key";r=0;t=9, "wallet-tasks";r=47;t=50', 9),
        ([(9, 59.0), (9, 8.0), (51, 0.0)], True, '"wallet";r=51;t=59, "api-key";r=61;t=8, "wallet-tasks";r=0;t=1', 1),
    ]:
        monkeypatch.setattr(limits, "_count_shared", lambda _, each=counted, is_refused=is_refused: (each, is_refused))
        request: Any = HttpRequest()
        with pytest.raises(RequestRefused) if is_refused else nullcontext() as refusal:
            limits.count(request, found(ALICE, KEY), is_task=True, is_inquiry=True)
        assert request.limit_headers == {"RateLimit-Policy": policy, "RateLimit": told}
        assert (None if refusal is None else refusal.value.headers) == (wait and {"Retry-After": str(wait)})

    # While the server is away nothing is limited, and nothing said.
    def away(_: object) -> None:
        raise redis_servers.Away

    monkeypatch.setattr(limits, "_count_shared", away)
    request = HttpRequest()
    limits.count(request, found(ALICE, KEY), is_task=False, is_inquiry=False)
    assert not hasattr(request, "limit_headers")


def test_a_process_counts_a_request_in_all_counters_or_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_counters", {})
    quotas = [limits._Quota("wallet", 100, "one"), limits._Quota("api-key", 200, "other")]
    now = time.monotonic()
    assert limits._count_here(quotas) is None
    limits._counters["one"] = limits._Counter(10, now + 30, now, 1)
    assert limits._count_here(quotas) is None
    assert limits._counters["one"].more == 1
    limits._counters["other"] = limits._Counter(20, now + 40, now, 3)

    counted = limits._count_here(quotas)

    assert counted is not None
    assert [number for number, _ in counted] == [12, 24]
    assert [round(seconds) for _, seconds in counted] == [30, 40]
    assert [limits._counters[name].more for name in ("one", "other")] == [2, 4]
    # The first has told the server of two more, and does so again.
    assert limits._count_here(quotas) is None
    assert [limits._counters[name].more for name in ("one", "other")] == [2, 4]


def test_a_refusal_is_repeated_for_a_second_to_its_caller_and_its_action(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now))

    def is_repeated(bearer: str, action: str, request: Any = None) -> bool:
        try:
            limits.refuse_again(HttpRequest() if request is None else request, bearer=bearer, action=action)
        except TooManyWaiting:
            return True
        return False

    assert not is_repeated("a", "put")
    first: Any = HttpRequest()
    first.credentials, first.limit_headers = found(ALICE, KEY), {"RateLimit": "x"}
    limits.note_refusal(first, TooManyWaiting(1), bearer="a", action="put")
    assert [is_repeated(*each) for each in (("a", "put"), ("b", "put"), ("a", "take"), ("", "put"))] == [
        True, False, False, False,
    ]  # fmt: skip
    # With the credentials and the header fields of the first, unless it has its own.
    plain, authenticated = HttpRequest(), HttpRequest()
    authenticated.credentials = found(BOB, KEY)  # type: ignore[attr-defined]
    for request, wallet_id, told in ((plain, ALICE, {"RateLimit": "x"}), (authenticated, BOB, None)):
        assert is_repeated("a", "put", request)
        assert request.credentials.wallet.pk == wallet_id  # type: ignore[attr-defined]
        assert getattr(request, "limit_headers", None) == told
    # A refusal that was repeated begins no further second.
    now = 100.9
    assert is_repeated("a", "put")
    limits.note_refusal(HttpRequest(), TooManyWaiting(2), bearer="a", action="put")
    now = 101.0
    assert not is_repeated("a", "put")
    limits.note_refusal(HttpRequest(), TooManyWaiting(3), bearer="a", action="put")
    assert is_repeated("a", "put")
    # As many are kept as may be.
    monkeypatch.setattr(limits, "_REFUSED_AT_MOST", 2)
    limits.note_refusal(first, TooManyWaiting(4), bearer="b", action="put")
    assert len(limits._refusals) == 2
    limits.note_refusal(first, TooManyWaiting(5), bearer="c", action="put")
    assert [is_repeated(bearer, "put") for bearer in "abc"] == [False, False, True]


def test_as_many_counters_are_kept_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_counters", {})
    monkeypatch.setattr(limits, "_COUNTERS_AT_MOST", 2)
    for name, kept in [("a", {"a"}), ("b", {"a", "b"}), ("c", {"c"})]:
        limits._count_shared([limits._Quota("wallet", 100, f"coppice:requests:{uuid4()}:{name}")])
        assert {key[-1] for key in limits._counters} == kept


def test_a_request_that_a_process_admits_itself_is_not_refused(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = 60, 0
    monkeypatch.setattr(limits, "_counters", {})
    now = time.monotonic()
    limits._counters[f"coppice:requests:wallet:{ALICE}"] = limits._Counter(58, now + 30, now, 0)
    for rest in (1, 0):
        request: Any = HttpRequest()
        monkeypatch.setattr(limits, "_ASK_AFTER_SHARE", 1)
        limits.count(request, found(ALICE, KEY), is_task=False, is_inquiry=False)
        assert request.limit_headers["RateLimit"].startswith(f'"wallet";r={rest};t=')
