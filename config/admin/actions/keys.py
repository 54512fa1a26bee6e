"""Operators' actions on restricted keys of wallets."""

from collections.abc import Sequence

from django.contrib.auth.models import User

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, Values
from config.admin.templatetags import formats
from wallets import restricted_keys
from wallets.models import RestrictedKey
from wallets.operator_log import Operator
from wallets.states import OperatorVerb


class EndRestrictedKey(AdminAction):
    name = "end-restricted-key"
    label = "End"
    confirm_label = "End the key"
    verb = OperatorVerb.ENDED_RESTRICTED_KEY
    kind = base.RESTRICTED_KEY
    model = RestrictedKey
    is_dangerous = True

    def why_not(self, user: User, row: RestrictedKey) -> str:
        return "" if self.snapshot(row, {})["valid"] else "it is no longer valid"

    def snapshot(self, row: RestrictedKey, values: Values) -> Values:
        return {"valid": restricted_keys.is_valid(row)}

    def preview(self, row: RestrictedKey, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"1 key of {row.wallet.name}, {row.name} ({row.prefix}…), stops working at once. The wallet sees an event.",
            f"It was last used {formats.ago(row.last_used_at)}." if row.last_used_at else "It was never used.",
            "A key that has ended cannot be restored. Transfers and webhooks that it made stay.",
        ]

    def perform(self, operator: Operator, row: RestrictedKey, values: Values, snapshot: Values) -> Outcome:
        restricted_keys.end(key_id=row.pk)
        message = f"The key {row.name} of {row.wallet.name} has ended."
        return Outcome(message, {"valid": False}, concerns=[(base.WALLET, row.wallet_id)])

    def log_label(self, subject: RestrictedKey, values: Values) -> str:
        return f"{subject} of {subject.wallet.name}"
