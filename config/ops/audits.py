"""
Audits of all apps: by command, by schedule, and from the admin.

An audit of all reads all history. The audits in between verify the chain of seals (`config.seals`) and a sample of the
sealed rows, and check the rules on the rows that are not sealed yet, on those of the sample, and on the rows that these
concern; so their cost depends on the number of new rows. Sealed rows kept the rules when they were new.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from config.postgresql import replica
from config.seals import blocks, verifying
from lockers import audit as lockers
from lockers.models import StatementLine
from transfers import audit as transfers
from transfers import partitions
from transfers.models import Issue, Movement, Transfer, TransferTerms
from trusts import queries as trusts
from trusts.models import TrustChange
from wallets import errors, operator_log
from wallets.audit import Finding, broken_rules
from wallets.models import AuditRun
from wallets.states import AuditResult

# The first key of the advisory locks that audits hold, so that one of each kind runs, whatever their rows say.
_AUDITING: Final = 20261124
_NO_END: Final = 2**63 - 1

# An audit checks the constraints of the models of these apps.
APPS: Final = ("wallets", "trusts", "transfers", "lockers", "webhooks", "desk", "treetracker_import")

# Nothing depends on the request log: it may name what is gone, and has millions of rows.
_NOT_AUDITED: Final = frozenset({"desk.request"})

# Tables that only grow, which the audits in between leave to the audit of all.
_GROWING: Final = frozenset(
    {
        "wallets.token", "wallets.event", "wallets.idempotentanswer", "wallets.operatoraction", "wallets.auditrun",
        "transfers.actiontoken", "transfers.walletday", "transfers.listspan", "transfers.seal",
        "transfers.latetransfer",
        "lockers.lockertask", "lockers.attempt", "lockers.receiptline", "lockers.payment", "lockers.serverreading",
        "webhooks.webhookdelivery", "webhooks.webhookmessage", "treetracker_import.importedrow",
    }
)  # fmt: skip

log = logging.getLogger("coppice.audit")


def audited_models() -> list[type[Model]]:
    """Return the models whose constraints an audit checks."""
    models = (model for app in APPS for model in apps.get_app_config(app).get_models())
    return [model for model in models if model._meta.label_lower not in _NOT_AUDITED]


def findings(*, is_of_all: bool = True, on_replica: bool = False) -> list[Finding]:
    """
    Return every violated rule of the ledger, the lockers and the admin, in one snapshot.

    The constraints, unique fields and references of the models are checked in each table, whatever the database
    enforces: a restored or edited database may lack a constraint, or hold rows from before it.

    Unless `is_of_all`, only what is new and a sample of the rest is read.

    With `on_replica` all is read there, once the replica has what is committed now; the primary only keeps others from
    auditing. A replica has what the primary has written to its log: damage to the primary's files is not in it.

    :raises AuditIsRunning: another audit of the same kind is running
    :raises config.postgresql.replica.Unusable: the replica cannot be read, or failed
    """
    if on_replica:
        replica.state(after=replica.position(), patience_seconds=settings.REPLICA_MAX_LAG)
        # No lock of a standby is visible elsewhere.
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            _keep_out(is_of_all=is_of_all)
            with replica.reading(), transaction.atomic(), connection.cursor() as there:
                there.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                partitions.keep()
                return _findings(there, is_of_all=is_of_all)
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if is_outermost:
            # One snapshot for all checks.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        partitions.keep()
        _keep_out(is_of_all=is_of_all)
        return _findings(cursor, is_of_all=is_of_all)


def keep_out() -> None:
    """
    Let no audit begin until the transaction of the caller ends.

    :raises AuditIsRunning: an audit is running
    """
    _keep_out(is_of_all=False)
    _keep_out(is_of_all=True)


def _keep_out(*, is_of_all: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_AUDITING, int(is_of_all)])
        if not cursor.fetchone()[0]:
            raise errors.AuditIsRunning("An audit is running already.")


def _findings(cursor: Any, *, is_of_all: bool) -> list[Finding]:
    cursor.execute("SET LOCAL statement_timeout = 0")
    return _of_all(cursor) if is_of_all else _of_new()


def _of_all(cursor: Any) -> list[Finding]:
    # All rows are read.
    cursor.execute("SET LOCAL enable_seqscan = on")
    verified = verifying.whole()
    if verified.elsewhere:
        log.warning("sealed blocks %s are not compared: %s", verifying.spans(verified.elsewhere), verifying.ELSEWHERE)
    return [
        *verified.findings,
        *broken_rules(audited_models()),
        *operator_log.audit_findings(),
        *trusts.audit_findings(),
        *transfers.audit_findings(),
        *lockers.audit_findings(),
    ]


def _of_new() -> list[Finding]:
    verified = verifying.sampled()
    sealed = blocks.positions(verified.head)
    models = [model for model in audited_models() if model._meta.label_lower not in _GROWING]
    return [
        *verified.findings,
        *broken_rules(models, _new_rows(sealed)),
        *trusts.audit_findings(),
        *transfers.audit_findings(_spans(verified, sealed)),
        *lockers.audit_findings(after=sealed["statement_lines"]),
    ]


def _new_rows(sealed: Mapping[str, int]) -> dict[type[Model], QuerySet[Any, Any]]:
    return {
        Transfer: Transfer.objects.filter(number__gt=sealed["transfers"]),
        TransferTerms: TransferTerms.objects.filter(transfer_id__gt=sealed["transfers"]),
        Movement: Movement.objects.filter(pk__gt=sealed["movements"]),
        Issue: Issue.objects.filter(pk__gt=sealed["issues"]),
        TrustChange: TrustChange.objects.filter(pk__gt=sealed["trust_changes"]),
        StatementLine: StatementLine.objects.filter(pk__gt=sealed["statement_lines"]),
    }


def _spans(verified: verifying.Verified, sealed: Mapping[str, int]) -> transfers.Spans:
    """Return the rows of the blocks that were verified, and the new ones."""
    return transfers.Spans(
        *(
            [*((after[name], upto[name]) for after, upto in verified.hashed), (sealed[name], _NO_END)]
            for name in ("transfers", "movements")
        )
    )


def run(*, staff: User | None = None, request_id: str = "", is_of_all: bool = True) -> AuditRun:
    """
    Run an audit and return its row, with the findings.

    :raises AuditIsRunning: another audit of the same kind is running
    """
    begun = operator_log.begin_audit(staff=staff, request_id=request_id, is_of_all=is_of_all)
    complete(run_id=begun.pk)
    begun.refresh_from_db()
    return begun


def complete(*, run_id: int) -> None:
    """Run an audit whose row exists, and store its result in the row."""
    try:
        found = _findings_anywhere(
            is_of_all=AuditRun.objects.values_list("is_of_all", flat=True).get(pk=run_id),
        )
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


def _findings_anywhere(*, is_of_all: bool) -> list[Finding]:
    """Read from the replica if there is one that can be read, else from the primary."""
    if replica.is_configured():
        try:
            return findings(is_of_all=is_of_all, on_replica=True)
        except replica.Unusable as error:
            log.warning("the primary is audited, because the replica %s", error)
    return findings(is_of_all=is_of_all)


def is_due() -> bool:
    """Return whether a scheduled audit should start: none started within `AUDIT_EVERY_MINUTES`."""
    if settings.AUDIT_EVERY_MINUTES == 0:
        return False
    recent = AuditRun.objects.filter(started_at__gt=Now() - timedelta(minutes=settings.AUDIT_EVERY_MINUTES))
    return not _without_failed(recent).exists()


def is_of_all_due() -> bool:
    """Return whether the daily audit of all should start: none did since `FULL_AUDIT_HOUR` (UTC) was last."""
    if settings.FULL_AUDIT_HOUR < 0:
        return False
    now = timezone.now().astimezone(UTC)
    hour = now.replace(hour=settings.FULL_AUDIT_HOUR, minute=0, second=0, microsecond=0)
    since = hour if hour <= now else hour - timedelta(days=1)
    return not _without_failed(AuditRun.objects.filter(is_of_all=True, started_at__gte=since)).exists()


def _without_failed(runs: QuerySet[AuditRun, AuditRun]) -> QuerySet[AuditRun, AuditRun]:
    """Leave out those that failed, but for a minute."""
    return runs.exclude(result=AuditResult.FAILED, finished_at__lt=Now() - timedelta(seconds=60))
