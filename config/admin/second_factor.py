"""
The second factor: which roles require one, its enrolment, and the verification of codes.

A code is six digits of an authenticator app (TOTP) or one of ten recovery codes. Each is valid once. Secrets are sealed
with the vault key, recovery codes are stored as digests: django-otp's own tables hold both in clear text and its admin
pages show them, so only its TOTP algorithm is used.
"""

import secrets
import time
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

import segno
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.debug import sensitive_variables
from django_otp.oath import TOTP  # type: ignore[import-untyped]

from config.admin import roles
from config.admin.models import RecoveryCode, SecondFactor
from lockers import vault
from wallets.errors import InvalidCredentials

DIGITS: Final = 6
STEP_SECONDS: Final = 30
# Clock skew: the codes of the previous and the next step are valid too.
_TOLERANCE: Final = 1
_SECRET_BYTES: Final = 20
RECOVERY_CODES: Final = 10
# Without letters and digits that are easily confused.
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE_LETTERS: Final = 16
# Exponential backoff after some wrong codes in a row. A user who mistypes waits seconds; an attacker who has the
# password gets 24 attempts a day at three valid codes in a million.
_FREE_FAILURES: Final = 5
_LONGEST_WAIT: Final = timedelta(hours=1)
ISSUER: Final = "Coppice"


class WaitFirst(Exception):
    """Too many wrong codes in a row; the next attempt is accepted in `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"wait {seconds} s")
        self.seconds = seconds


def context_of_factor(factor_id: UUID) -> str:
    return f"second factor/{factor_id}"


def of_user(user: User) -> SecondFactor | None:
    """Return the second factor of a person, if one is set up."""
    return SecondFactor.objects.filter(user_id=user.pk).first()


def is_obligatory(user: User) -> bool:
    """Return whether the person's role requires one. A superuser counts as an administrator."""
    obliged: frozenset[str] = frozenset(settings.SECOND_FACTOR_ROLES)
    if not obliged:
        return False
    if user.is_superuser:
        return roles.ADMINISTRATOR in obliged
    return user.groups.filter(name__in=obliged).exists()


# --- setting one up -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A new secret. It becomes the second factor once a code proves that an authenticator app has it."""

    id: UUID
    secret: bytes = field(repr=False)

    @classmethod
    def begin(cls) -> "Enrolment":
        return cls(uuid4(), secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def opened(cls, sealed: str) -> "Enrolment":
        """
        Return the enrolment from the text that `sealed` returned.

        :raises ValueError, SealBroken: the text is not from `sealed`
        """
        identity, _, text = sealed.partition(":")
        return cls(UUID(identity), vault.open_sealed(bytes.fromhex(text), context=context_of_factor(UUID(identity))))

    def sealed(self) -> str:
        """Return the sealed enrolment for the session, whose data is not encrypted."""
        return f"{self.id}:{vault.seal(self.secret, context=context_of_factor(self.id)).hex()}"

    @property
    def as_text(self) -> str:
        """The secret for manual entry: base32 in groups of four."""
        text = b32encode(self.secret).decode()
        return " ".join(text[start : start + 4] for start in range(0, len(text), 4))

    def picture(self, user: User) -> SafeString:
        """Return the QR code for authenticator apps, as SVG without style."""
        label = quote(f"{ISSUER}:{user.get_username()}")
        secret = b32encode(self.secret).decode()
        query = urlencode({"secret": secret, "issuer": ISSUER, "digits": DIGITS, "period": STEP_SECONDS})
        code = segno.make(f"otpauth://totp/{label}?{query}", error="m", micro=False)
        drawn = code.svg_inline(
            scale=1, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None
        )
        # The SVG consists of numbers only; it does not contain the encoded text.
        return mark_safe(drawn)  # noqa: S308


@sensitive_variables("codes")
def confirm(user: User, enrolment: Enrolment, code: str) -> tuple[SecondFactor, list[str]]:
    """
    Make the enrolment the person's second factor in place of any other; return it and ten new recovery codes.

    :raises InvalidCredentials: the code is not one of it
    """
    step = _matching_step(enrolment.secret, code, after=-1)
    if step is None:
        raise InvalidCredentials("The code is not right.")
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(_CODE_LETTERS)) for _ in range(RECOVERY_CODES)]
    with transaction.atomic(savepoint=False):
        # If two enrolments are confirmed concurrently, the later one stays.
        User.objects.select_for_update().get(pk=user.pk)
        SecondFactor.objects.filter(user_id=user.pk).delete()
        factor = SecondFactor.objects.create(
            id=enrolment.id,
            user_id=user.pk,
            secret=vault.seal(enrolment.secret, context=context_of_factor(enrolment.id)),
            last_step=step,
        )
        RecoveryCode.objects.bulk_create(RecoveryCode(factor=factor, digest=_digest(factor.pk, each)) for each in codes)
    return factor, ["-".join(each[start : start + 4] for start in range(0, _CODE_LETTERS, 4)) for each in codes]


