"""Bodies of payment requests and payments, and their components in the API description."""

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest
from django.urls import get_script_prefix

from config.api.cloudcoin.fields import CODE_WORDS, Amount
from config.api.cloudcoin.task_examples import AMOUNT
from config.api.cloudcoin.task_serializers import DOING
from config.api.json_schemas import Example, Named, Nullable, OneOf, Sometimes
from config.api.page_schemas import page
from config.api.treetracker.event_serializers import PAYMENT_REQUEST_STATE
from config.api.validation import Field, Moment, Shape, Text
from config.web.addresses import public_url
from lockers.models import Payment
from lockers.models.payment_requests import MAXIMUM_DESCRIPTION, MAXIMUM_REFERENCE
from lockers.payment_requests import PaymentRequestView
from lockers.raida.coins import json_amount
from lockers.states import PaymentMode, PaymentRequestState, PaymentState, TaskKind, TaskState

_ID: Final = "5f0e7d3e-0f7a-4a55-9f43-1f0b0a1f6c11"
_PAYMENT_ID: Final = "b6c1b1a4-6c0c-4f0e-b6a5-2f3d1f0a7e22"
_TIME: Final = "2026-12-01T12:00:00.000Z"
_WALLET: Final = Text(maximum=254, required=False)

MODE: Final = Named(
    "PaymentMode",
    "How a payment request is paid.",
    OneOf(*(mode.value for mode in PaymentMode)),
    words={
        PaymentMode.SINGLE.value: "Each payment is of all that is outstanding.",
        PaymentMode.PARTIAL.value: "Payments may be of any part of what is outstanding.",
    },
)
NEW_REQUEST: Final = Shape(
    {
        "amount": Amount(),
        "description": Text(maximum=MAXIMUM_DESCRIPTION),
        "wallet": _WALLET,
        "mode": Text(choices=tuple(mode.value for mode in PaymentMode), required=False),
        "reference": Text(maximum=MAXIMUM_REFERENCE, required=False),
        "expires_at": Moment(required=False),
    }
)
NEW_REQUEST_BODY: Final = Named(
    "NewPaymentRequest",
    "Coins that a wallet asks to be paid.",
    NEW_REQUEST,
    words={
        "amount": "An amount in coins: a whole number, or a decimal text with up to eight decimals.",
        "description": "What the payment is for. Everyone with the link reads it.",
        "wallet": "The name or the id of the payee; the caller's own wallet by default.",
        "mode": "How it is paid; `single` by default.",
        "reference": "A text of the payee, such as the number of an order. Payers do not see it.",
        "expires_at": "When it can no longer be paid. Without it the request stays open until it is cancelled.",
    },
)
PAY_FROM_WALLET: Final = Shape({"wallet": _WALLET, "amount": Amount(required=False)})
PAY_FROM_WALLET_BODY: Final = Named(
    "PaymentFromWallet",
    "A payment with coins of a wallet here.",
    PAY_FROM_WALLET,
    words={
        "wallet": "The name or the id of the wallet that pays; the caller's own by default.",
        "amount": "An amount in coins, as in the payment request; by default all that is outstanding.",
    },
)
PAY_WITH_CODE: Final = Shape({"transmit_code": Text(maximum=1000)})
PAY_WITH_CODE_BODY: Final = Named(
    "PaymentByCode",
    "A payment with all coins of a locker, filled here or anywhere.",
    PAY_WITH_CODE,
    words={"transmit_code": CODE_WORDS},
)
FILTERS: Final[Mapping[str, Field]] = {
    "wallet": _WALLET,
    "state": Text(choices=tuple(state.value for state in PaymentRequestState), required=False),
    "reference": Text(maximum=MAXIMUM_REFERENCE, required=False),
}

