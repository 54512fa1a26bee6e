"""What commands do, beyond what the recorded exchanges show."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockers.localnet.bookkeeping import TICKET_SECONDS, TICKET_SLOTS, Bookkeeping, Died
from lockers.localnet.store import SERIAL_NUMBERS, Change, CoinStore
from lockers.raida import payloads
from lockers.raida.authenticity import download_an, fix_an
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import with_coin, with_locker_key
from lockers.transport import Answer
from tests.localnet import requests
from tests.localnet.coins import (
    answer,
    detect,
    detect_with,
    locker_key,
    minted,
    pown,
    put,
    remove,
    tell,
    tell_all,
)
from tests.localnet.requests import CoinAn, CoinAnPan, CoinPan
from tests.support.local_network import LocalNetwork

AN = b"\x5a" * 16


# Kills the recorded servers, so the codec does not know it.
COUNT = SimpleNamespace(group=0, code=3)


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Books:
    """One server's `Bookkeeping` without a network: payload in, status and payload out."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.store = CoinStore(directory)
        self.time = Time()
        self._books = Bookkeeping(raida=3, store=self.store, admin_key=b"a" * 16, clock=self.time, **options)

    def own(self, *coins: Coin) -> list[CoinAn]:
        """Give coins the secret AN, whatever they had before."""
        self.store.write(Change(coin.to_bytes(), AN, in_use=True) for coin in coins)
        return [CoinAn(coin, AN) for coin in coins]

    def holds(self, coin: Coin, an: bytes) -> bool:
        return self.store.an(coin.to_bytes()) == an

    def __call__(self, command: Command, payload: bytes = b"") -> tuple[int, bytes | None]:
        async def no_peer(raida: int, ticket: int) -> list[bytes]:
            return []

        status, body = asyncio.run(self._books.answer(command.group, command.code, payload, ask_peer=no_peer))
        return int(status), body


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Any]:
    books = Books(tmp_path)
    yield books
    books.store.close()


@pytest.fixture
def live_books(tmp_path: Path) -> Iterator[Any]:
    books = Books(tmp_path, live=True)
    yield books
    books.store.close()


@pytest.fixture
def legacy_books(tmp_path: Path) -> Iterator[Any]:
    books = Books(tmp_path / "legacy", legacy_bugs=True)
    yield books
    books.store.close()


# --- lockers -------------------------------------------------------------------------------


def test_put_is_all_or_nothing(books: Any) -> None:
    mine, theirs = Coin(0, 1), Coin(0, 2)
    books.own(mine)
    key = locker_key()

    assert books(Command.PUT, requests.put([CoinAn(mine, AN), CoinAn(theirs, AN)], key)) == (242, None)
    assert books.holds(mine, AN)
    assert books(Command.PEEK, key) == (242, None)


def test_put_checks_length_then_coins_then_sum_then_key(books: Any) -> None:
    (mine,) = books.own(Coin(0, 1))
    coin, bad_key, outside = mine.coin.to_bytes(), bytes(16), Coin(0, SERIAL_NUMBERS).to_bytes()

    assert books(Command.PUT, AN + bad_key) == (16, None)
    assert books(Command.PUT, b"\x00" + outside + AN + bad_key) == (39, None)
    assert books(Command.PUT, outside + bytes(16) + bad_key) == (40, None)
    assert books(Command.PUT, b"\x07" + bytes(4) + bytes(16) + bad_key) == (40, None)
    assert books(Command.PUT, coin + bytes(16) + bad_key) == (242, None)
    assert books(Command.PUT, coin + AN + bad_key) == (199, None)
    assert books.holds(mine.coin, AN)


def test_put_twice_fails_and_two_puts_add_up(books: Any) -> None:
    first, second = books.own(Coin(0, 1), Coin(1, 2))
    key = locker_key()

    assert books(Command.PUT, requests.put([first], key)) == (241, None)
    assert books(Command.PUT, requests.put([first], key)) == (242, None)
    assert books(Command.PUT, requests.put([second], key)) == (241, None)
    assert books(Command.PEEK, key) == (241, first.coin.to_bytes() + second.coin.to_bytes())


def test_remove_always_has_a_bitmap_if_there_is_such_a_locker(books: Any) -> None:
    owned = books.own(*(Coin(0, number) for number in range(8)))
    key = locker_key()
    books(Command.PUT, requests.put(owned, key))
    out = [CoinPan(record.coin, bytes(15) + b"\x01") for record in owned]
    stranger = CoinPan(Coin(0, 99), bytes(16))

    def take(*coins: CoinPan) -> tuple[int, bytes | None]:
        return books(Command.REMOVE, requests.remove(key, coins))

    assert take(stranger) == (242, b"\x00")
    assert take(out[0], stranger, out[1]) == (243, b"\x05")
    assert take(*out) == (243, b"\xfc\x00")
    assert take(*out) == (242, None)
    assert all(books.holds(record.coin, record.pan) for record in out)


