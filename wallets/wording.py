"""Counts in sentences: a noun, and the verb after it, in singular or plural."""


def counted(number: int, one: str, many: str = "") -> str:
    """
    Return a count with its noun.

    >>> counted(1, "coin"), counted(2000, "coin"), counted(0, "body", "bodies")
    ('1 coin', '2,000 coins', '0 bodies')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def verb(number: int, one: str = "is", many: str = "are") -> str:
    """
    Return the verb in singular or plural.

    >>> verb(1), verb(2), verb(1, "was", "were")
    ('is', 'are', 'was')
    """
    return one if number == 1 else many
