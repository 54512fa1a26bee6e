"""Coin selection makes exact amounts with the fewest coins: compared with an exhaustive search."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from lockers import coin_selection
from lockers.raida.coins import total_value, value_of

many = settings(derandomize=True, deadline=None, max_examples=100)
COUNTS = st.dictionaries(st.integers(-1, 2), st.integers(0, 4), max_size=4)


def _by_trying_everything(available: dict[int, int], units: int) -> int | None:
    """The fewest coins that make the amount, or None."""
    best: int | None = None
    for counts in product(*(range(available[denomination] + 1) for denomination in available)):
        if sum(value_of(one) * count for one, count in zip(available, counts, strict=True)) == units:
            best = sum(counts) if best is None else min(best, sum(counts))
    return best


@many
@given(COUNTS, st.integers(1, 5000))
def test_the_choice_is_exact_and_the_smallest_there_is(available: dict[int, int], tenths: int) -> None:
    units = tenths * value_of(-1)

    chosen = coin_selection.choose(available, units)

    assert (None if chosen is None else sum(chosen.values())) == _by_trying_everything(available, units)
    if chosen is not None:
        assert total_value(chosen) == units
        assert all(0 < count <= available[denomination] for denomination, count in chosen.items())


@many
@given(COUNTS, st.integers(1, 5000))
def test_the_nearest_amounts_can_be_made_and_none_is_nearer(available: dict[int, int], tenths: int) -> None:
    units = tenths * value_of(-1)
    sums = {
        sum(value_of(one) * count for one, count in zip(available, counts, strict=True))
        for counts in product(*(range(available[denomination] + 1) for denomination in available))
    }

    below, above = coin_selection.below_and_above(available, units)

    assert below == max(each for each in sums if each <= units)
    assert above == min((each for each in sums if each > units), default=None) or units in sums
