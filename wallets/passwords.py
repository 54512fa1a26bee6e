"""
Passwords: normalised to one Unicode form when they are set and when they are verified.

The same keys send `é` as one character or as two, depending on the system. NFKC, as in PostgreSQL's SCRAM (RFC 4013)
and in NIST SP 800-63B, makes them the same text, and full-width input too.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final

from django.contrib.auth.hashers import get_hasher, identify_hasher, make_password, verify_password
from django.views.decorators.debug import sensitive_variables

MAXIMUM_LENGTH: Final = 32  # of the authentication endpoint of the public service
# Of a password that a wallet's owner chooses (NIST SP 800-63B); those that operators and imports set may be shorter.
MINIMUM_CHOSEN_LENGTH: Final = 8


@sensitive_variables("password")
def composed(password: str) -> str:
    """Return the NFC form, by which the length of a password is measured."""
    return unicodedata.normalize("NFC", password)


@sensitive_variables("one", "other")
def are_same(one: str, other: str) -> bool:
    """Return whether two texts are one password."""
    return _forms(one)[0] == _forms(other)[0]


@sensitive_variables("password")
def encoded(password: str) -> str:
    """Return the hash that is stored of a password."""
    return make_password(unicodedata.normalize("NFKC", password))


@sensitive_variables("password")
def verify(password: str, stored: str) -> tuple[bool, bool]:
    """
    Return whether the password matches the stored hash, and whether the caller should store `encoded(password)` again.

    The text is tried as typed too, for hashes from before normalisation. One hash of the preferred kind is computed for
    each form, whether a hash is stored or not, so that the duration reveals nothing.
    """
    forms = _forms(password)
    for form in forms:
        is_correct, is_outdated = verify_password(form, stored)
        if is_correct:
            return True, is_outdated or form != forms[0]
        if stored and identify_hasher(stored).algorithm != get_hasher().algorithm:
            make_password(form)
    return False, False


@sensitive_variables("password")
def _forms(password: str) -> Sequence[str]:
    return list(dict.fromkeys((unicodedata.normalize("NFKC", password), password)))
