"""
Sends what `config.admin.alerts` wrote: mails, and calls of COPPICE_ALERT_URL.

A notice is a row with a lease and an attempt number, like the delivery of a webhook: it is claimed in a transaction,
sent without one, and settled with the attempt number as fence. Two senders send no notice twice. One that is killed
between sending and settling costs its lease, and then the same notice is sent again, under the same id (`Message-ID`,
`webhook-id`). Of each alert and channel, one notice is sent after the other.
"""

import asyncio
import contextlib
import logging
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import orjson
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone
from standardwebhooks.webhooks import Webhook as Signer

from config import mail
from config.admin.models import Alert, AlertNotice, NoticeChannel, NoticeEvent, NoticeState
from webhooks.sender.http import Answer, Client
from webhooks.sender.session import USER_AGENT

_log: Final = logging.getLogger("coppice.admin")

# Longer than the time limit of the task (`config.tasks`): a worker that still has the lease is alive.
LEASE: Final = timedelta(seconds=90)
# No notice is begun after this time.
SESSION: Final = timedelta(seconds=20)
# Delays after failed attempts; the last is repeated until an alert is a day old.
DELAYS: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
GIVEN_UP_AFTER: Final = timedelta(days=1)
# Of one call, from the first look-up to the last byte.
DEADLINE: Final = timedelta(seconds=10)
# The word for a server that takes this mail not, but perhaps others.
REFUSED: Final = "refused"
_VERBS: Final = {NoticeEvent.OPENED: "", NoticeEvent.REPEATED: "still: ", NoticeEvent.CLOSED: "ended: "}


@dataclass(frozen=True, slots=True)
class Claim:
    """A notice that this sender may send, until its lease ends."""

    notice_id: UUID
    attempt: int
    event: NoticeEvent
    text: str
    created_at: datetime
    alert: Alert

    @property
    def subject(self) -> str:
        """The line of subject: what, and how it is now."""
        return f"{_VERBS[self.event]}{self.alert.title}: {self.text}"


def send() -> int:
    """Send what is due, and return the number of notices that were sent. Ends when a server does not answer."""
    return _send_all(NoticeChannel.MAIL, _mail) + _send_all(NoticeChannel.CALL, _call)


def _send_all(channel: NoticeChannel, act: Callable[[Claim], str]) -> int:
    """Claim, send and settle one notice after the other."""
    ends = time.monotonic() + SESSION.total_seconds()
    sent = 0
    while time.monotonic() < ends and (mine := claim(channel)) is not None:
        try:
            error = act(mine)
        except BaseException:
            # The task's time is over, for example.
            settle(mine, error="interrupted")
            raise
        sent += settle(mine, error=error) and not error
        if error:
            _log.warning("notice_not_sent", extra={"error": error, "operation": channel.value})
        if error and error != REFUSED:
            break
    return sent


def claim(channel: NoticeChannel) -> Claim | None:
    """
    Claim the oldest notice that is due, and of each alert the first, or return None.

    None also while another sender has one of the channel: a server that answers slowly keeps one worker busy at most.
    """
    with transaction.atomic():
        pending = AlertNotice.objects.filter(channel=channel, state=NoticeState.PENDING)
        if pending.filter(lease_until__gte=Now()).exists():
            return None
        earlier = pending.filter(alert=OuterRef("alert"), number__lt=OuterRef("number"))
        row = (
            # The lease too: it is what PostgreSQL compares again when it has the lock.
            pending.filter(Q(lease_until=None) | Q(lease_until__lt=Now()), ~Exists(earlier), due_at__lte=Now())
            .select_for_update(no_key=True, skip_locked=True, of=("self",))
            .select_related("alert")
            .order_by("due_at", "created_at", "pk")
            .first()
        )
        if row is None:
            return None
        row.attempt += 1
        AlertNotice.objects.filter(pk=row.pk).update(attempt=row.attempt, lease_until=Now() + LEASE)
    return Claim(row.pk, row.attempt, NoticeEvent(row.event), row.text, row.created_at, row.alert)


