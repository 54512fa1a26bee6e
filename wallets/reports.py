"""Reports on wallets, credentials and audits, for operators: a fixed number of statements."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from wallets import names
from wallets.models import AuditRun, OperatorAction, Wallet
from wallets.states import AuditResult


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


def recent_audits(*, limit: int) -> list[AuditRun]:
    """Return the audits that started last, finished or not, the latest first."""
    return list(AuditRun.objects.order_by("-pk")[:limit])


def deciding_audit() -> AuditRun | None:
    """
    Return the ended audit whose result counts: the last, or the last of all rows if that found something.

    What only an audit of all rows finds is not gone because the next one of what is new did not look for it.
    """
    ended = AuditRun.objects.exclude(result=AuditResult.RUNNING).order_by("-pk")
    last_of_all = ended.filter(is_of_all=True).exclude(result=AuditResult.FAILED).first()
    if last_of_all is not None and last_of_all.result == AuditResult.UNSOUND:
        return last_of_all
    return ended.first()


def recent_actions(*, limit: int) -> QuerySet[OperatorAction]:
    """Return the latest actions of operators."""
    return OperatorAction.objects.select_related("staff").order_by("-pk")[:limit]


def wallets_with_password(wallet_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the wallets that have a password, without reading a hash."""
    return set(Wallet.objects.filter(pk__in=wallet_ids).exclude(password="").values_list("pk", flat=True))


def wallets_called(text: str, *, limit: int) -> list[UUID]:
    """
    Return the ids of at most `limit` wallets with the text in their name or display name, the best first.

    First the wallet of exactly this name, then names that begin with the text, then names with it elsewhere, each in
    the order of names; then display names with it.

    A name is found by trigrams, if the text has some that are rare; otherwise all names are read from an index, in
    their order, until `limit` of them match. The statements read no other column, so that no row is read for a name
    that does not match.
    """
    key = names.name_key(text)
    if not key:
        return []
    found: dict[UUID, None] = {}
    for condition in ({"name_key": key}, {"name_key__startswith": key}, {"name_key__contains": key}):
        if len(found) < limit:
            rows = Wallet.objects.filter(**condition).order_by("name_key")
            keys = list(rows.values_list("name_key", flat=True)[:limit])
            ids = dict(Wallet.objects.filter(name_key__in=keys).values_list("name_key", "pk"))
            found |= {ids[key]: None for key in keys if key in ids}
    if len(found) < limit:
        # As a regular expression, which ignores case and uses trigrams too.
        named = Wallet.objects.filter(display_name__iregex=re.escape(text)).exclude(display_name="")
        found |= dict.fromkeys(named.order_by("display_name").values_list("pk", flat=True)[:limit])
    return list(found)[:limit]
