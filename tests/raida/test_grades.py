import itertools

import pytest

from lockers.raida import errors, grades
from lockers.raida.grades import Grade


@pytest.mark.parametrize(
    ("pown", "expected"),
    [
        ("p" * 25, Grade.BANK),
        ("p" * 13 + "n" * 12, Grade.BANK),
        ("p" * 13 + "e" * 6 + "b" * 6, Grade.BANK),
        ("p" * 24 + "f", Grade.FRACKED),
        ("p" * 13 + "f" * 12, Grade.FRACKED),
        ("f" * 13 + "p" * 12, Grade.COUNTERFEIT),
        ("f" * 13 + "n" * 12, Grade.COUNTERFEIT),
        ("e" * 13 + "f" * 12, Grade.ERRORED),
        ("n" * 13 + "p" * 12, Grade.LIMBO),
        ("n" * 25, Grade.LIMBO),
        ("b" * 13 + "p" * 12, Grade.BADKEY),
        ("p" * 12 + "f" * 12 + "n", Grade.LIMBO),
        ("p" * 12 + "f" * 1 + "e" * 12, Grade.FRACKED),
        ("p" * 12 + "b" * 1 + "e" * 12, Grade.BADKEY),
        ("p" * 12 + "e" * 12 + "d", Grade.ERRORED),
        ("u" * 25, Grade.ERRORED),
        ("d" * 25, Grade.ERRORED),
    ],
)
def test_a_pown_string_has_the_grade_of_the_first_rule_that_fits(pown: str, expected: Grade) -> None:
    assert grades.grade(pown) is expected


def test_an_outage_never_makes_a_coin_counterfeit() -> None:
    for passed, failed in itertools.product(range(26), range(13)):
        if passed + failed <= 25:
            silent = "p" * passed + "f" * failed + "n" * (25 - passed - failed)
            assert grades.grade(silent) is not Grade.COUNTERFEIT


@pytest.mark.parametrize("text", ["", "p" * 24, "p" * 26, "P" * 25, "p" * 24 + "k", "p" * 24 + " "])
def test_a_text_that_is_no_pown_string_is_refused(text: str) -> None:
    assert not grades.is_pown(text)
    for reader in (grades.grade, grades.encode_pown):
        with pytest.raises(errors.Unencodable, match=r"^a pown string is 25 of the letters p, f, u, n, e, b and d$"):
            reader(text)


def test_half_bytes_of_no_letter_are_no_pown_string() -> None:
    assert grades.decode_pown(b"Live Free Or ") is None
    assert grades.decode_pown(bytes(13)) == "u" * 25


@pytest.mark.parametrize("letter", "pfunedb")
def test_every_letter_comes_back(letter: str) -> None:
    assert grades.decode_pown(grades.encode_pown(letter * 25)) == letter * 25
