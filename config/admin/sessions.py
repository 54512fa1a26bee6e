"""
Django's session engine for the admin: in the database, looked up by a digest of the session key.

A session stores the user, client address, user agent, start time and the second factor that was passed. It ends
`SESSION_COOKIE_AGE` seconds after sign-in, or after `SESSION_IDLE_SECONDS` without a request.
"""

import logging
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from config.admin.models import Session
from config.web.addresses import client_address

# Keys of the session data besides Django's.
_CREATED: Final = "created_at"
_ADDRESS: Final = "address"
_AGENT: Final = "agent"
FACTOR: Final = "second_factor"
# The issuer, in a session that an OpenID Connect provider began.
PROVIDER: Final = "provider"

_log: Final = logging.getLogger("coppice.admin")

# The least interval between two updates of `last_used_at`.
_TOUCHED_EVERY: Final = timedelta(seconds=60)


def _digest(session_key: str) -> bytes:
    return sha256(session_key.encode()).digest()


def open_sessions() -> QuerySet[Session]:
    """Return the sessions that have not ended."""
    now = timezone.now()
    return Session.objects.filter(
        expires_at__gt=now, last_used_at__gt=now - timedelta(seconds=settings.SESSION_IDLE_SECONDS)
    )


class SessionStore(SessionBase):
    """The session engine. The key itself is stored only in the browser's cookie."""

    row: Session | None = None

    def load(self) -> dict[str, Any]:
        key = self.session_key
        self.row = None if key is None else open_sessions().filter(digest=_digest(key)).first()
        if self.row is None:
            self._session_key: str | None = None
            return {}
        return self.decode(self.row.data)

    def exists(self, session_key: str) -> bool:
        return Session.objects.filter(digest=_digest(session_key)).exists()

    def create(self) -> None:
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            self.create()
            return
        values = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        now = timezone.now()
        values.setdefault(_CREATED, now.isoformat())
        created_at = datetime.fromisoformat(values[_CREATED])
        columns = {
            "data": self.encode(values),
            "user_id": values.get(SESSION_KEY),
            "address": str(values.get(_ADDRESS, ""))[:45],
            "agent": str(values.get(_AGENT, ""))[:300],
            "has_second_factor": FACTOR in values,
            "created_at": created_at,
            "last_used_at": now,
            "expires_at": created_at + timedelta(seconds=settings.SESSION_COOKIE_AGE),
        }
        digest = _digest(self.session_key)
        if must_create:
            try:
                with transaction.atomic():
                    Session.objects.create(digest=digest, **columns)
            except IntegrityError as error:
                raise CreateError from error
        elif not Session.objects.filter(digest=digest).update(**columns):
            # The session was ended during this request; saving would restore it.
            raise UpdateError

    def cycle_key(self) -> None:
        """
        Give the session a new key, unless it was ended meanwhile.

        :raises SessionInterrupted: it was ended
        """
        with transaction.atomic():
            # Loads the session, and drops an unknown key.
            self._get_session()  # type: ignore[attr-defined]
            key = self.session_key
            if key is not None and not Session.objects.select_for_update().filter(digest=_digest(key)).exists():
                raise SessionInterrupted("The session was ended during the request.")
            super().cycle_key()

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            Session.objects.filter(digest=_digest(key)).delete()

    @classmethod
    def clear_expired(cls) -> None:
        now = timezone.now()
        idle = now - timedelta(seconds=settings.SESSION_IDLE_SECONDS)
        Session.objects.filter(Q(expires_at__lte=now) | Q(last_used_at__lte=idle)).delete()


def begin(request: HttpRequest) -> None:
    """Record start time, client address and user agent of a sign-in in the session."""
    session = request.session
    session.pop(FACTOR, None)
    session.pop(PROVIDER, None)
    session[_CREATED] = timezone.now().isoformat()
    session[_ADDRESS] = client_address(request)
    session[_AGENT] = request.headers.get("User-Agent", "")[:300]


def touch(request: HttpRequest) -> None:
    """Update `last_used_at`, at most once a minute."""
    row = getattr(request.session, "row", None)
    now = timezone.now()
    if row is not None and now - row.last_used_at > _TOUCHED_EVERY:
        try:
            Session.objects.filter(pk=row.pk).update(last_used_at=now)
        except DatabaseError as error:
            # The page is shown without the update, for example with a read-only database.
            _log.debug("use_not_noted", extra={"error": type(error).__name__})


def current(request: HttpRequest) -> UUID | None:
    """Return the id of the request's session."""
    row = getattr(request.session, "row", None)
    return None if row is None else row.pk


def of_person(user: User) -> QuerySet[Session]:
    """Return the open sessions of a person, the most recently used first."""
    return open_sessions().filter(user=user).order_by("-last_used_at", "-id")
