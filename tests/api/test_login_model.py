"""
Who may try a password, in Redis and without it, compared with a model of ten lines.

The limits are small here, so that a random walk of attempts meets all of them.
"""

import random
from collections import Counter
from typing import Any, Final

import pytest

from config.api import throttles
from config.api.errors import RequestRefused
from tests.support.counts import forget_failures
from wallets.errors import InvalidCredentials
from wallets.redis_servers import Counts, client

PER_ACCOUNT, PER_ADDRESS = 3, 5
ACCOUNTS: Final = ("alice", "bobby")
ADDRESSES: Final = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
KINDS: Final = ("wallet", "desk")


class Model:
    """Failures by address and account of each kind, and by known origin; the origins that have logged in."""

    def __init__(self) -> None:
        self.failures: Counter[Any] = Counter()
        self.known: set[Any] = set()

    def attempt(self, kind: str, account: str, address: str, *, is_right: bool) -> str:
        is_known = (kind, account, address) in self.known
        at = ("address", kind, address, is_known)
        of = ("account", kind, account)
        mine = ("origin", kind, account, address) if is_known else of
        if self.failures[at] >= PER_ADDRESS or self.failures[mine] >= PER_ACCOUNT:
            return "too many"
        if is_right:
            self.known.add((kind, account, address))
            return "in"
        self.failures.update({at, of, mine})
        return "wrong"


def attempt(kind: str, account: str, address: str, *, is_right: bool) -> str:
    try:
        with throttles.login(kind=kind, account=account, address=address):
            if not is_right:
                raise InvalidCredentials("Invalid credentials")
    except InvalidCredentials:
        return "wrong"
    except RequestRefused as refused:
        wait = int(refused.headers["Retry-After"])
        is_in_words = refused.status_code == 429 and 1 <= wait <= throttles.WINDOW_SECONDS
        return "too many" if is_in_words else f"another refusal: {refused.status_code}, {wait} s"
    return "in"


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("where", ["in Redis", "in the process"])
def test_attempts_are_admitted_as_the_model_says(
    where: str, seed: int, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_failures()
    monkeypatch.setattr(throttles, "FAILURES_PER_ACCOUNT", PER_ACCOUNT)
    monkeypatch.setattr(throttles, "FAILURES_PER_ADDRESS", PER_ADDRESS)
    monkeypatch.setattr(throttles, "_here", Counts())
    if where == "in the process":
        settings.REDIS_URL = "unix:///nowhere/at/all.sock"
    random_ = random.Random(seed)
    model, said = Model(), Counter[str]()
    # Each walk begins with a wallet that is known at its address, and one that never logs in there.
    steps = [("wallet", "alice", ADDRESSES[0], True)]
    steps += [
        (random_.choice(KINDS), random_.choice(ACCOUNTS), random_.choice(ADDRESSES), random_.random() < 0.25)
        for _ in range(70)
    ]

    for number, (kind, account, address, is_right) in enumerate(steps):
        expected = model.attempt(kind, account, address, is_right=is_right)
        assert attempt(kind, account, address, is_right=is_right) == expected, (number, steps[: number + 1])
        said[expected] += 1

    assert min(said[each] for each in ("in", "wrong", "too many")) > 3


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["in Redis", "in the process"])
@pytest.mark.parametrize(
    ("account", "by_address", "by_key", "is_admitted"),
    [
        (0, 0, 0, True),
        (PER_ACCOUNT, PER_ACCOUNT, 0, True),
        (PER_ACCOUNT, 0, PER_ACCOUNT, True),
        (PER_ACCOUNT, PER_ACCOUNT, PER_ACCOUNT, False),
        # The window of the account has ended, and those of the origins have not.
        (0, PER_ACCOUNT, PER_ACCOUNT, False),
    ],
)
def test_a_client_of_two_known_origins_is_admitted_while_one_of_them_has_room(
    where: str,
    account: int,
    by_address: int,
    by_key: int,
    is_admitted: bool,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_failures()
    monkeypatch.setattr(throttles, "FAILURES_PER_ACCOUNT", PER_ACCOUNT)
    monkeypatch.setattr(throttles, "_here", Counts())
    known = {"address": ADDRESSES[0], "api_key": "a key"}
    keys = throttles._keys("wallet", "alice", ADDRESSES[0], known)
    for key, failures in zip(keys[2:], (account, by_address, by_key), strict=True):
        for _ in range(failures):
            throttles._here.add(key, throttles.WINDOW_SECONDS)
        if failures:
            client(settings.REDIS_URL).set(key, failures, ex=throttles.WINDOW_SECONDS)

    def admit() -> None:
        if where == "in Redis":
            throttles._admit(keys, "a slot")
        else:
            throttles._admit_here(keys)

    if is_admitted:
        admit()
    else:
        with pytest.raises(RequestRefused, match="Too many login attempts"):
            admit()
    forget_failures()


def test_the_slot_of_a_process_that_died_is_free_when_its_lease_ends(settings: Any) -> None:
    """Also while other logins come, which keep the slots."""
    forget_failures()
    keys = throttles._keys("wallet", "alice", ADDRESSES[0])
    dead = {f"dead {number}": 1 for number in range(throttles.CHECKS_AT_ONCE)}
    client(settings.REDIS_URL).zadd(keys[0], dead)

    throttles._admit(keys, "a slot")

    assert client(settings.REDIS_URL).zrange(keys[0], 0, -1) == [b"a slot"]
    forget_failures()


def test_a_counter_ends_with_its_window_and_not_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("wallets.redis_servers.time.monotonic", lambda: now)
    counts = Counts()

    counts.add("a", 60)
    counts.add("b", 60)
    now += 40
    # What is taken back does not begin the window anew.
    counts.take_back("a")
    counts.take_back("a")
    counts.add("a", 60)
    counts.add("b", 60)
    assert [(counts.count(key), counts.seconds(key)) for key in "ab"] == [(1, 20), (2, 20)]
    now += 19.5
    assert [(counts.count(key), counts.seconds(key)) for key in "ab"] == [(1, 1), (2, 1)]
    now += 0.5
    assert [(counts.count(key), counts.seconds(key)) for key in "abc"] == [(0, 1), (0, 1), (0, 1)]
    counts.add("a", 60)
    assert (counts.count("a"), counts.seconds("a")) == (1, 60)
