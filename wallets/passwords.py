"""
Passwords: one Unicode form for those that are set and those that are given.

The same keys send `é` as one character or as two, depending on the system. NFKC, as SCRAM in PostgreSQL has it
(RFC 4013) and NIST SP 800-63B recommends, makes them one text, and full-width input that of other keyboards too.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final

from django.contrib.auth.hashers import get_hasher, identify_hasher, make_password, verify_password
from django.views.decorators.debug import sensitive_variables

MAXIMUM_LENGTH: Final = 32  # of the authentication endpoint of the public service


@sensitive_variables("password")
def composed(password: str) -> str:
    """Return the form in which a password is measured: NFC, which never makes one character many."""
    return unicodedata.normalize("NFC", password)


@sensitive_variables("password")
def encoded(password: str) -> str:
    """Return what is stored of a password."""
    return make_password(unicodedata.normalize("NFKC", password))


@sensitive_variables("password")
def verify(password: str, stored: str) -> tuple[bool, bool]:
    """
    Compare a password with what is stored; return whether it is right, and whether to store `encoded(password)` anew.

    What was stored before passwords had one form is compared with what was typed as well. One hash of the preferred
    kind is computed for each form of what was typed, whether something is stored or not, so that the time taken tells
    nothing.
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
