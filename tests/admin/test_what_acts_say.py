"""Each action says what will happen, with the numbers it was shown, and who may do it: every sentence is listed."""

from tests.admin import what_acts_say


def test_the_sentences_of_actions_are_those_of_the_list() -> None:
    listed = what_acts_say.TEXT.read_text(encoding="utf-8").splitlines()

    assert what_acts_say.text().splitlines() == listed, "Meant so? Then: python -m tests.admin.what_acts_say"
