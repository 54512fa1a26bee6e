"""Fields of bodies below `/api/`, and how answers write amounts and times."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from config.api.errors import Invalid
from config.api.validation import Number, Text
from lockers import coin_selection
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, UNITS_PER_COIN, format_amount, parse_amount
from lockers.raida.errors import InvalidAmount

# All coins that there can be of every denomination are worth less than this many units.
_HIGHEST_AMOUNT: Final = 9 * 10**10


@dataclass(frozen=True)
class Amount:
    """An amount in coins, read as units: a whole number, or a decimal text with at most eight decimals."""

    required: bool = True

    def read(self, path: str, value: Any) -> int:
        if isinstance(value, str):
            try:
                units = parse_amount(value)
            except InvalidAmount:
                raise Invalid(f'"{path}" must be a whole number, or a decimal text such as "0.5"') from None
        elif isinstance(value, float) and not value.is_integer():
            # What the client wrote is no longer known exactly.
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
    denomination: format_amount(coin_selection.value_of(denomination))
    for denomination in range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
}


@dataclass(frozen=True)
class Denomination:
    """The value of one coin, as a text or a number, read as its exponent of ten."""

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
        return {"anyOf": [{"type": "string", "enum": texts}, {"type": "number", "enum": [float(one) for one in texts]}]}


NAME: Final = Text(maximum=254)
TAG: Final = Text(maximum=250, may_be_empty=True, required=False)
CODE: Final = Text(maximum=1000)


def coins(units: int) -> int | float | str:
    """
    An amount in coins as a JSON number, or as a decimal text if no number can say it exactly.

    >>> coins(2000000000), coins(50000000)
    (20, 0.5)
    """
    if units % UNITS_PER_COIN == 0:
        return units // UNITS_PER_COIN
    # A double carries 15 digits; beyond them the number read back would not be the amount.
    return float(format_amount(units)) if units < 10**15 else format_amount(units)


def denominations(counts: Mapping[int, int]) -> dict[str, int]:
    """Counts keyed by the value of one coin, largest first, with zeros in between as the seed shows them."""
    if not counts:
        return {}
    return {
        format_amount(coin_selection.value_of(denomination)): counts.get(denomination, 0)
        for denomination in range(max(counts), min(counts) - 1, -1)
    }


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
