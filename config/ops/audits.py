"""Audits of all apps: by command, by schedule, and from the admin."""

import logging
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Model
from django.db.models.functions import Now

from config.postgresql import replica
from lockers import audit as lockers
from transfers import audit as transfers
from trusts import queries as trusts
from wallets import errors, operator_log
from wallets.audit import Finding, broken_rules
from wallets.models import AuditRun
from wallets.states import AuditResult

# The key of the advisory lock that an audit holds, so that only one runs, whatever the rows of audits say.
_AUDITING: Final = 20261124

# An audit checks the constraints of the models of these apps.
APPS: Final = ("wallets", "trusts", "transfers", "lockers", "webhooks", "desk", "treetracker_import")

# Nothing depends on the request log: it may name what is gone, and has millions of rows.
_NOT_AUDITED: Final = frozenset({"desk.request"})

log = logging.getLogger("coppice.audit")


def audited_models() -> list[type[Model]]:
    """Return the models whose constraints an audit checks."""
    models = (model for app in APPS for model in apps.get_app_config(app).get_models())
    return [model for model in models if model._meta.label_lower not in _NOT_AUDITED]


def findings(*, on_replica: bool = False) -> list[Finding]:
    """
    Return every violated rule of the ledger, the lockers and the admin, in one snapshot.

    The constraints, unique fields and references of the models are checked in each table, whatever the database
    enforces: a restored or edited database may lack a constraint, or hold rows from before it.

    With `on_replica` all is read there, once the replica has what is committed now; the primary only keeps others from
    auditing. A replica has what the primary has written to its log: damage to the primary's files is not in it.

    :raises AuditIsRunning: another audit is running
    :raises config.postgresql.replica.Unusable: the replica cannot be read, or failed
    """
    if on_replica:
        replica.state(after=replica.position(), patience_seconds=settings.REPLICA_MAX_LAG)
        # No lock of a standby is visible elsewhere.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            keep_out()
            with replica.reading(), transaction.atomic(), connection.cursor() as there:
                there.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                return _findings(there)
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if is_outermost:
            # One snapshot for all checks.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        keep_out()
        return _findings(cursor)


def _findings(cursor: Any) -> list[Finding]:
    cursor.execute("SET LOCAL statement_timeout = 0")
    # All rows are read.
    cursor.execute("SET LOCAL enable_seqscan = on")
    return [
        *broken_rules(audited_models()),
        *operator_log.audit_findings(),
        *trusts.audit_findings(),
        *transfers.audit_findings(),
        *lockers.audit_findings(),
    ]


def keep_out() -> None:
    """
    Let no audit begin until the transaction of the caller ends.

    :raises AuditIsRunning: an audit is running
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_AUDITING])
        if not cursor.fetchone()[0]:
            raise errors.AuditIsRunning("An audit is running already.")


def run(*, staff: User | None = None, request_id: str = "") -> AuditRun:
    """
    Run an audit and return its row, with the findings.

    :raises AuditIsRunning: another audit is running
    """
    begun = operator_log.begin_audit(staff=staff, request_id=request_id)
    complete(run_id=begun.pk)
    begun.refresh_from_db()
    return begun


def complete(*, run_id: int) -> None:
    """Run an audit whose row exists, and store its result in the row."""
    try:
        found = _findings_anywhere()
    except errors.AuditIsRunning as error:
        operator_log.fail_audit(run_id=run_id, error=str(error))
        return
    except Exception as error:
        # The row must not stay "running"; the log has the traceback.
        operator_log.fail_audit(run_id=run_id, error=type(error).__name__)
        raise
    operator_log.finish_audit(run_id=run_id, findings=found)
    for finding in found:
        log.error("%s: %s", finding.check, finding.detail)


def _findings_anywhere() -> list[Finding]:
    """Read from the replica if there is one that can be read, else from the primary."""
    if replica.is_configured():
        try:
            return findings(on_replica=True)
        except replica.Unusable as error:
            log.warning("the primary is audited, because the replica %s", error)
    return findings()


def is_due() -> bool:
    """Return whether a scheduled audit should start: none started within `AUDIT_EVERY_MINUTES`."""
    if settings.AUDIT_EVERY_MINUTES == 0:
        return False
    recent = AuditRun.objects.filter(started_at__gt=Now() - timedelta(minutes=settings.AUDIT_EVERY_MINUTES))
    return not recent.exclude(result=AuditResult.FAILED, finished_at__lt=Now() - timedelta(seconds=60)).exists()
