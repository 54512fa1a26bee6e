"""Payment requests."""

from datetime import datetime

from coppice_client.calls.describing import CoinAmount, amount_text, get, given, write
from coppice_client.exchange import Call, Listing, time_text
from coppice_client.types import Payment, PaymentMode, PaymentRequest, PaymentRequestState


def create_payment_request(
    amount: CoinAmount,
    description: str,
    *,
    wallet: str | None = None,
    mode: PaymentMode | None = None,
    reference: str | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Call[PaymentRequest]:
    """Ask to be paid coins. Give the payer the `url` of the answer."""
    body = given(
        amount=amount_text(amount),
        description=description,
        wallet=wallet,
        mode=mode,
        reference=reference,
        expires_at=None if expires_at is None else time_text(expires_at),
    )
    return write("POST", "/api/v1/payment-requests", key=idempotency_key, body=body)


def payment_requests(
    *,
    state: PaymentRequestState | None = None,
    wallet: str | None = None,
    reference: str | None = None,
    page_size: int = 100,
) -> Listing[PaymentRequest]:
    """The payment requests of the caller and of the wallets that it manages, the newest first."""
    return Listing(
        "/api/v1/payment-requests",
        "payment_requests",
        limit=page_size,
        state=state,
        wallet=wallet,
        reference=reference,
    )


def payment_request(payment_request_id: str) -> Call[PaymentRequest]:
    """A payment request, by the id in its link. Anyone who has it can read it."""
    return get("/api/v1/payment-requests", payment_request_id)


def cancel_payment_request(payment_request_id: str, *, idempotency_key: str | None = None) -> Call[PaymentRequest]:
    """Cancel a payment request; what was paid stays the payee's."""
    return write("DELETE", "/api/v1/payment-requests", payment_request_id, key=idempotency_key)


def pay(
    payment_request_id: str,
    *,
    amount: CoinAmount | None = None,
    wallet: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Payment]:
    """
    Pay with coins of a wallet, by default all that is outstanding from the caller's.

    The payment is `pending` if a coin must be broken first: ask for it with `payment`.
    """
    body = given(amount=None if amount is None else amount_text(amount), wallet=wallet)
    return write("POST", "/api/v1/payment-requests", payment_request_id, "/pay", key=idempotency_key, body=body)


def pay_with_code(payment_request_id: str, transmit_code: str, *, idempotency_key: str | None = None) -> Call[Payment]:
    """
    Begin to pay with all coins of a locker, filled here or anywhere. Ask for the payment with `payment`.

    If it fails, coins that were not taken are still in the locker.
    """
    body = {"transmit_code": transmit_code}
    return write("POST", "/api/v1/payment-requests", payment_request_id, "/pay", key=idempotency_key, body=body)


def payment(payment_request_id: str, payment_id: str) -> Call[Payment]:
    return get("/api/v1/payment-requests", payment_request_id, "/payments", payment_id)