PAYMENT_STATE: Final = Named(
    "PaymentState",
    "The state of a payment.",
    OneOf(PaymentState.CREDITED.value, PaymentState.PENDING.value, PaymentState.FAILED.value),
    words={
        PaymentState.CREDITED.value: "Its coins have been authenticated and are the payee's.",
        PaymentState.PENDING.value: "It has not ended, or some of its coins are in limbo.",
        PaymentState.FAILED.value: "Nothing arrived; the message says why.",
    },
)
PAYMENT: Final = Named(
    "Payment",
    "A payment of a payment request.",
    {
        "id": _PAYMENT_ID,
        "payment_request_id": _ID,
        "state": PAYMENT_STATE,
        "amount": AMOUNT,
        "pending": Example(AMOUNT, 0),
        "method": OneOf("wallet", "code"),
        "payer": Nullable("bob"),
        "is_late": False,
        "message": "Transferred.",
        "created_at": _TIME,
        "settled_at": Nullable(_TIME),
    },
    words={
        "id": "The id of the payment.",
        "payment_request_id": "The id of the payment request.",
        "state": "The state of the payment.",
        "amount": "What has arrived by it.",
        "pending": "What may still arrive by it. 0 while a locker has not been looked into.",
        "method": "`wallet` with coins of a wallet here, `code` with the coins of a locker.",
        "payer": "The name of the wallet that paid or sent the code; null for a code that was sent without a login.",
        "is_late": "Whether coins arrived after the request was paid, cancelled or expired. They are the payee's too.",
        "message": "What has happened.",
        "created_at": "When it was begun, in UTC with milliseconds.",
        "settled_at": "When its outcome became final; null before.",
    },
)
PAYMENT_REQUEST: Final = Named(
    "PaymentRequest",
    "A request of a wallet to be paid coins.",
    {
        "id": _ID,
        "wallet": "alice",
        "state": PAYMENT_REQUEST_STATE,
        "mode": MODE,
        "amount": AMOUNT,
        "paid": Example(AMOUNT, 0),
        "pending": Example(AMOUNT, 0),
        "outstanding": AMOUNT,
        "description": "Two seedlings",
        "url": f"https://trees.example/pay/{_ID}",
        "created_at": _TIME,
        "expires_at": Nullable(_TIME),
        "closed_at": Nullable(_TIME),
        "reference": Sometimes("order-1042"),
        "payments": Sometimes([PAYMENT]),
    },
    words={
        "id": "The id of the payment request. It cannot be guessed; who knows it can read the request and pay.",
        "wallet": "The name of the payee.",
        "state": "The state of the payment request.",
        "mode": "How it is paid.",
        "amount": "What it asks for.",
        "paid": "What was paid so far, late payments included.",
        "pending": "What payments that have not ended may still bring.",
        "outstanding": "What can still be paid, pending payments included; 0 once it is closed.",
        "description": "What the payment is for.",
        "url": "The address of its public page.",
        "created_at": "When it was created, in UTC with milliseconds.",
        "expires_at": "When it can no longer be paid; null if it does not expire.",
        "closed_at": "When it was paid, cancelled or expired; null before.",
        "reference": "The payee's reference. Only for who controls the payee, and if there is one.",
        "payments": "Its newest payments, up to 100. Only in the answer for one request, for who controls the payee.",
    },
)
PAYMENT_REQUEST_PAGE: Final = page("PaymentRequestPage", {"payment_requests": [PAYMENT_REQUEST]})


def payment(row: Payment) -> dict[str, Any]:
    """Return the body of a payment; nothing in it is known to the payee or the payer alone."""
    task = row.task
    return {
        "id": str(row.pk),
        "payment_request_id": str(row.request_id),
        "state": row.state,
        "amount": json_amount(row.units),
        "pending": json_amount(row.expected),
        "method": "code" if task.kind == TaskKind.TAKE else "wallet",
        "payer": None if row.payer is None else row.payer.name,
        "is_late": row.is_late,
        "message": message_of(row),
        "created_at": row.created_at,
        "settled_at": row.settled_at,
    }


def message_of(row: Payment) -> str:
    """Return what has become of a payment so far, in a sentence."""
    return row.task.message or (DOING[row.task.step] if row.task.state == TaskState.RUNNING else "")


def link(request: HttpRequest, identity: object) -> str:
    """Return the public address of the page of a payment request."""
    return public_url(request, f"{get_script_prefix()}pay/{identity}")


def payment_request(seen: PaymentRequestView, request: HttpRequest, *, is_payee: bool) -> dict[str, Any]:
    """Return the body of a payment request, for who controls the payee or for others."""
    row = seen.request
    body: dict[str, Any] = {
        "id": str(row.pk),
        "wallet": row.wallet.name,
        "state": seen.state,
        "mode": row.mode,
        "amount": json_amount(row.amount),
        "paid": json_amount(row.paid),
        "pending": json_amount(seen.pending),
        "outstanding": json_amount(seen.outstanding),
        "description": row.description,
        "url": link(request, row.pk),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "closed_at": row.closed_at,
    }
    if is_payee and row.reference:
        body["reference"] = row.reference
    if seen.payments is not None:
        body["payments"] = [payment(each) for each in seen.payments]
    return body