def test_remove_does_not_take_a_coin_that_left_the_locker_by_another_way(books: Any) -> None:
    (coin,) = books.own(Coin(0, 1))
    key = locker_key()
    books(Command.PUT, requests.put([coin], key))
    books(Command.POWN, requests.pown([CoinAnPan(coin.coin, key, AN)]))

    theft = requests.remove(key, (CoinPan(coin.coin, bytes(16)),))

    assert books(Command.REMOVE, theft) == (242, b"\x00")
    assert books.holds(coin.coin, AN)
    assert books(Command.PEEK, key) == (242, None)


def test_store_multiple_answers_per_locker(books: Any) -> None:
    one, two, three = books.own(Coin(0, 1), Coin(0, 2), Coin(0, 3))
    keys = [locker_key() for _ in range(3)]
    good = requests.Deposit((one.coin,), AN, keys[0])
    wrong_sum = requests.Deposit((two.coin,), bytes(16), keys[1])
    wrong_key = requests.Deposit((three.coin,), AN, bytes(16))

    assert books(Command.STORE_MULTIPLE, requests.store_multiple((good, wrong_sum, wrong_key))) == (243, b"\x01")
    assert books(Command.PEEK, keys[0]) == (241, one.coin.to_bytes())
    assert books(Command.PEEK, keys[1]) == (242, None)
    assert books(Command.STORE_MULTIPLE, b"\x00") == (198, None)
    assert books(Command.STORE_MULTIPLE, b"") == (16, None)
    assert books(Command.STORE_MULTIPLE, b"\x02" + requests.store_multiple((wrong_sum,))[1:]) == (16, None)


@pytest.mark.parametrize("command", [Command.PUT, Command.DETECT_SUM, Command.POWN_SUM])
def test_a_coin_listed_twice_does_not_pass_a_sum(books: Any, command: Any) -> None:
    (theirs,) = books.own(Coin(0, 1))
    twice = payloads.encode_coins([theirs.coin] * 2) + bytes(16)
    tails = {Command.PUT: locker_key(), Command.DETECT_SUM: b"", Command.POWN_SUM: b"\x01" * 16}

    assert books(command, twice + tails[command]) == (242, None)
    assert books.holds(theirs.coin, AN)


def test_with_legacy_bugs_a_coin_listed_twice_is_stolen(legacy_books: Any) -> None:
    (theirs,) = legacy_books.own(Coin(0, 1))
    key = locker_key()

    theft = legacy_books(Command.PUT, payloads.encode_coins([theirs.coin] * 2) + bytes(16) + key)

    assert theft == (241, None)
    assert legacy_books.holds(theirs.coin, key)


def test_a_coin_powned_twice_in_one_request_follows_the_order_of_the_list(books: Any) -> None:
    (mine,) = books.own(Coin(0, 1))
    rows = [CoinAnPan(mine.coin, AN, b"\x01" * 16), CoinAnPan(mine.coin, b"\x01" * 16, b"\x02" * 16)]

    assert books(Command.POWN, requests.pown(rows)) == (241, None)
    assert books.holds(mine.coin, b"\x02" * 16)


def test_detect_counts_a_coin_outside_the_pages_as_false_and_find_refuses_it(books: Any) -> None:
    (mine,) = books.own(Coin(0, 1))
    outside = Coin(0, SERIAL_NUMBERS)

    assert books(Command.DETECT, requests.detect([mine, CoinAn(outside, AN)])) == (243, b"\x01")
    assert books(Command.FIND, requests.rows_an_pan([CoinAnPan(outside, AN, AN)])) == (40, None)
    assert books(Command.GET_TICKET, requests.detect([CoinAn(outside, AN)])) == (40, None)


def test_pown_sum_xors_the_delta_into_every_coin(books: Any) -> None:
    first, second = Coin(0, 1), Coin(0, 2)
    books.store.write([Change(first.to_bytes(), b"\x01" * 16, True), Change(second.to_bytes(), b"\x02" * 16, True)])
    request = payloads.encode_coins((first, second)) + b"\x03" * 16 + b"\xf0" * 16

    assert books(Command.POWN_SUM, request) == (241, None)
    assert books.holds(first, b"\xf1" * 16)
    assert books.holds(second, b"\xf2" * 16)


