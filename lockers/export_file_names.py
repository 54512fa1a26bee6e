"""
Names of exported coin files (the RAIDA protocol, section 7.6). They are for people: no program parses them.

    1,000 CloudCoin #7998 'rent'.bin            one coin: its value and serial number
    12,441.0000-034 CloudCoin #12 'rent'.bin    several: their total, and how many they are
"""

import re
from collections.abc import Sequence
from typing import Final

from lockers.raida.coins import Coin, format_amount

# Characters with a meaning in a shell, a path or a header are replaced, and so is white space except the blank.
_UNSAFE: Final = re.compile(r"[^\w .,+=@~()-]|[\x00-\x1f\x7f]")
_LONGEST_TAG: Final = 60


def file_name(*, units: int, number: int, tag: str, extension: str) -> str:
    """Name a file of coins worth `units`; `number` is the serial number of a single coin, otherwise the count."""
    cleaned = " ".join(_UNSAFE.sub(" ", tag).split())[:_LONGEST_TAG].strip(" .")
    quoted = f" '{cleaned}'" if cleaned else ""
    return f"{_grouped(units)} CloudCoin #{number}{quoted}.{extension}"


def name_of(coins: Sequence[Coin], *, tag: str, extension: str) -> str:
    """Name a file of the given coins."""
    number = coins[0].serial_number if len(coins) == 1 else len(coins)
    return file_name(units=sum(coin.value for coin in coins), number=number, tag=tag, extension=extension)


def _grouped(units: int) -> str:
    whole, _, fraction = format_amount(units).partition(".")
    if len(fraction) > 4:
        fraction = f"{fraction[:4]}-{fraction[4:]}"
    return f"{int(whole):,}" + (f".{fraction}" if fraction else "")