# --- codes --------------------------------------------------------------------------------


def check(user: User, code: str) -> SecondFactor:
    """
    Verify and consume a code, and return the second factor.

    :raises InvalidCredentials: the code is wrong or was used, or there is no second factor
    :raises WaitFirst: there were too many wrong codes in a row; this one was not checked
    """
    with transaction.atomic():
        # A concurrent request with the same code waits here and finds it used.
        factor = SecondFactor.objects.select_for_update().filter(user_id=user.pk).first()
        if factor is not None:
            now = timezone.now()
            if (until := _waits_until(factor)) is not None and until > now:
                raise WaitFirst(int((until - now).total_seconds()) + 1)
            if _use(factor, code, now):
                factor.failures, factor.failed_at, factor.last_used_at = 0, None, now
                factor.save(update_fields=["last_step", "failures", "failed_at", "last_used_at"])
                return factor
            SecondFactor.objects.filter(pk=factor.pk).update(failures=F("failures") + 1, failed_at=now)
    raise InvalidCredentials("The code is wrong or was already used.")


def _waits_until(factor: SecondFactor) -> datetime | None:
    if factor.failed_at is None or factor.failures < _FREE_FAILURES:
        return None
    doublings = min(factor.failures - _FREE_FAILURES, 12)
    return factor.failed_at + min(timedelta(seconds=2**doublings), _LONGEST_WAIT)


def _use(factor: SecondFactor, code: str, now: datetime) -> bool:
    plain = "".join(code.split()).replace("-", "").lower()
    if len(plain) == DIGITS:
        secret = vault.open_sealed(factor.secret, context=context_of_factor(factor.pk))
        step = _matching_step(secret, plain, after=factor.last_step)
        if step is None:
            return False
        factor.last_step = step
        return True
    digest = _digest(factor.pk, plain)
    return bool(RecoveryCode.objects.filter(factor=factor, digest=digest, used_at=None).update(used_at=now))


def _matching_step(secret: bytes, code: str, *, after: int) -> int | None:
    """Return the time step that the code belongs to, if it is later than `after`."""
    plain = "".join(code.split())
    if len(plain) != DIGITS or not (plain.isascii() and plain.isdigit()):
        return None
    totp = TOTP(secret, step=STEP_SECONDS, digits=DIGITS)
    totp.time = time.time()
    return int(totp.t()) if totp.verify(int(plain), tolerance=_TOLERANCE, min_t=after + 1) else None


def _digest(factor_id: UUID, code: str) -> bytes:
    return sha256(factor_id.bytes + code.encode()).digest()


def about(user: User) -> Mapping[str, object]:
    """Return the state of a person's second factor and the number of recovery codes left."""
    factor = of_user(user)
    return {
        "second_factor": factor is not None,
        "since": factor and factor.created_at,
        "last_used": factor and factor.last_used_at,
        "recovery_codes_left": factor.recovery_codes.filter(used_at=None).count() if factor else 0,
    }
