"""Make coins on the local RAIDA network and write them to a coin file."""

import os
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lockers.localnet import minting
from lockers.localnet.fleet import ADMIN_KEY_SIZE, CannotStart, read_admin_key
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, format_amount, value_of
from lockers.raida.files import write_bin
from lockers.raida.statuses import RAIDA_COUNT
from lockers.transport import Server, servers_from_settings

_MOST_COINS = 65_535
_VALUES = {
    format_amount(value_of(denomination)): denomination
    for denomination in range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
}
_ITEM = re.compile(r"([0-9.]+)x([0-9]{1,5})")


class Command(BaseCommand):
    help = "Make coins through the admin command of the local RAIDA network, and write them as one .bin file."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, required=True, help="the coin file to write; it must not exist yet")
        parser.add_argument(
            "--coins", required=True, metavar="VALUExCOUNT,…", help='what to make, e.g. "1x20,10x3,0.1x10"'
        )
        parser.add_argument("--base-port", type=int, help="RAIDA 0's port on this machine (default: RAIDA_HOSTS)")
        parser.add_argument("--directory", type=Path, help="where the network keeps its admin key")
        parser.add_argument("--admin-key", metavar="HEX", help="the key itself, which other users may then see")

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path = options["out"]
        wanted = _read_coins(options["coins"])
        servers = _servers(options["base_port"])
        try:
            admin_key = _admin_key(options["admin_key"], options["directory"] or settings.STATE_DIR / "raida")
            # Opened before the coins are made: coins that could not be written would be lost.
            with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                try:
                    coins = minting.choose_coins(servers, wanted, admin_key)
                    records = minting.mint(servers, coins, admin_key)
                except BaseException:
                    out.unlink()
                    raise
                file.write(write_bin(records))
        except (CannotStart, minting.MintingFailed) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{out} cannot be written: {error.strerror}.") from error
        total = format_amount(sum(coin.value for coin in coins))
        self.stdout.write(f"{len(records)} coins, {total} in all, are in {out}.")


def _read_coins(text: str) -> dict[int, int]:
    wanted: dict[int, int] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise CommandError(f"{item!r} does not read like 10x3.")
        value, count = match.groups()
        if value not in _VALUES:
            raise CommandError(f"No coin has the value {value}; there are {', '.join(_VALUES)}.")
        wanted[_VALUES[value]] = wanted.get(_VALUES[value], 0) + int(count)
    total = sum(wanted.values())
    if not minting.SMALLEST_BATCH <= total <= _MOST_COINS:
        raise CommandError(f"Between {minting.SMALLEST_BATCH} and {_MOST_COINS} coins are made at a time.")
    return wanted


def _servers(base_port: int | None) -> tuple[Server, ...]:
    if base_port is None:
        return servers_from_settings(settings.RAIDA_HOSTS)
    return tuple(Server(raida, "127.0.0.1", base_port + raida) for raida in range(RAIDA_COUNT))


def _admin_key(text: str | None, directory: Path) -> bytes:
    if text is None:
        return read_admin_key(directory)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != ADMIN_KEY_SIZE:
        raise CommandError(f"An admin key is {2 * ADMIN_KEY_SIZE} hex digits.")
    return key
