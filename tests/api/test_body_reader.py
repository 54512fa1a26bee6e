"""Reading a body that is large, compressed or of unknown length: its limits, its end, and the memory that it takes."""

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from config.web import bodies

TOO_LARGE, MALFORMED = "body_too_large", "malformed_request"
RANDOM = random.Random(1).randbytes(100)
ZEROS = bytes(100)


async def arriving(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def read(pieces: Sequence[bytes], *, room: bodies.Room, **headers: str) -> tuple[bytes, str]:
    environ: dict[str, Any] = dict(headers)
    connection: Any = arriving(pieces)
    content, _ = asyncio.run(bodies.read(environ, connection, room=room, largest=100, seconds=5))
    return bytes(content), environ["CONTENT_LENGTH"]


@pytest.mark.parametrize(
    ("pieces", "announced", "expected"),
    [
        ([ZEROS, b""], "100", ZEROS), ([ZEROS, b"+", b""], "101", TOO_LARGE),
        ([ZEROS[:60], ZEROS[60:], b""], None, ZEROS), ([ZEROS, b"+", b""], None, TOO_LARGE),
        # The end is told once; a body that was cut off ends twice, or has another length than was announced.
        ([b"ab", b""], "2", b"ab"), ([b"ab", b"", b""], None, MALFORMED), ([b"ab"], None, MALFORMED),
        ([b"ab", b""], "3", MALFORMED), ([b"abcd", b""], "3", MALFORMED),
    ],
)  # fmt: skip
def test_a_body_is_read_to_its_end_and_up_to_the_limit(
    pieces: Sequence[bytes], announced: str | None, expected: bytes | str
) -> None:
    _assert_read(pieces, expected, **({} if announced is None else {"CONTENT_LENGTH": announced}))


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (gzip.compress(ZEROS), ZEROS), (gzip.compress(ZEROS + b"+"), TOO_LARGE),
        # Of several members, and of none.
        (gzip.compress(b"ab") + gzip.compress(b"cd"), b"abcd"), (b"", b""),
        # Decompressed it is within the limit, and what was sent is not.
        (gzip.compress(RANDOM), TOO_LARGE),
        (gzip.compress(ZEROS)[:-1], MALFORMED), (b"no gzip", MALFORMED),
    ],
    # What is compressed contains the time.
    ids=["at the limit", "above it", "two members", "empty", "sent above it", "cut off", "no gzip"],
)  # fmt: skip
def test_a_compressed_body_keeps_the_limit_before_and_after(packed: bytes, expected: bytes | str) -> None:
    assert len(gzip.compress(RANDOM)) > 100
    _assert_read([packed[:5], packed[5:], b""] if packed else [b""], expected, HTTP_CONTENT_ENCODING="gzip")


def _assert_read(pieces: Sequence[bytes], expected: bytes | str, **headers: str) -> None:
    room = bodies.Room(1000)
    if isinstance(expected, bytes):
        assert read(pieces, room=room, **headers) == (expected, str(len(expected)))
        assert room._free == 1000 - len(expected)
    else:
        with pytest.raises(bodies.Refused) as refusal:
            read(pieces, room=room, **headers)
        assert refusal.value.code.name == expected
        # What is refused takes no memory any more.
        assert room._free == 1000
    assert not room._arriving


@pytest.mark.parametrize(
    ("pieces", "is_read"),
    [([b"a"] * 3, True), ([b"a"] * 4, False), ([ZEROS] * 3, True), ([ZEROS, ZEROS + b"+"], False)],
)
def test_what_is_read_of_a_body_that_is_refused_is_limited_too(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], is_read: bool
) -> None:
    """In bytes, and in pieces, of which each takes the event loop's time."""
    monkeypatch.setattr(bodies, "_MOST_PIECES", 3)
    monkeypatch.setattr(bodies, "_DISCARDED", 300 if len(pieces) == 3 else 200)
    unread = iter([*pieces, b""])

    async def arrive() -> AsyncIterator[bytes]:
        for piece in unread:
            yield piece

    connection: Any = arrive()
    room = bodies.Room(1000)
    with suppress(bodies.Refused):
        asyncio.run(bodies.read({}, connection, room=room, largest=100, seconds=5))
    assert (list(unread) == []) is is_read


@pytest.mark.parametrize(("free", "is_read"), [(100, True), (99, False)])
def test_a_body_that_finds_no_memory_is_refused(free: int, is_read: bool) -> None:
    room = bodies.Room(free)
    if is_read:
        assert read([ZEROS, b""], room=room)[0] == ZEROS
    else:
        with pytest.raises(bodies.Refused) as refusal:
            read([ZEROS, b""], room=room)
        assert (refusal.value.code.name, room._free) == ("service_busy", free)


def test_a_body_that_is_announced_too_large_is_not_read_if_its_client_waits() -> None:
    """Nor if it is larger than what is discarded; otherwise it is read to its end."""
    for announced, expect, is_read in [
        ("101", {}, True),
        ("101", {"HTTP_EXPECT": "100-continue"}, False),
        ("100", {"HTTP_EXPECT": "100-continue"}, True),
        (str(32 * 1024 * 1024), {}, True),
        (str(32 * 1024 * 1024 + 1), {}, False),
    ]:
        unread = iter([ZEROS, b""])

        async def arrive(unread: Any = unread) -> AsyncIterator[bytes]:
            for piece in unread:
                yield piece

        environ: dict[str, Any] = {"CONTENT_LENGTH": announced} | expect
        connection: Any = arrive()
        with suppress(bodies.Refused):
            asyncio.run(bodies.read(environ, connection, room=bodies.Room(1000), largest=100, seconds=5))
        assert (list(unread) == []) is is_read, (announced, expect)


@pytest.mark.parametrize(("coding", "steps"), [("gzip", 3), ("identity", 0)])
def test_others_are_served_between_the_parts_of_a_compressed_body(
    monkeypatch: pytest.MonkeyPatch, coding: str, steps: int
) -> None:
    monkeypatch.setattr(bodies, "_PART_BYTES", 40)
    served = 0

    async def read_beside_another() -> None:
        async def other() -> None:
            nonlocal served
            while True:
                served += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        connection: Any = arriving([gzip.compress(ZEROS) if coding == "gzip" else ZEROS, b""])
        environ: dict[str, Any] = {"HTTP_CONTENT_ENCODING": coding}
        content, _ = await bodies.read(environ, connection, room=bodies.Room(1000), largest=100, seconds=5)
        assert bytes(content) == ZEROS
        beside.cancel()

    asyncio.run(read_beside_another())
    assert served == steps


@pytest.mark.parametrize(("seconds", "is_read"), [(5.0, True), (0.001, False)])
def test_a_body_has_so_many_seconds_and_more_for_what_has_arrived(
    monkeypatch: pytest.MonkeyPatch, seconds: float, is_read: bool
) -> None:
    monkeypatch.setattr(bodies, "BYTES_A_SECOND", 1_000_000)
    room = bodies.Room(1000)

    async def arrive() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"cd", b""):
            await asyncio.sleep(0.02)
            yield piece

    connection: Any = arrive()
    reading = bodies.read({}, connection, room=room, largest=100, seconds=seconds)
    if is_read:
        assert bytes(asyncio.run(reading)[0]) == b"abcd"
    else:
        with pytest.raises(bodies.Refused) as refusal:
            asyncio.run(reading)
        assert (refusal.value.code.name, room._free, room._arriving) == ("request_timeout", 1000, set())
