"""
The log of operators' actions and of audits.

An operation of any app records an action in the transaction of its effect: a row exists if and only if the effect does.
The unique number of a confirmation makes a form that is sent twice have one effect.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from wallets import errors
from wallets.audit import FINDINGS_PER_CHECK, Finding
from wallets.models import AuditRun, OperatorAction
from wallets.states import AuditResult, OperatorVerb

# The maximum number of findings stored per audit; more can be seen by running it again.
FINDINGS_KEPT: Final = 200
# Longer than an audit may take (`config.tasks`): a run that is older has lost its process.
AUDIT_IS_DEAD_AFTER_SECONDS: Final = 600
AUDIT_OF_ALL_IS_DEAD_AFTER_SECONDS: Final = 6 * 3600
# A setting (GUC) of the transaction of an action.
OPERATOR_SETTING: Final = "coppice.operator"
# The first key of the advisory locks of confirmations, apart from those of `wallets.event_sequence`.
_CONFIRMING: Final = 20261123
# The first key of the advisory locks of actions on one object.
_ACTING: Final = 20261126


@dataclass(frozen=True, slots=True)
class Operator:
    """The staff member who acts in the admin, the number of the confirmation, and the reason."""

    staff: User
    confirmation: str
    reason: str = ""
    request_id: str = ""


def begin(operator: Operator) -> None:
    """
    Take an advisory lock on the confirmation until commit. Must be the first statement of an action.

    Until `record`, events of the transaction carry `"operator": true` (`wallets.operations.record_events`).

    :raises AlreadyDone: the confirmation has had its effect
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_CONFIRMING, operator.confirmation])
        cursor.execute("SELECT set_config(%s, 'acts', true)", [OPERATOR_SETTING])
    done = OperatorAction.objects.filter(confirmation=operator.confirmation).first()
    if done is not None:
        raise errors.AlreadyDone(done.pk)


def hold(verb: OperatorVerb, *, kind: str, object_id: object = "") -> None:
    """Take an advisory lock on the verb and the object until commit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_ACTING, f"{verb.value} {kind} {object_id}"])


def earlier(verb: OperatorVerb, *, kind: str, object_id: object = "") -> int:
    """Return how many actions of this kind the log has for the object."""
    return OperatorAction.objects.filter(verb=verb, object_kind=kind, object_id=str(object_id)).count()


def compare(shown: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """
    Refuse a stale confirmation: compare what the confirmation page showed with the present values.

    :raises ChangedMeanwhile: they differ
    """
    if dict(shown) != dict(now):
        raise errors.ChangedMeanwhile("Something changed since this was shown. Look again.")


def record(
    operator: Operator,
    verb: OperatorVerb,
    *,
    kind: str,
    object_id: object = "",
    label: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    concerns: Iterable[tuple[str, object]] = (),
) -> OperatorAction:
    """
    Record an action, in the transaction of its effect. Neither `before` nor `after` may hold a secret.

    `concerns` lists what else was created or changed, as (kind, id); their pages show the action too.

    :raises AlreadyDone: this confirmation has had its effect already
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, '', true)", [OPERATOR_SETTING])
    try:
        with transaction.atomic():
            return OperatorAction.objects.create(
                staff=operator.staff,
                verb=verb,
                object_kind=kind,
                object_id=str(object_id),
                object_label=label[:254],
                things=list(dict.fromkeys(thing(*each) for each in ((kind, object_id), *concerns) if each[1])),
                reason=operator.reason[:500],
                before=dict(before or {}),
                after=dict(after or {}),
                request_id=operator.request_id,
                confirmation=operator.confirmation,
            )
    except IntegrityError as error:
        raise errors.AlreadyDone(None) from error


def thing(kind: str, object_id: object) -> str:
    """Return the text by which the log names an object."""
    return f"{kind}:{object_id}"


def acts_on(things: Iterable[tuple[str, object]], *, limit: int) -> list[OperatorAction]:
    """Return the actions that concern any of the objects (kind, id), the newest first, in one statement."""
    named = [thing(*each) for each in things]
    found = OperatorAction.objects.filter(things__overlap=named).select_related("staff")
    return list(found.order_by("-pk")[:limit]) if named else []


def begin_audit(*, staff: User | None = None, request_id: str = "", is_of_all: bool = True) -> AuditRun:
    """
    Record the start of an audit, of all rows or of what is new. A run that lost its process is closed as failed.

    :raises AuditIsRunning: another run of the same kind has not finished
    """
    with transaction.atomic(savepoint=False):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE wallets_auditrun SET result = %s, finished_at = now(), error = 'its process ended'"
                " WHERE result = %s"
                "   AND started_at < now() - make_interval(secs => CASE WHEN is_of_all THEN %s ELSE %s END)",
                [
                    AuditResult.FAILED,
                    AuditResult.RUNNING,
                    AUDIT_OF_ALL_IS_DEAD_AFTER_SECONDS,
                    AUDIT_IS_DEAD_AFTER_SECONDS,
                ],
            )
        try:
            with transaction.atomic():
                return AuditRun.objects.create(staff=staff, request_id=request_id, is_of_all=is_of_all)
        except IntegrityError as error:
            raise errors.AuditIsRunning("An audit is running already; its result will be here in a moment.") from error


def finish_audit(*, run_id: int, findings: Sequence[Finding]) -> None:
    """Record the findings of an audit, unless it was closed meanwhile."""
    AuditRun.objects.filter(pk=run_id, result=AuditResult.RUNNING).update(
        result=AuditResult.UNSOUND if findings else AuditResult.SOUND,
        findings_count=len(findings),
        findings=[{"check": each.check, "detail": each.detail} for each in findings[:FINDINGS_KEPT]],
        finished_at=Now(),
    )


def fail_audit(*, run_id: int, error: str) -> None:
    """Record that an audit failed, and why."""
    AuditRun.objects.filter(pk=run_id, result=AuditResult.RUNNING).update(
        result=AuditResult.FAILED, error=error[:250], finished_at=Now()
    )


def audit_findings() -> Iterator[Finding]:
    """Yield earlier audits that do not hold the findings that they counted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, findings_count, kept"
            "  FROM (SELECT id, findings_count, CASE jsonb_typeof(findings)"
            "               WHEN 'array' THEN jsonb_array_length(findings) ELSE -1 END AS kept"
            "          FROM wallets_auditrun) AS run"
            " WHERE kept <> least(findings_count, %s) ORDER BY id LIMIT %s",
            [FINDINGS_KEPT, FINDINGS_PER_CHECK],
        )
        for run_id, count, kept in cursor.fetchall():
            yield Finding("an audit keeps what it found", f"audit {run_id} found {count}, {kept} are there")
