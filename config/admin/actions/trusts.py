"""The operators' action on trusts."""

from collections.abc import Sequence

from django.contrib.auth.models import User

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, Values
from trusts import operations, reports
from trusts.models import Trust
from trusts.states import OPEN, TrustState
from wallets.errors import NotPossible
from wallets.operator_log import Operator
from wallets.states import OperatorVerb


class EndTrust(AdminAction):
    name = "end-trust"
    label = "End"
    confirm_label = "End this trust"
    verb = OperatorVerb.ENDED_TRUST
    kind = base.TRUST
    model = Trust
    is_dangerous = True

    def why_not(self, user: User, row: Trust) -> str:
        return "" if row.state in OPEN else "it is neither requested nor trusted"

    def snapshot(self, row: Trust, values: Values) -> Values:
        return {"state": row.state}

    def preview(self, row: Trust, values: Values, snapshot: Values) -> Sequence[str]:
        in_force = snapshot["state"] == TrustState.TRUSTED
        now = "is in force, and ends" if in_force else "is only requested, and is refused"
        return [
            f"{reports.meaning(row)}: this {now}.",
            f"Neither {row.actor.name} nor {row.target.name} can restore it by an answer: a new request is needed."
            " Both wallets get an event.",
            "Open transfers stay open, and other trusts do not change.",
        ]

    def lock(self, operator: Operator, row: Trust, values: Values) -> tuple[Operator, Trust]:
        # In the order of the operation: the two wallets first.
        trust = operations.lock(trust_id=row.pk)
        if trust is None:
            raise NotPossible("It no longer exists.")
        return operator, trust

    def perform(self, operator: Operator, row: Trust, values: Values, snapshot: Values) -> Outcome:
        ended = operations.end_trust(trust_id=row.pk)
        before = {"request_type": ended.request_type, "originator": ended.originating_wallet}
        return Outcome("The trust is ended.", {"state": ended.state, "event": "end"}, before)

    def log_label(self, subject: Trust, values: Values) -> str:
        return reports.meaning(subject)
