"""Second factors of operators."""

import time
from typing import Any

from django_otp.oath import TOTP

from config.admin import second_factor


def code_of(secret: Any, step: int = 0) -> str:
    totp = TOTP(secret)
    totp.time = time.time() + 30 * step
    return f"{totp.token():06}"


def set_up(user: Any) -> Any:
    """Give a person a second factor, and return its secret and recovery codes. The code of this step is used up."""
    enrolment = second_factor.Enrolment.begin()
    _, codes = second_factor.confirm(user, enrolment, code_of(enrolment.secret))
    return enrolment.secret, codes
