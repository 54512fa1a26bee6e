"""How deep a body is, how many guesses one network has, and who waits for a place to log in."""

import json
import threading
from typing import Any

import pytest
from django.db import connections

from config.api import parsers, throttles
from config.api.errors import RequestRefused
from wallets.errors import InvalidCredentials

DEEPEST = parsers.MAXIMUM_DEPTH


def nested(levels: int) -> bytes:
    return (
        b"[" * (levels // 2)
        + b'{"a":' * (levels - levels // 2)
        + b"1"
        + b"}" * (levels - levels // 2)
        + b"]" * (levels // 2)
    )


@pytest.mark.parametrize(
    "body",
    [
        [{"a": number} for number in range(200)],
        [[number] for number in range(200)],
        {f"key {number}": {"a": [number]} for number in range(200)},
        # Brackets in texts are no levels, nor is a quote that is escaped the end of one.
        ["[{" * 200, '"[{' * 200, "]}" * 200],
    ],
    ids=["objects", "lists", "both", "texts"],
)
def test_a_shallow_body_may_hold_as_many_values_as_it_likes(body: Any) -> None:
    assert parsers.decode(json.dumps(body).encode()) == body


def test_a_body_may_be_so_deep_and_no_deeper() -> None:
    assert json.dumps(parsers.decode(nested(DEEPEST))).encode().replace(b" ", b"") == nested(DEEPEST)

    with pytest.raises(RequestRefused, match=f"more than {DEEPEST} levels"):
        parsers.decode(nested(DEEPEST + 1))


def test_what_comes_behind_a_deep_value_counts_from_where_it_stands() -> None:
    deep = nested(DEEPEST - 1).decode()
    assert len(parsers.decode(f"[{deep},{deep}]".encode())) == 2

    with pytest.raises(RequestRefused, match=f"more than {DEEPEST} levels"):
        parsers.decode(f"[{deep},[{deep}]]".encode())


def guess(address: str, account: int) -> str:
    """Try a wrong password for another account each time, so that only the counter of the address grows."""
    try:
        with throttles.login(kind="wallet", account=f"account {account}", address=address):
            raise InvalidCredentials("Invalid credentials")
    except InvalidCredentials:
        return "wrong"
    except RequestRefused as refused:
        return {429: "too many"}.get(refused.status_code, "another refusal")


@pytest.mark.parametrize(
    ("addresses", "neighbour", "stranger"),
    [
        ("2001:db8:1:2::{:x}", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
    ],
    ids=["a /64", "an IPv4 address seen by a socket of both kinds"],
)
def test_a_network_has_its_guesses_together(db: None, addresses: str, neighbour: str, stranger: str) -> None:
    limit = throttles.FAILURES_PER_ADDRESS

    assert {guess(addresses.format(number), number) for number in range(1, limit + 1)} == {"wrong"}

    assert guess(neighbour, 0) == "too many"
    assert guess(stranger, 0) == "wrong"


def test_who_finds_all_places_taken_waits_until_one_is_free(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "CHECKS_AT_ONCE", 1)
    outcome: list[str] = []

    def wait_and_guess() -> None:
        try:
            outcome.append(guess("192.0.2.1", 1))
        finally:
            connections.close_all()

    waiting = threading.Thread(target=wait_and_guess, daemon=True)
    with throttles.login(kind="wallet", account="another", address="192.0.2.2"):
        waiting.start()
        waiting.join(timeout=0.5)
        assert outcome == []
    waiting.join(timeout=60)

    assert outcome == ["wrong"]