def test_find_tells_which_secret_a_server_holds(books: Any) -> None:
    coins = [record.coin for record in books.own(Coin(0, 1), Coin(0, 2), Coin(0, 3))]
    rows = [
        CoinAnPan(coins[0], AN, b"x" * 16),
        CoinAnPan(coins[1], b"x" * 16, AN),
        CoinAnPan(coins[2], b"x" * 16, b"y" * 16),
    ]

    assert books(Command.FIND, requests.rows_an_pan(rows)) == (211, b"\x01\x02\x00")
    assert [books(Command.FIND, requests.rows_an_pan([row]))[0] for row in rows] == [209, 210, 208]


# --- lockers over the wire -----------------------------------------------------------------


def test_a_locker_goes_round_with_every_encryption(network: LocalNetwork) -> None:
    records = minted(network, 4)
    raida, key = 5, locker_key()
    owner = with_coin(records[0].coin, records[0].ans[raida])

    stored = tell(network, raida, Command.PUT, put(records[1:], raida, key), encryption=owner)
    peeked = tell(network, raida, Command.PEEK, key, encryption=with_locker_key(key))
    taken = tell(network, raida, Command.REMOVE, remove(records[1:], raida, key), encryption=with_locker_key(key))

    assert isinstance(stored, Answer)
    assert stored.status == 241
    assert isinstance(peeked, Answer)
    assert peeked.payload == payloads.encode_coins([r.coin for r in records[1:]])
    assert isinstance(taken, Answer)
    assert (taken.status, taken.payload) == (241, b"\x07")
    assert answer(network, raida, Command.DETECT, detect(records, raida)) == (241, b"")


def test_a_restart_finds_lockers_again_and_a_forgetful_one_does_not(network: LocalNetwork) -> None:
    records = minted(network, 4)
    raida, key = 9, locker_key()
    assert answer(network, raida, Command.PUT, put(records, raida, key)) == (241, b"")

    network.fault(raida, "restart")
    assert answer(network, raida, Command.PEEK, key) == (241, payloads.encode_coins([r.coin for r in records]))

    network.fault(raida, "forget")
    assert answer(network, raida, Command.PEEK, key) == (242, b"")
    assert answer(network, raida, Command.REMOVE, remove(records, raida, key)) == (242, b"")
    # The coins still have the key for a secret, and can be recovered by it.
    assert answer(network, raida, Command.DETECT, detect_with(records, key)) == (241, b"")


# --- tickets and fix -----------------------------------------------------------------------


def test_a_ticket_is_good_once_per_asker_and_for_five_minutes(books: Any) -> None:
    owned = books.own(Coin(0, 1), Coin(0, 2))
    false = CoinAn(Coin(0, 3), AN)

    assert books(Command.GET_TICKET, requests.detect([false])) == (242, None)
    status, body = books(Command.GET_TICKET, requests.detect([owned[0], false, owned[1]]))
    assert (status, body[:1], len(body)) == (243, b"\x05", 5)

    def validate(asker: int, ticket: bytes = body[1:]) -> tuple[int, bytes | None]:
        return books(Command.VALIDATE_TICKET, bytes((asker,)) + ticket)

    coins = payloads.encode_coins([record.coin for record in owned])
    assert validate(25) == (18, None)
    assert validate(4, bytes(4)) == (43, None)
    assert validate(4) == (250, coins)
    assert validate(4) == (44, None)
    books.time.now += TICKET_SECONDS
    assert validate(5) == (250, coins)
    books.time.now += 1
    assert validate(6) == (43, None)
    assert books(Command.VALIDATE_TICKET, bytes(4)) == (16, None)


def test_tickets_run_out_and_come_back(books: Any) -> None:
    owned = requests.detect(books.own(Coin(0, 1)))
    for _ in range(TICKET_SLOTS):
        assert books(Command.GET_TICKET, owned)[0] == 241

    assert books(Command.GET_TICKET, owned) == (42, None)
    books.time.now += TICKET_SECONDS + 1
    assert books(Command.GET_TICKET, owned)[0] == 241


