"""Second factors of operators."""

import time

from django_otp.oath import TOTP

from config.admin import second_factor


def code_of(secret, step=0):
    totp = TOTP(secret)
    totp.time = time.time() + 30 * step
    return f"{totp.token():06}"


def set_up(user):
    """Give somebody a second factor, and return its secret and recovery codes. The code of this step is used up."""
    enrolment = second_factor.Enrolment.begin()
    _, codes = second_factor.confirm(user, enrolment, code_of(enrolment.secret))
    return enrolment.secret, codes
