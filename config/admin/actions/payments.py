"""The operators' action on payment requests."""

from collections.abc import Sequence

from django.contrib.auth.models import User

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, Values
from lockers import payment_ledger, payment_requests
from lockers.coin_outcomes import grouped_coins_text as coins_text
from lockers.models import PaymentRequest
from lockers.operations import payment_requests as operations
from lockers.states import PAYABLE
from wallets.operator_log import Operator
from wallets.states import OperatorVerb


class CancelPaymentRequest(AdminAction):
    name = "cancel-payment-request"
    label = "Cancel"
    confirm_label = "Cancel the payment request"
    verb = OperatorVerb.CANCELLED_PAYMENT_REQUEST
    kind = base.PAYMENT_REQUEST
    model = PaymentRequest
    is_dangerous = True

    def why_not(self, user: User, row: PaymentRequest) -> str:
        state = payment_requests.state_now(row)
        return "" if state in PAYABLE else f"it is {state}, and that is final"

    def snapshot(self, row: PaymentRequest, values: Values) -> Values:
        return {"state": row.state, "paid": row.paid, "pending": payment_ledger.promised(row)}

    def preview(self, row: PaymentRequest, values: Values, snapshot: Values) -> Sequence[str]:
        pending = snapshot["pending"]
        return [
            f"The request of {row.wallet.name} to be paid {coins_text(row.amount)} is cancelled in its name. That is"
            " final. The payee gets an event.",
            f"{coins_text(row.paid)} that were paid stay the payee's." if row.paid else "Nothing was paid so far.",
            f"Payments of {coins_text(pending)} have not ended: what moves already is credited as late, the rest stays"
            " with its payers."
            if pending
            else "No payment is on its way.",
        ]

    def perform(self, operator: Operator, row: PaymentRequest, values: Values, snapshot: Values) -> Outcome:
        done = operations.cancel(actor=row.wallet, request_id=row.pk)
        return Outcome(
            "The payment request is cancelled.",
            {"state": done.state, "in_the_name_of": row.wallet.name},
            concerns=[(base.WALLET, row.wallet_id)],
        )

    def log_label(self, subject: PaymentRequest, values: Values) -> str:
        return f"{coins_text(subject.amount)} for {subject.wallet.name}"
