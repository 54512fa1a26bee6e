"""
Coin selection: which coins make an amount exactly, with the fewest coins. Pure.

Denominations are powers of ten, so each divides the next. The greedy choice (as many of the largest as fit, then the
next smaller) is therefore exact if any choice is, and uses the fewest coins: coins that add up to at least one larger
coin always contain a subset that adds up to exactly that coin.
"""

from collections.abc import Mapping

from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, total_value, value_of


def _greedy(available: Mapping[int, int], units: int) -> tuple[dict[int, int], int]:
    """Return the greedy choice of coins worth at most `units`, and the units that it lacks."""
    chosen: dict[int, int] = {}
    for denomination in range(HIGHEST_DENOMINATION, LOWEST_DENOMINATION - 1, -1):
        count = min(available.get(denomination, 0), units // value_of(denomination))
        if count:
            chosen[denomination] = count
            units -= count * value_of(denomination)
    return chosen, units


def choose(available: Mapping[int, int], units: int) -> dict[int, int] | None:
    """Return how many coins of each denomination make `units` exactly, or None if no set of them does."""
    chosen, lacking = _greedy(available, units)
    return None if lacking else chosen


def choose_to_break(
    available: Mapping[int, int], breakable: Mapping[int, int], units: int
) -> tuple[dict[int, int], int] | None:
    """
    Return the coins to take whole, and the denomination of one more coin that is broken for the rest.

    That coin is the smallest `breakable` one of those left over; each of these is worth more than the rest. Return
    None if the amount can be made without breaking, or if no such coin exists.
    """
    chosen, lacking = _greedy(available, units)
    if not lacking:
        return None
    for denomination in range(LOWEST_DENOMINATION + 1, HIGHEST_DENOMINATION + 1):
        is_left = available.get(denomination, 0) > chosen.get(denomination, 0)
        if is_left and breakable.get(denomination, 0) and value_of(denomination) > lacking:
            return chosen, denomination
    return None


def below_and_above(available: Mapping[int, int], units: int) -> tuple[int, int | None]:
    """Return the nearest amounts that can be made: the highest below `units`, and the lowest above it or None."""
    below = units - _greedy(available, units)[1]
    everything = total_value(available)
    if everything <= units:
        return below, None
    # The coins that stay in the wallet are worth the highest amount that leaves at least `units`.
    _, lacking = _greedy(available, everything - units)
    return below, units + lacking
