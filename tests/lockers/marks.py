"""Marks and letters of 25 servers as tests write them: `at("p13 n12")`, and strategies that favour 12, 13 and 14."""

from random import Random

from hypothesis import strategies as st

# Written out, so that a mark that changes its letter is noticed: rows of old tasks keep the old one.
MARKS = "-npfgxoredb"
LETTERS = "pfunedb"
_SIZES = (0, 1, 2, 8, 9, 11, 12, 13, 14, 24, 25)


def at(counts: str) -> str:
    """25 letters from counts, RAIDA 0 first."""
    text = "".join(each[0] * int(each[1:]) for each in counts.split())
    assert len(text) == 25, counts
    return text


@st.composite
def of_25(draw: st.DrawFn, alphabet: str) -> str:
    """25 letters in any order, of which one or two make up most."""
    first, second = draw(st.sampled_from(alphabet)), draw(st.sampled_from(alphabet))
    size = draw(st.sampled_from(_SIZES))
    other = draw(st.integers(0, 25 - size))
    rest = draw(st.text(alphabet, min_size=25 - size - other, max_size=25 - size - other))
    text = list(first * size + second * other + rest)
    Random(draw(st.integers(0, 1000))).shuffle(text)
    return "".join(text)
