"""Reports on wallets, credentials and audits, for operators: a fixed number of statements."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from wallets.models import AuditRun, OperatorAction, Wallet


class Beginnings(NamedTuple):
    """Which steps of the setup are done."""

    has_wallet: bool
    has_api_key: bool
    has_login: bool


def setup_checklist() -> Beginnings:
    """Return the checklist, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM wallets_wallet), EXISTS (SELECT FROM wallets_apikey WHERE revoked_at IS NULL),"
            " EXISTS (SELECT FROM wallets_bearertoken)"
        )
        return Beginnings(*cursor.fetchone())


def latest_audit() -> AuditRun | None:
    """Return the audit that started last, finished or not."""
    return AuditRun.objects.select_related("staff").order_by("-pk").first()


def recent_actions(*, limit: int) -> QuerySet[OperatorAction]:
    """Return the latest actions of operators."""
    return OperatorAction.objects.select_related("staff").order_by("-pk")[:limit]


def wallets_with_password(wallet_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the wallets that have a password, without reading a hash."""
    return set(Wallet.objects.filter(pk__in=wallet_ids).exclude(password="").values_list("pk", flat=True))
