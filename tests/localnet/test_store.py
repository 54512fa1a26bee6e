"""What a server keeps on disk, however its process ends."""

import os
import secrets
from pathlib import Path

import pytest

from lockers.localnet import store as stores
from lockers.localnet.store import SERIAL_NUMBERS, Change, CoinStore, DamagedStore
from lockers.raida.coins import Coin


def coin(number: int, denomination: int = 0) -> bytes:
    return Coin(denomination, number).to_bytes()


def change(number: int, an: bytes | None = None, *, in_use: bool = True) -> Change:
    return Change(coin(number), an or secrets.token_bytes(16), in_use)


def reopened(store: CoinStore, directory: Path) -> CoinStore:
    store.close()
    return CoinStore(directory)


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    store = CoinStore(tmp_path)
    first, second, freed = change(1), change(2), change(1, in_use=False)
    store.write([first, second])
    store.write([freed])

    store = reopened(store, tmp_path)

    assert (store.an(coin(1)), store.is_in_use(coin(1))) == (freed.an, False)
    assert (store.an(coin(2)), store.is_in_use(coin(2))) == (second.an, True)
    assert list(store.coins_in_use()) == [coin(2)]
    store.close()


def test_every_coin_has_a_secret_of_its_own_from_the_beginning(tmp_path: Path) -> None:
    one, other = CoinStore(tmp_path / "one"), CoinStore(tmp_path / "other")
    ans = {store.an(coin(number)) for store in (one, other) for number in (1, 2)}

    assert {len(an) for an in ans} == {16}
    assert len(ans) == 4
    before = one.an(coin(1))
    one = reopened(one, tmp_path / "one")
    assert one.an(coin(1)) == before
    assert not one.is_in_use(coin(1))
    one.close()
    other.close()


def test_a_record_cut_anywhere_is_dropped_and_the_ones_before_stay(tmp_path: Path) -> None:
    store = CoinStore(tmp_path)
    kept, lost = change(1), change(2)
    store.write([kept])
    journal = tmp_path / "journal"
    whole = journal.stat().st_size
    store.write([lost, change(3)])
    data = journal.read_bytes()
    store.close()

    for length in range(whole, len(data)):
        journal.write_bytes(data[:length])
        store = CoinStore(tmp_path)
        assert store.an(coin(1)) == kept.an
        assert store.an(coin(2)) != lost.an
        assert journal.stat().st_size == whole
        store.close()


def test_writing_goes_on_after_a_cut_record(tmp_path: Path) -> None:
    store = CoinStore(tmp_path)
    store.write([change(1)])
    os.truncate(tmp_path / "journal", 20)
    store = reopened(store, tmp_path)
    again = change(1)
    store.write([again])

    store = reopened(store, tmp_path)

    assert store.an(coin(1)) == again.an
    store.close()


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CoinStore(tmp_path)
    kept = change(1)
    store.write([kept])
    size = (tmp_path / "journal").stat().st_size
    real_write = os.write

    def half_a_write(descriptor: int, data: bytes) -> int:
        if len(data) < 30:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(stores.os, "write", half_a_write)
    with pytest.raises(OSError, match="No space"):
        store.write([change(1), change(2)])
    monkeypatch.undo()

    assert (tmp_path / "journal").stat().st_size == size
    assert store.an(coin(1)) == kept.an
    assert not store.is_in_use(coin(2))
    after = change(3)
    store.write([after])
    store = reopened(store, tmp_path)
    assert (store.an(coin(1)), store.an(coin(3))) == (kept.an, after.an)
    store.close()


def test_lockers_are_found_in_the_order_in_which_coins_went_into_them(tmp_path: Path) -> None:
    store = CoinStore(tmp_path)
    key, other = b"k" * 12 + b"\xff" * 4, b"o" * 12 + b"\xff" * 4
    store.write([change(5, key), change(4, other), change(3)])
    store.write([change(1, key)])
    store.write([change(5), change(5, key)])

    store = reopened(store, tmp_path)

    assert {name: list(coins) for name, coins in store.lockers().items()} == {
        other: [coin(4)],
        key: [coin(1), coin(5)],
    }
    store.close()


def test_a_journal_much_longer_than_what_it_says_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_COMPACT_FLOOR", 1000)
    store = CoinStore(tmp_path)
    last = change(1)
    for _ in range(100):
        store.write([change(1)])
    store.write([change(2), last])
    long = (tmp_path / "journal").stat().st_size

    store = reopened(store, tmp_path)

    assert (tmp_path / "journal").stat().st_size < long / 20
    assert store.an(coin(1)) == last.an
    assert store.is_in_use(coin(2))
    store = reopened(store, tmp_path)
    assert store.an(coin(1)) == last.an
    store.close()


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    store = CoinStore(tmp_path / "new")
    store.write([change(1)])

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}
    store.close()


def test_a_seed_that_is_none_is_not_replaced(tmp_path: Path) -> None:
    CoinStore(tmp_path).close()
    (tmp_path / "seed").write_bytes(b"short")

    with pytest.raises(DamagedStore):
        CoinStore(tmp_path)


def test_coins_outside_the_pages_are_not_known() -> None:
    known = [Coin(-8, 0), Coin(6, SERIAL_NUMBERS - 1)]

    assert all(CoinStore.knows(each.to_bytes()) for each in known)
    assert not CoinStore.knows(Coin(0, SERIAL_NUMBERS).to_bytes())
    assert not CoinStore.knows(b"\x07" + bytes(4))
    assert not CoinStore.knows(b"\xf7" + bytes(4))
