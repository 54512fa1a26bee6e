"""Fields of request bodies below `/api/`, and the format of amounts and times in responses."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from config.api.errors import Invalid
from config.api.validation import Number, Text
from lockers.raida.coins import (
    HIGHEST_DENOMINATION,
    LOWEST_DENOMINATION,
    UNITS_PER_COIN,
    format_amount,
    parse_amount,
    value_of,
)
from lockers.raida.errors import InvalidAmount

# In coins: more than the sum of all coins of all denominations.
_HIGHEST_AMOUNT: Final = 9 * 10**10


@dataclass(frozen=True)
class Amount:
    """An amount in coins, read as units: a whole number, or a decimal string with at most eight decimals."""

    required: bool = True

    def read(self, path: str, value: Any) -> int:
        if isinstance(value, str):
            try:
                units = parse_amount(value)
            except InvalidAmount:
                raise Invalid(f'"{path}" must be a whole number, or a decimal text such as "0.5"') from None
        elif isinstance(value, float) and not value.is_integer():
            # A float is not the exact amount that the client wrote.
            raise Invalid(f'"{path}" must be a whole number, or a decimal text such as "0.5"')
        else:
            units = Number().read(path, value) * UNITS_PER_COIN
        if units < 1:
            raise Invalid(f'"{path}" must be greater than 0')
        if units > _HIGHEST_AMOUNT * UNITS_PER_COIN:
            raise Invalid(f'"{path}" must be less than or equal to {_HIGHEST_AMOUNT}')
        return units

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _HIGHEST_AMOUNT},
                {"type": "string", "pattern": "^[0-9]{1,10}(\\.[0-9]{1,8})?$"},
            ]
        }


_COIN_VALUES: Final = {
    denomination: format_amount(value_of(denomination))
    for denomination in range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
}


@dataclass(frozen=True)
class Denomination:
    """The value of one coin, as a string or a number, read as its exponent of ten."""

    required: bool = True

    def read(self, path: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Invalid(f'"{path}" must be a string or a number')
        for denomination, text in _COIN_VALUES.items():
            if value == (text if isinstance(value, str) else float(text)):
                return denomination
        raise Invalid(f'"{path}" must be the value of one coin, from 0.00000001 to 1000000 in powers of ten')

    @property
    def schema(self) -> dict[str, Any]:
        texts = list(_COIN_VALUES.values())
        # Bounds instead of an enumeration: generated clients have no enumerations of numbers.
        number = {"type": "number", "minimum": float(texts[0]), "maximum": float(texts[-1])}
        return {"anyOf": [number, {"type": "string", "pattern": "^(1|10{1,6}|0\\.0{0,7}1)$"}]}


NAME: Final = Text(maximum=254)
TAG: Final = Text(maximum=250, may_be_empty=True, required=False)
CODE: Final = Text(maximum=1000)
# What fields of these names mean in every body.
NAME_WORDS: Final = (
    "The name or the id of the wallet. `Default` is the caller's own, unless it controls one of that name."
)
TAG_WORDS: Final = "A text for the statement and the receipt."
AMOUNT_WORDS: Final = "An amount in coins: a whole number, or a decimal text with up to eight decimals."
CODE_WORDS: Final = "The code of the locker, as it was received."
NEW_CODE_WORDS: Final = (
    "The code of the new locker: 1 to 1,000 printable ASCII characters. Everyone who has it can take the coins."
)


def denominations(counts: Mapping[int, int]) -> dict[str, int]:
    """Return counts by coin value, largest first, with the zeros in between (seed 000)."""
    if not counts:
        return {}
    return {
        format_amount(value_of(denomination)): counts.get(denomination, 0)
        for denomination in range(max(counts), min(counts) - 1, -1)
    }


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
