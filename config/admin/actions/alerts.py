"""Operators' action on alerts."""

from collections.abc import Sequence

from django.contrib.auth.models import User

from config.admin import alerts
from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, Values
from config.admin.models import Alert
from wallets.operator_log import Operator
from wallets.states import OperatorVerb


class AcknowledgeAlert(AdminAction):
    """The reason is the note that other operators see."""

    app = "desk"
    name = "acknowledge-alert"
    label = "Acknowledge"
    confirm_label = "Acknowledge the alert"
    verb = OperatorVerb.ACKNOWLEDGED_ALERT
    kind = base.ALERT
    model = Alert

    def why_not(self, user: User, row: Alert) -> str:
        if row.closed_at is not None:
            return "it has ended"
        return f"{row.acknowledged_by} acknowledged it already" if row.acknowledged_at is not None else ""

    def snapshot(self, row: Alert, values: Values) -> Values:
        return {"opened_at": row.opened_at.isoformat(), "acknowledged": row.acknowledged_at is not None}

    def preview(self, row: Alert, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            "Your name and the reason stand beside the alert. No reminder of it is sent any more.",
            "It stays open until what it reports has ended, and its end is reported.",
        ]

    def perform(self, operator: Operator, row: Alert, values: Values, snapshot: Values) -> Outcome:
        alerts.acknowledge(row, staff=operator.staff, note=operator.reason)
        return Outcome("The alert is acknowledged.", {"acknowledged": True})
