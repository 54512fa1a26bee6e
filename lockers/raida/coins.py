"""
Coins and amounts (the RAIDA protocol, section 7.1).

An amount is an integer number of units of 10^-8 coin; nothing here is a float.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lockers.raida import errors

UNITS_PER_COIN: Final = 10**8

LOWEST_DENOMINATION: Final = -8
HIGHEST_DENOMINATION: Final = 6
HIGHEST_SERIAL_NUMBER: Final = 2**32 - 1
# How many coins of a denomination servers have. One higher number makes them refuse a whole request with status 40.
SERIAL_NUMBERS: Final = 1000 * 1024

COIN_SIZE: Final = 5

# Denomination and serial number on the wire.
_C5: Final = struct.Struct(">bI")
# 25 digits before the point exceed the value of all possible coins.
_AMOUNT = re.compile(r"([0-9]{1,25})(?:\.([0-9]{1,8}))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Coin:
    """
    The identity of a coin: its denomination (an exponent of ten, -8..6) and serial number (u32).

    Ordered by denomination, then serial number.

    :raises Unencodable: a number is out of range
    """

    denomination: int
    serial_number: int

    def __post_init__(self) -> None:
        if not LOWEST_DENOMINATION <= self.denomination <= HIGHEST_DENOMINATION:
            raise errors.Unencodable("a denomination is -8 to 6")
        if not 0 <= self.serial_number <= HIGHEST_SERIAL_NUMBER:
            raise errors.Unencodable("a serial number is an unsigned 32-bit number")

    @property
    def value(self) -> int:
        """The value in units of 10^-8."""
        return int(10 ** (self.denomination - LOWEST_DENOMINATION))

    def to_bytes(self) -> bytes:
        """The coin as the five bytes DN, SN, called c5 in the protocol."""
        return _C5.pack(self.denomination, self.serial_number)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Coin":
        """
        Decode a coin from five bytes.

        :raises BadLength: there are not exactly five
        :raises BadCoin: the denomination is outside -8..6
        """
        if len(data) != COIN_SIZE:
            raise errors.BadLength("a coin is five bytes")
        denomination = int.from_bytes(data[:1], "big", signed=True)
        if not LOWEST_DENOMINATION <= denomination <= HIGHEST_DENOMINATION:
            raise errors.BadCoin("a denomination is -8 to 6")
        return cls(denomination, int.from_bytes(data[1:], "big"))


def value_of(denomination: int) -> int:
    """Return the value of a coin of the denomination, in units of 10^-8."""
    return Coin(denomination, 0).value


def total_value(counts: Mapping[int, int]) -> int:
    """Return the value of `counts[denomination]` coins of each denomination, in units of 10^-8."""
    return sum(value_of(denomination) * count for denomination, count in counts.items())


def format_amount(units: int) -> str:
    """Format an amount in coins, exactly, without exponent and trailing zeros: 150000000 is "1.5"."""
    sign = "-" if units < 0 else ""
    whole, rest = divmod(abs(units), UNITS_PER_COIN)
    fraction = f"{rest:08d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def json_amount(units: int) -> int | float | str:
    """
    Return an amount in coins as a JSON number, or as a decimal string if no number represents it exactly.

    >>> json_amount(2000000000), json_amount(50000000)
    (20, 0.5)
    """
    if units % UNITS_PER_COIN == 0:
        return units // UNITS_PER_COIN
    # A double has 15 significant digits.
    return float(format_amount(units)) if units < 10**15 else format_amount(units)


def parse_amount(text: str) -> int:
    """
    Parse a decimal text such as "20" or "0.00000001" into units.

    :raises InvalidAmount: not plain digits with at most eight decimals
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise errors.InvalidAmount("an amount is digits with at most eight decimals")
    whole, fraction = match.groups()
    return int(whole) * UNITS_PER_COIN + int((fraction or "").ljust(8, "0"))
