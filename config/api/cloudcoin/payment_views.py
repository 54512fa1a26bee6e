"""Payment requests for coins. Errors are problem details (RFC 9457)."""

from functools import partial
from typing import Any, Final
from uuid import UUID

from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.cloudcoin import payment_serializers as serializers
from config.api.cloudcoin.base import (
    CODE_ERRORS,
    COIN_ERRORS,
    DEFAULT_LIMIT,
    PAGE,
    TOO_MANY_TASKS,
    WALLET_ERRORS,
    LockersViewSet,
    address_of,
)
from config.api.cloudcoin.base import describe as describe_locker
from config.api.openapi import Takes
from config.api.renderers import Response
from config.api.validation import Guid
from lockers import errors, payment_requests
from lockers.operations import payment_requests as operations
from lockers.states import PaymentMode, PaymentRequestState
from wallets import names

describe: Final = partial(describe_locker, has_problems=True, tag="payment requests")
_PATH: Final = {"payment_request_id": Guid()}
_PAY_ERRORS: Final = [
    errors.PaymentRequestNotFound(),
    errors.PaymentRequestClosed("paid"),
    errors.PaymentInProgress(),
    errors.PaymentAmountRefused("A payment of this request is of exactly 20; this one is of 19"),
    errors.SameWallets(),
    errors.TooManyPayments(operations.OPEN_CODES_PER_PAYEE),
]


def request_id_of(text: str) -> UUID:
    """:raises PaymentRequestNotFound: the text is no id"""
    found: UUID | None = names.parse_uuid(text)
    if found is None:
        raise errors.PaymentRequestNotFound
    return found


