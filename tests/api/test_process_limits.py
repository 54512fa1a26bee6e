"""The limits of one process, called directly: which counters a request has, and who may wait, send or export."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest

from config.api import limits
from config.api.errors import RequestRefused
from lockers.errors import TooManyWaiting
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
