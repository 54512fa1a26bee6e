"""Operators' actions on webhooks and deliveries."""

from collections.abc import Sequence

from django.contrib.auth.models import User

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, Values
from wallets.operator_log import Operator
from wallets.states import OperatorVerb
from wallets.wording import counted
from webhooks import operations
from webhooks.models import Webhook, WebhookDelivery
from webhooks.states import DeliveryState, DisabledBy, WebhookState


class _WebhookAction(AdminAction):
    app = "webhooks"
    kind = base.WEBHOOK
    model = Webhook

    def snapshot(self, row: Webhook, values: Values) -> Values:
        return {"state": row.state, "disabled_by": row.disabled_by}

    def log_label(self, subject: Webhook, values: Values) -> str:
        return f"webhook of {subject.wallet.name}"


class DisableWebhook(_WebhookAction):
    name = "disable-webhook"
    label = "Disable"
    confirm_label = "Disable the webhook"
    verb = OperatorVerb.DISABLED_WEBHOOK
    is_dangerous = True

    def why_not(self, user: User, row: Webhook) -> str:
        return "" if row.state == WebhookState.ENABLED else "it is disabled already"

    def preview(self, row: Webhook, values: Values, snapshot: Values) -> Sequence[str]:
        waiting = counted(row.deliveries.filter(state=DeliveryState.PENDING).count(), "delivery", "deliveries")
        return [
            f"No event of {row.wallet.name} is sent to the URL any more. {waiting} that wait: they are cancelled.",
            "The wallet gets an event. It can enable the webhook again.",
        ]

    def perform(self, operator: Operator, row: Webhook, values: Values, snapshot: Values) -> Outcome:
        operations.disable(row, by=DisabledBy.OPERATOR)
        concerns = [(base.WALLET, row.wallet_id)]
        return Outcome("The webhook is disabled.", {"state": row.state}, concerns=concerns)


class EnableWebhook(_WebhookAction):
    name = "enable-webhook"
    label = "Enable"
    confirm_label = "Enable the webhook"
    verb = OperatorVerb.ENABLED_WEBHOOK

    def why_not(self, user: User, row: Webhook) -> str:
        return "" if row.state == WebhookState.DISABLED else "it is enabled already"

    def preview(self, row: Webhook, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"What happens to {row.wallet.name} from now on is sent to the URL.",
            "What happened while it was disabled is not sent: the receiver reads it from GET /events.",
        ]

    def perform(self, operator: Operator, row: Webhook, values: Values, snapshot: Values) -> Outcome:
        operations.enable(row)
        concerns = [(base.WALLET, row.wallet_id)]
        return Outcome("The webhook is enabled.", {"state": row.state}, concerns=concerns)


class TestWebhook(_WebhookAction):
    name = "test-webhook"
    label = "Send a test"
    confirm_label = "Send a test"
    verb = OperatorVerb.TESTED_WEBHOOK

    def why_not(self, user: User, row: Webhook) -> str:
        return "" if row.state == WebhookState.ENABLED else "it is disabled"

    def preview(self, row: Webhook, values: Values, snapshot: Values) -> Sequence[str]:
        return ["A message of the type webhook.test is sent to the URL within seconds."]

    def perform(self, operator: Operator, row: Webhook, values: Values, snapshot: Values) -> Outcome:
        sent = operations.test(row)
        return Outcome("A test is on its way.", {"delivery": str(sent.pk)}, concerns=[(base.DELIVERY, sent.pk)])


class ResendDelivery(AdminAction):
    app = "webhooks"
    name = "resend-delivery"
    label = "Send again"
    confirm_label = "Send it again"
    verb = OperatorVerb.RESENT_DELIVERY
    kind = base.DELIVERY
    model = WebhookDelivery

    def why_not(self, user: User, row: WebhookDelivery) -> str:
        return "" if row.webhook.state == WebhookState.ENABLED else "the webhook is disabled"

    def snapshot(self, row: WebhookDelivery, values: Values) -> Values:
        return {"state": row.state, "attempt": row.attempt}

    def preview(self, row: WebhookDelivery, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            "The message is sent within seconds, under the same id, and the schedule of retries begins anew.",
            *(["It was delivered: the receiver gets it twice."] if row.state == DeliveryState.DELIVERED else []),
        ]

    def lock(self, operator: Operator, row: WebhookDelivery, values: Values) -> tuple[Operator, WebhookDelivery]:
        # In the order of the operations: the webhook first.
        operations.lock(row.webhook_id)
        return super().lock(operator, row, values)

    def perform(self, operator: Operator, row: WebhookDelivery, values: Values, snapshot: Values) -> Outcome:
        again = operations.send_again(operations.lock(row.webhook_id), row.pk)
        concerns = [(base.WEBHOOK, row.webhook_id)]
        return Outcome("The message is on its way again.", {"state": again.state}, concerns=concerns)

    def log_label(self, subject: WebhookDelivery, values: Values) -> str:
        return f"{subject.message.type} to the webhook of {subject.webhook.wallet.name}"