class PaymentRequestViewSet(LockersViewSet):
    """Payment requests for coins, and their payments."""

    begins_tasks = frozenset({"pay"})

    @describe(
        "payment_requests.create",
        "Ask to be paid coins",
        answers={201: serializers.PAYMENT_REQUEST},
        takes=Takes(
            body=serializers.NEW_REQUEST_BODY,
            examples={
                "Single": {"amount": 20, "description": "Two seedlings", "reference": "order-1042"},
                "In parts": {
                    "amount": "100.5",
                    "description": "A grove",
                    "wallet": "alice",
                    "mode": "partial",
                    "expires_at": "2030-01-01T00:00:00Z",
                },
            },
        ),
        refusals=[*WALLET_ERRORS, errors.PaymentExpiryPassed()],
    )
    def create(self, request: Request) -> Response:
        """
        Creates a payment request of a wallet that the caller controls. Nothing is reserved. Anyone who has the link in
        `url` can read the request and pay it: with coins of a wallet here, or with a transmit code from anywhere. The
        events `payment_request.partly_paid` and `payment_request.paid` tell the payee.
        """
        values = serializers.NEW_REQUEST.read_body(request.data)
        made = operations.create(
            actor=caller(request),
            name=values.get("wallet"),
            units=values["amount"],
            description=values["description"],
            mode=PaymentMode(values.get("mode", PaymentMode.SINGLE)),
            reference=values.get("reference", ""),
            expires_at=values.get("expires_at"),
        )
        return Response(self._body(request, payment_requests.view(made, payments=[])), status=201)

    @describe(
        "payment_requests.list",
        "List payment requests",
        answers=serializers.PAYMENT_REQUEST_PAGE,
        takes=Takes(query={**PAGE, **serializers.FILTERS}),
        refusals=WALLET_ERRORS,
    )
    def list(self, request: Request) -> Response:
        """
        Lists the payment requests of the caller's wallet and of those that it manages; the newest first. `reference`
        finds those with exactly this reference.
        """
        page = pagination.read(request, serializers.FILTERS, scope="payment requests", default_limit=DEFAULT_LIMIT)
        state = page.values.get("state")
        rows = payment_requests.page(
            actor=caller(request),
            filters=payment_requests.Filters(
                wallet=page.values.get("wallet"),
                state=None if state is None else PaymentRequestState(state),
                reference=page.values.get("reference"),
            ),
            limit=page.fetch,
            offset=page.offset,
            after=pagination.by_creation(page.position),
        )
        return page.response(
            "payment_requests",
            rows,
            write=partial(self._body, request),
            position=lambda row: [row.request.created_at, row.request.pk],
        )

    @describe(
        "payment_requests.get",
        "Read a payment request",
        answers=serializers.PAYMENT_REQUEST,
        takes=Takes(path=_PATH),
        refusals=[errors.PaymentRequestNotFound()],
    )
    def retrieve(self, request: Request, payment_request_id: str) -> Response:
        """
        Returns a payment request. Who controls the payee gets its reference and its payments too; any other wallet that
        knows the id gets what its public page shows.
        """
        seen = payment_requests.view_for(actor=caller(request), request_id=request_id_of(payment_request_id))
        return Response(serializers.payment_request(seen, request._request, is_payee=seen.payments is not None))

    @describe(
        "payment_requests.cancel",
        "Cancel a payment request",
        answers=serializers.PAYMENT_REQUEST,
        takes=Takes(path=_PATH, is_idempotent=True),
        refusals=[errors.PaymentRequestNotFound(), errors.PaymentRequestClosed("paid")],
    )
    def cancel(self, request: Request, payment_request_id: str) -> Response:
        """
        Cancels a payment request in the state `open` or `partly_paid` of a wallet that the caller controls. What was
        paid stays the payee's. A payment by a code whose coins already move is still credited, as late; any other
        pending payment ends without moving a coin.
        """
        done = operations.cancel(actor=caller(request), request_id=request_id_of(payment_request_id))
        seen = payment_requests.view(done, payments=payment_requests.payments_of(done))
        return Response(self._body(request, seen))

    @describe(
        "payment_requests.pay",
        "Pay a payment request",
        answers=serializers.PAYMENT,
        takes=Takes(
            path=_PATH,
            body=[serializers.PAY_FROM_WALLET_BODY, serializers.PAY_WITH_CODE_BODY],
            examples={
                "From the own wallet": {},
                "A part from a managed wallet": {"wallet": "sapling", "amount": "0.5"},
                "With a transmit code": {"transmit_code": "7KQ4-M2XW-9TRD-HB6P"},
            },
        ),
        refusals=[*WALLET_ERRORS, *CODE_ERRORS, *COIN_ERRORS, TOO_MANY_TASKS, *_PAY_ERRORS],
    )
    def pay(self, request: Request, payment_request_id: str) -> Response:
        """
        Pays a payment request. No trust is needed: the open request is the payee's consent.

        Without `transmit_code`, coins of a wallet that the caller controls are moved to the payee, exactly the amount.
        The answer is `credited`; if a larger coin must be broken first it is `pending`, and the coins stay with the
        payer if the request is closed by then.

        With `transmit_code`, all coins of the locker are taken into the payee's wallet, and credited when the servers
        have authenticated them. The answer is `pending`: poll `payment_requests.payment`. If the request is closed when
        the locker has been looked into, or its coins are worth another amount than the request takes, nothing is taken
        and the payment is `failed`: the code still opens the locker.
        """
        identity, actor = request_id_of(payment_request_id), caller(request)
        if isinstance(request.data, dict) and "transmit_code" in request.data:
            code = serializers.PAY_WITH_CODE.read_body(request.data)["transmit_code"]
            paid = operations.pay_with_code(actor=actor, request_id=identity, code=code, address=address_of(request))
        else:
            values = serializers.PAY_FROM_WALLET.read_body(request.data)
            paid = operations.pay(
                actor=actor, request_id=identity, name=values.get("wallet"), units=values.get("amount")
            )
        return Response(serializers.payment(paid))

    @describe(
        "payment_requests.payment",
        "Read a payment",
        answers=serializers.PAYMENT,
        takes=Takes(path={**_PATH, "payment_id": Guid()}),
        refusals=[errors.PaymentNotFound()],
    )
    def payment(self, request: Request, payment_request_id: str, payment_id: str) -> Response:
        """
        Returns a payment, whose id only the payer and the payee know. It is final in the states `credited` and
        `failed`.
        """
        request_id, identity = names.parse_uuid(payment_request_id), names.parse_uuid(payment_id)
        if request_id is None or identity is None:
            raise errors.PaymentNotFound
        return Response(serializers.payment(payment_requests.payment_of(request_id=request_id, payment_id=identity)))

    def _body(self, request: Request, seen: payment_requests.PaymentRequestView) -> dict[str, Any]:
        return serializers.payment_request(seen, request._request, is_payee=True)
