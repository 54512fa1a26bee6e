from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from lockers.localnet import minting
from lockers.localnet.minting import MintingFailed
from lockers.raida.authenticity import created_an
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.files import read_file
from lockers.transport import Answer
from tests.localnet.coins import detect, new_coins, tell_all
from tests.support.local_network import LocalNetwork


def passing(network: LocalNetwork, records: Any) -> list[int]:
    results = tell_all(network, Command.DETECT, {raida: detect(records, raida) for raida in range(25)})
    return [raida for raida, result in results.items() if isinstance(result, Answer) and result.status == 241]


def test_minted_coins_are_genuine_everywhere_and_their_secrets_are_secret(network: LocalNetwork) -> None:
    coins = new_coins(5)

    records = minting.mint(network.servers, coins, network.admin_key)

    assert [record.coin for record in records] == coins
    assert passing(network, records) == list(range(25))
    assert {record.pown for record in records} == {"p" * 25}
    ans = [an for record in records for an in record.ans]
    assert len(set(ans)) == 125
    guessable = {created_an(raida=raida, coin=coin, created=coins) for raida in range(25) for coin in coins}
    assert not guessable & set(ans)
    assert not any(an.endswith(b"\xff" * 4) for an in ans)


def test_many_coins_are_made_in_batches_none_of_which_is_too_small(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minting, "LARGEST_BATCH", 8)
    done: list[int] = []

    records = minting.mint(network.servers, new_coins(17), network.admin_key, on_progress=done.append)

    assert done == [5, 11, 17]
    assert passing(network, records) == list(range(25))


def test_serial_numbers_in_circulation_are_not_made_again(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few that they would meet by chance.
    monkeypatch.setattr(minting, "SERIAL_NUMBERS", 60)
    first = minting.choose_coins(network.servers, {6: 10}, network.admin_key)
    minting.mint(network.servers, first, network.admin_key)

    second = minting.choose_coins(network.servers, {6: 50, -8: 2}, network.admin_key)

    assert {coin.serial_number for coin in [*first, *second[:50]]} == set(range(60))
    assert [coin.denomination for coin in second] == [6] * 50 + [-8] * 2
    with pytest.raises(MintingFailed, match="only 50 coins are left"):
        minting.choose_coins(network.servers, {6: 51}, network.admin_key)


def test_twelve_servers_may_fail_and_thirteen_may_not(network: LocalNetwork) -> None:
    network.fault(range(12), "down")
    records = minting.mint(network.servers, new_coins(4), network.admin_key)
    network.clear()

    assert {record.pown for record in records} == {"f" * 12 + "p" * 13}
    assert passing(network, records) == list(range(12, 25))

    network.fault(range(13), "down")
    with pytest.raises(MintingFailed, match="12 servers"):
        minting.mint(network.servers, new_coins(4), network.admin_key)


def test_wrong_wishes_make_nothing(network: LocalNetwork) -> None:
    with pytest.raises(MintingFailed, match="admin key"):
        minting.mint(network.servers, new_coins(4), bytes(16))
    with pytest.raises(MintingFailed, match="admin key"):
        minting.choose_coins(network.servers, {0: 4}, bytes(16))
    with pytest.raises(MintingFailed, match="At least 4"):
        minting.mint(network.servers, new_coins(3), network.admin_key)
    with pytest.raises(MintingFailed, match="twice"):
        minting.mint(network.servers, new_coins(3) + [Coin(0, 1)] * 2, network.admin_key)

    assert network.seen(Command.POWN) == 0


def mint_coins(network: LocalNetwork, out: Path, coins: str, **options: object) -> None:
    given = {"base_port": network.servers[0].port, "directory": network.fleet.directory} | options
    call_command("mint_coins", out=out, coins=coins, **given)


def test_the_command_writes_a_coin_file(
    network: LocalNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.bin"

    mint_coins(network, out, "1x3,10x2, 0.00000001x1")

    assert capsys.readouterr().out == f"6 coins, 23.00000001 in all, are in {out}.\n"
    assert out.stat().st_mode & 0o777 == 0o600
    records = read_file(out.read_bytes()).coins
    assert sorted(record.coin.denomination for record in records) == [-8, 0, 0, 0, 1, 1]
    assert passing(network, records) == list(range(25))


def test_the_command_takes_the_servers_of_the_settings_and_a_key(
    network: LocalNetwork, tmp_path: Path, settings: Any
) -> None:
    settings.RAIDA_HOSTS = network.hosts

    mint_coins(network, tmp_path / "new.bin", "1x4", base_port=None, admin_key=network.admin_key.hex())

    assert len(read_file((tmp_path / "new.bin").read_bytes()).coins) == 4


@pytest.mark.parametrize(
    ("coins", "options", "sentence"),
    [
        ("1x3", {}, "Between 4 and 65535"),
        ("2x4", {}, "No coin has the value 2"),
        ("1*4", {}, "does not read like"),
        ("1x4", {"admin_key": "12"}, "32 hex digits"),
        ("1x4", {"admin_key": "00" * 16}, "refuses the admin key"),
        ("1x4", {"directory": Path("/nonexistent")}, "cannot be read as an admin key"),
    ],
)
def test_the_command_refuses_in_a_sentence_and_leaves_no_file(
    network: LocalNetwork, tmp_path: Path, coins: str, options: Any, sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        mint_coins(network, tmp_path / "new.bin", coins, **options)

    assert not (tmp_path / "new.bin").exists()
    assert network.seen(Command.CREATE_COINS) == 0


def test_the_command_does_not_overwrite_coins(network: LocalNetwork, tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_bytes(b"money")

    with pytest.raises(CommandError, match="File exists"):
        mint_coins(network, tmp_path / "old.bin", "1x4")

    assert (tmp_path / "old.bin").read_bytes() == b"money"
    assert network.seen(Command.CREATE_COINS) == 0