@pytest.mark.parametrize(("vouching", "status"), [(13, 241), (12, 242)])
def test_fix_needs_thirteen_others_who_vouch_for_the_coin(network: LocalNetwork, vouching: int, status: int) -> None:
    records = minted(network, 4)
    broken, pg = 20, secrets.token_bytes(16)
    tell(network, broken, Command.POWN, pown(records, broken, b"\x01" * 16))
    asked = {raida: detect(records, raida) for raida in range(vouching)}
    tickets = {
        raida: payloads.decode_get_ticket_reply(result.status, result.payload, count=4).ticket
        for raida, result in tell_all(network, Command.GET_TICKET, asked).items()
    }
    request = payloads.encode_fix([r.coin for r in records], pg, [tickets.get(raida) or 0 for raida in range(25)])

    assert answer(network, broken, Command.FIX, request) == (status, b"")

    ans = [fix_an(raida=broken, coin=record.coin, pg=pg) for record in records]
    fixed = requests.detect([CoinAn(record.coin, an) for record, an in zip(records, ans, strict=True)])
    assert answer(network, broken, Command.DETECT, fixed) == (status, b"")
    assert [network.seen(Command.VALIDATE_TICKET, raida) for raida in (0, 13, broken)] == [1, 0, 0]


def test_a_used_ticket_does_not_vouch_again(network: LocalNetwork) -> None:
    records = minted(network, 4)
    result = tell(network, 0, Command.GET_TICKET, detect(records, 0))
    check = bytes((20,)) + result.payload

    assert answer(network, 0, Command.VALIDATE_TICKET, check)[0] == 250
    assert answer(network, 0, Command.VALIDATE_TICKET, check) == (44, b"")


# --- change --------------------------------------------------------------------------------


def serials(operation: int, denomination: int) -> bytes:
    return payloads.encode_get_available_sns(0, payloads.SerialsOperation(operation), denomination)


def test_available_serial_numbers_are_unused_ones_of_the_next_denomination(books: Any) -> None:
    books.own(Coin(1, 0), Coin(1, 2))
    free = b"\x01" + b"".join(number.to_bytes(4, "big") for number in [1, *range(3, 66)])

    assert books(Command.GET_AVAILABLE_SNS, serials(1, 2)) == (250, free)
    assert books(Command.GET_AVAILABLE_SNS, serials(2, 0)) == (250, free)
    assert books(Command.GET_AVAILABLE_SNS, serials(1, -8)) == (40, None)
    assert books(Command.GET_AVAILABLE_SNS, serials(2, 6)) == (40, None)
    assert books(Command.GET_AVAILABLE_SNS, bytes(4) + b"\x03\x00") == (198, None)
    assert books(Command.GET_AVAILABLE_SNS, bytes(4) + b"\x01\x07") == (40, None)
    assert books(Command.GET_AVAILABLE_SNS, bytes(5)) == (16, None)


def changed(session: int, big: Coin, secret: bytes, small: list[Coin]) -> bytes:
    rows = b"".join(coin.to_bytes() + bytes((number,)) * 16 for number, coin in enumerate(small, 1))
    return session.to_bytes(4, "big") + big.to_bytes() + secret + rows


def test_break_gives_ten_for_one_and_join_gives_one_for_ten(books: Any) -> None:
    big, small = Coin(2, 7), [Coin(1, number) for number in range(10)]
    books.own(big)

    assert books(Command.BREAK, changed(9, big, AN, small)) == (41, None)
    assert books(Command.BREAK, changed(0, big, bytes(16), small)) == (242, None)
    assert books(Command.BREAK, changed(0, big, AN, small)) == (250, None)
    assert not books.holds(big, AN)
    assert all(books.holds(coin, bytes((number,)) * 16) for number, coin in enumerate(small, 1))
    assert books(Command.JOIN, changed(0, big, b"n" * 16, small)) == (250, None)
    assert books.holds(big, b"n" * 16)
    # They must not pass any more, or the money would be there twice.
    assert not any(books.holds(coin, bytes((number,)) * 16) for number, coin in enumerate(small, 1))
    assert books(Command.JOIN, changed(0, Coin(2, 8), b"n" * 16, small)) == (242, None)


def test_change_does_not_take_serial_numbers_that_are_in_use(books: Any) -> None:
    big, small = Coin(2, 7), [Coin(1, number) for number in range(10)]
    books.own(big, small[4])

    assert books(Command.BREAK, changed(0, big, AN, small)) == (40, None)
    assert books.holds(big, AN)
    assert books.holds(small[4], AN)
    assert books(Command.BREAK, changed(0, big, AN, [Coin(1, 90)] * 10)) == (40, None)
    assert books(Command.BREAK, changed(0, big, AN, [Coin(0, number) for number in range(10)])) == (40, None)
    assert books(Command.BREAK, changed(0, Coin(-8, 1), AN, small)) == (40, None)
    assert books(Command.BREAK, changed(0, big, AN, small)[:-1]) == (16, None)