def settle(mine: Claim, *, error: str) -> bool:
    """Write the result of an attempt, "" for a success. Return whether the claim was still valid."""
    row = AlertNotice.objects.filter(pk=mine.notice_id, attempt=mine.attempt, state=NoticeState.PENDING)
    if not error:
        return bool(row.update(state=NoticeState.SENT, lease_until=None, sent_at=Now(), error=""))
    if timezone.now() - mine.created_at > GIVEN_UP_AFTER:
        return bool(row.update(state=NoticeState.FAILED, lease_until=None, error=error))
    delay = DELAYS[min(mine.attempt, len(DELAYS)) - 1]
    return bool(row.update(lease_until=None, due_at=Now() + delay, error=error))


def url_of(alert: Alert) -> str:
    """Return the URL of an alert's page; without COPPICE_PUBLIC_URL a path."""
    return f"{settings.PUBLIC_URL or settings.PATH_PREFIX}/admin/{alert._meta.app_label}/alert/{alert.pk}/change/"


# --- mail ---------------------------------------------------------------------------------


def message_of(mine: Claim) -> EmailMessage:
    """Return the mail: what is red, how it is, and since when. It names no wallet and no address of a server."""
    alert = mine.alert
    ended = f"It was last seen at {alert.seen_at:%Y-%m-%d %H:%M} UTC.\n" if mine.event is NoticeEvent.CLOSED else ""
    reminder = (
        "An operator who acknowledges it there ends these reminders.\n" if mine.event is NoticeEvent.REPEATED else ""
    )
    site = settings.PUBLIC_URL.partition("://")[2]
    return EmailMessage(
        subject=f"[Coppice{f' {site}' if site else ''}] {mine.subject}",
        body=(
            f"{alert.title}: {mine.text}\n\nIt began at {alert.opened_at:%Y-%m-%d %H:%M} UTC.\n{ended}{reminder}\n"
            f"{url_of(alert)}\n"
        ),
        to=settings.ALERT_MAIL,
        headers={
            "Message-ID": f"<{mine.notice_id}@{settings.DEFAULT_FROM_EMAIL.rpartition('@')[2].rstrip('>')}>",
            "Auto-Submitted": "auto-generated",
        },
    )


def _mail(mine: Claim) -> str:
    """Send a mail. Return what went wrong in one word, or ""."""
    # After a failed login Django leaves the connection open.
    server = mail.connection()
    try:
        server.send_messages([message_of(mine)])
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError):
        return REFUSED
    except smtplib.SMTPAuthenticationError:
        return "login_refused"
    except ssl.SSLError:
        return "tls_failed"
    except TimeoutError:
        return "timeout"
    except (smtplib.SMTPException, OSError):
        return "connection_failed"
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.close()
    return ""


# --- calls --------------------------------------------------------------------------------


def body_of(mine: Claim) -> str:
    """Return the body of a call, in the form of the Standard Webhooks specification."""
    alert = mine.alert
    told = {
        "type": f"alert.{mine.event}",
        "timestamp": mine.created_at,
        "data": {
            "id": alert.pk,
            "kind": alert.kind,
            "subject": alert.subject or None,
            "title": alert.title,
            "state": mine.text,
            "opened_at": alert.opened_at,
            "closed_at": alert.closed_at if mine.event is NoticeEvent.CLOSED else None,
            "url": url_of(alert),
        },
        # What Slack, Mattermost and others show.
        "text": f"{mine.subject} {url_of(alert)}",
    }
    return orjson.dumps(told, option=orjson.OPT_UTC_Z).decode()


def _call(mine: Claim) -> str:
    """Make a call. Return what went wrong in one word, or ""."""
    body, at = body_of(mine), timezone.now()
    headers = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "accept-encoding": "identity",
        "webhook-id": str(mine.notice_id),
        "webhook-timestamp": str(int(at.timestamp())),
    }
    if settings.ALERT_SECRET:
        headers["webhook-signature"] = Signer(settings.ALERT_SECRET).sign(str(mine.notice_id), at, body)
    answer = asyncio.run(_post(body, headers))
    return "" if answer.is_success else answer.error or f"status_{answer.status}"


async def _post(body: str, headers: Mapping[str, str]) -> Answer:
    client = Client(at_once=1)
    try:
        return await client.post(settings.ALERT_URL, body, headers, deadline=DEADLINE)
    finally:
        await client.aclose()
