"""No limit, time, size or default changes unnoticed: each is in a list, beside the tests of what it is for."""

from tests.config import numbers


def test_numbers_are_those_of_the_list() -> None:
    listed = numbers.LIST.read_text(encoding="utf-8").splitlines()
    found = numbers.numbers()

    assert len(found) > 300
    assert sorted(set(found) ^ set(listed)) == [], "Meant so? Then: python -m tests.config.numbers"
