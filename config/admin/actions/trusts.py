"""What operators do with trusts: the operations, each with its entry in the log (see `.wallets`)."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from trusts import errors, operations, reports
from trusts.models import Trust
from wallets import operator_log
from wallets.operator_log import Operator
from wallets.states import OperatorVerb

TRUST: Final = "trust"

Shown = Mapping[str, Any]


def about_to_end(*, trust_id: UUID) -> Shown:
    """:raises trusts.errors.TrustNotFound: no such trust"""
    trust = Trust.objects.filter(pk=trust_id).first()
    if trust is None:
        raise errors.TrustNotFound(trust_id)
    return {"state": trust.state}


def end_trust(*, operator: Operator, shown: Shown, trust_id: UUID) -> None:
    """
    End an open trust for good.

    :raises trusts.errors.TrustNotFound, trusts.errors.TrustNotOpen: as their names say
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        # Locked before it is compared, in the order of the operation.
        operations.lock(trust_id=trust_id)
        operator_log.compare(shown, about_to_end(trust_id=trust_id))
        row = operations.end_trust(trust_id=trust_id)
        trust = Trust.objects.select_related("actor", "target").get(pk=trust_id)
        operator_log.record(
            operator,
            OperatorVerb.ENDED_TRUST,
            kind=TRUST,
            object_id=trust_id,
            label=reports.meaning(trust),
            before={**shown, "request_type": row.request_type, "originator": row.originating_wallet},
            after={"state": row.state, "event": "end"},
        )
