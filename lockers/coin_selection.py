"""
Which coins make an amount: exactly, and with the fewest coins. Pure.

Denominations are powers of ten, so each divides the next. Then taking as many of the largest as
fit, and so on downwards, is both exact whenever anything is, and the fewest: coins that add up
to at least a larger one always contain a set that adds up to it exactly, which could be exchanged.
"""

from collections.abc import Mapping

from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, Coin


def value_of(denomination: int) -> int:
    """What a coin of the denomination is worth, in units of 10^-8."""
    return Coin(denomination, 0).value


def total(counts: Mapping[int, int]) -> int:
    return sum(value_of(denomination) * count for denomination, count in counts.items())


def choose(available: Mapping[int, int], units: int) -> dict[int, int] | None:
    """Return how many coins of each denomination make `units` exactly, or None if no set of them does."""
    chosen: dict[int, int] = {}
    for denomination in range(HIGHEST_DENOMINATION, LOWEST_DENOMINATION - 1, -1):
        count = min(available.get(denomination, 0), units // value_of(denomination))
        if count:
            chosen[denomination] = count
            units -= count * value_of(denomination)
    return chosen if units == 0 else None


def choose_to_break(
    available: Mapping[int, int], breakable: Mapping[int, int], units: int
) -> tuple[dict[int, int], int] | None:
    """
    Return which coins to take as they are, and the denomination of one more that must be broken for the rest.

    That is the smallest of those left over, each of which is worth more than the rest. None if the
    amount can be made without, if there is not enough, or if no such coin is `breakable`.
    """
    chosen: dict[int, int] = {}
    for denomination in range(HIGHEST_DENOMINATION, LOWEST_DENOMINATION - 1, -1):
        count = min(available.get(denomination, 0), units // value_of(denomination))
        if count:
            chosen[denomination] = count
            units -= count * value_of(denomination)
    if units == 0:
        return None
    for denomination in range(LOWEST_DENOMINATION + 1, HIGHEST_DENOMINATION + 1):
        is_left = available.get(denomination, 0) > chosen.get(denomination, 0)
        if is_left and breakable.get(denomination, 0) and value_of(denomination) > units:
            return chosen, denomination
    return None


def below_and_above(available: Mapping[int, int], units: int) -> tuple[int, int | None]:
    """
    Return the nearest amounts that can be made: the highest below `units`, and the lowest above it or None.

    For the sentence that tells a user what would work.
    """
    rest = units
    for denomination in range(HIGHEST_DENOMINATION, LOWEST_DENOMINATION - 1, -1):
        rest -= min(available.get(denomination, 0), rest // value_of(denomination)) * value_of(denomination)
    below = units - rest
    # From above: what must stay in the wallet is made in the same way.
    everything = total(available)
    if everything <= units:
        return below, None
    kept = everything - units
    for denomination in range(HIGHEST_DENOMINATION, LOWEST_DENOMINATION - 1, -1):
        kept -= min(available.get(denomination, 0), kept // value_of(denomination)) * value_of(denomination)
    return below, units + kept