def test_one_coin_named_ten_times_does_not_become_ten(books: Any) -> None:
    (small,) = books.own(Coin(1, 1))
    rows = b"".join([small.coin.to_bytes() + AN] * 10)

    assert books(Command.JOIN, bytes(4) + Coin(2, 7).to_bytes() + b"n" * 16 + rows) == (40, None)
    assert books.holds(small.coin, AN)
    assert not books.holds(Coin(2, 7), b"n" * 16)


# --- admin ---------------------------------------------------------------------------------


def test_coins_are_made_by_the_admin_only_and_four_at_a_time(books: Any) -> None:
    coins = tuple(Coin(0, number) for number in range(4))

    def create(coins: tuple[Coin, ...], key: bytes = b"a" * 16, session: int = 0xEEEEEEEE) -> tuple[int, bytes | None]:
        return books(Command.CREATE_COINS, requests.create_coins(coins, key, session))

    old = b"".join(books.store.an(coin.to_bytes()) for coin in coins)
    assert create(coins, b"b" * 16) == (38, None)
    assert create(coins, session=77) == (41, None)
    assert create((*coins[:3], Coin(0, SERIAL_NUMBERS))) == (40, None)
    assert create(coins[:3]) == (16, None)
    assert create(coins) == (250, old)
    assert b"".join(books.store.an(coin.to_bytes()) for coin in coins) != old


def test_counting_coins_does_not_kill_the_server(books: Any, legacy_books: Any) -> None:
    books.own(Coin(-8, 1), Coin(6, 1), Coin(6, 2))
    status, body = books(COUNT)

    assert status == 250
    assert (body[:5], body[-5:]) == (b"\xf8\x00\x00\x00\x01", b"\x06\x00\x00\x00\x02")
    with pytest.raises(Died):
        legacy_books(COUNT)


def test_serial_numbers_in_circulation_are_a_bitmap_for_the_admin(books: Any) -> None:
    books.own(Coin(0, 0), Coin(0, 9), Coin(1, 1))

    status, body = books(Command.GET_ALL_SNS, b"a" * 16 + b"\x00")

    assert (status, body[:8], len(body)) == (250, b"\x00\x00\x01\xf4\x00\x01\x02\x00", 128_005)
    assert books(Command.GET_ALL_SNS, b"b" * 16 + b"\x00") == (38, None)


# --- commands of newer servers -------------------------------------------------------------


def test_an_older_server_does_not_know_the_newer_commands(network: LocalNetwork) -> None:
    for command in (Command.DOWNLOAD, Command.STORE_WITHOUT_SUM, Command.MAKE_CHANGE):
        assert answer(network, 4, command, bytes(32)) == (6, b"")


def test_download_empties_a_locker_and_derives_the_secrets(live_books: Any) -> None:
    owned = live_books.own(Coin(0, 1), Coin(3, 2))
    key, seed = locker_key(), b"s" * 16
    live_books(Command.PUT, requests.put(owned, key))

    assert live_books(Command.DOWNLOAD, key + seed) == (241, payloads.encode_coins([r.coin for r in owned]))
    assert all(live_books.holds(r.coin, download_an(coin=r.coin, seed=seed)) for r in owned)
    assert live_books(Command.DOWNLOAD, key + seed) == (242, None)
    assert live_books(Command.DOWNLOAD, key) == (16, None)


def test_storing_without_a_sum_takes_what_is_genuine(live_books: Any) -> None:
    mine, theirs = live_books.own(Coin(0, 1))[0], Coin(0, 2)
    key = locker_key()
    rows = [CoinAnPan(theirs, AN, key), CoinAnPan(mine.coin, AN, key)]

    assert live_books(Command.STORE_WITHOUT_SUM, requests.rows_an_pan(rows)) == (243, b"\x02")
    assert live_books(Command.PEEK, key) == (241, mine.coin.to_bytes())


def test_making_change_takes_ten_serial_numbers_in_a_row(live_books: Any) -> None:
    (big,) = live_books.own(Coin(1, 1))
    pans = tuple(bytes((number,)) * 16 for number in range(10))

    def change(start: int) -> tuple[int, bytes | None]:
        return live_books(Command.MAKE_CHANGE, requests.make_change(big, start, pans))

    live_books.own(Coin(0, 105))
    assert change(100) == (215, None)
    assert change(SERIAL_NUMBERS - 9) == (40, None)
    assert change(200) == (250, None)
    assert all(live_books.holds(Coin(0, 200 + number), pan) for number, pan in enumerate(pans))
    assert change(300) == (242, None)
