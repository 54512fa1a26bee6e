"""Response bodies of events."""

from collections.abc import Mapping
from typing import Any, Final

from config.api.cloudcoin.examples import LINE_TYPE
from config.api.cloudcoin.task_examples import AMOUNT, TASK_STATE
from config.api.json_schemas import Example, Named, Nullable, OneOf, Sometimes
from config.api.page_schemas import page
from config.api.treetracker.transfer_serializers import TRANSFER_STATE
from config.api.treetracker.trust_serializers import TRUST_REQUEST_TYPE
from config.api.validation import Field, Moment, Text
from lockers.states import PaymentRequestState
from transfers.events import EventRow
from wallets.states import EventType, KeyScope

FILTERS: Final[Mapping[str, Field]] = {"since": Moment(required=False), "wallet": Text(required=False)}
EVENT_TYPE: Final = Named(
    "EventType",
    "The kind of an event.",
    OneOf("transfer_completed", *(kind for kind in EventType.values if kind != "transfer_completed")),
    words={
        EventType.LOGIN: "Someone logged in as the wallet.",
        EventType.WALLET_CREATED: "A wallet was created.",
        EventType.TRUST_REQUEST: "A trust relationship was requested.",
        EventType.TRUST_REQUEST_GRANTED: "It was accepted.",
        EventType.TRUST_REQUEST_CANCELLED_BY_TARGET: "The requestee declined or ended it.",
        EventType.TRUST_REQUEST_CANCELLED_BY_ORIGINATOR: "The requester deleted it.",
        EventType.MANAGEMENT_ENDED: "Another wallet no longer manages this one.",
        EventType.TRANSFER_REQUESTED: "A transfer was begun and waits for one side.",
        EventType.TRANSFER_APPROVAL_REQUESTED: (
            "A transfer was begun, or its request fulfilled, and awaits the approval of its sender."
        ),
        EventType.APPROVAL_CHANGED: "Which transfers of the wallet need an approval was changed.",
        EventType.APPROVAL_CHANGE_REQUESTED: (
            "A change of which transfers need an approval was requested; another login must confirm it."
        ),
        EventType.TRANSFER_COMPLETED: "A transfer moved its tokens.",
        EventType.TRANSFER_REQUEST_CANCELLED_BY_DESTINATION: "The side that was asked declined an open transfer.",
        EventType.TRANSFER_PENDING_CANCELLED_BY_REQUESTOR: "The side that asked cancelled an open transfer.",
        EventType.TRANSFER_FAILED: "An open transfer ended without moving tokens.",
        EventType.LOCKER_PUT_SETTLED: "A put into a locker ended, or coins that it left unknown were settled.",
        EventType.LOCKER_TAKE_SETTLED: "A take from a locker ended, or coins that it left unknown were settled.",
        EventType.COINS_IMPORT_SETTLED: "An import of coins ended, or coins that it left unknown were settled.",
        EventType.COINS_EXPORT_SETTLED: "An export of coins ended.",
        EventType.COINS_TRANSFER_SETTLED: "A transfer of coins to another wallet ended; of the wallet that sends.",
        EventType.COINS_RECEIVED: "The balance of coins grew.",
        EventType.PAYMENT_REQUEST_PARTLY_PAID: "A payment request was paid in part. The payee gets these events.",
        EventType.PAYMENT_REQUEST_PAID: "A payment request was paid in full.",
        EventType.PAYMENT_REQUEST_PAID_LATE: "Coins for a payment request arrived after it was closed.",
        EventType.PAYMENT_REQUEST_CANCELLED: "A payment request was cancelled.",
        EventType.PAYMENT_REQUEST_EXPIRED: "A payment request expired before it was paid in full.",
        EventType.WEBHOOK_DISABLED: "A webhook of the wallet was disabled, and not at its own request.",
        EventType.KEY_CREATED: "A restricted key of the wallet was created.",
        EventType.KEY_ENDED: "A restricted key of the wallet was ended. One that expires has no event.",
        EventType.PASSWORD_CHANGED: "The password of the wallet was changed, which ends its sessions.",
        EventType.SESSIONS_ENDED: "Sessions of the wallet were ended, other than by a new password or by expiry.",
    },
)
PAYMENT_REQUEST_STATE: Final = Named(
    "PaymentRequestState",
    "The state of a payment request.",
    OneOf(*PaymentRequestState),
    words={
        PaymentRequestState.OPEN: "Nothing was paid yet.",
        PaymentRequestState.PARTLY_PAID: "A part was paid; the rest may still be paid.",
        PaymentRequestState.PAID: "The amount was paid.",
        PaymentRequestState.CANCELLED: "The payee cancelled it.",
        PaymentRequestState.EXPIRED: "Its time passed before it was paid in full.",
    },
)
EVENT_PAYLOAD: Final = Named(
    "EventPayload",
    "What an event is about. Which fields there are depends on its type.",
    {
        "transferId": Sometimes("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"),
        "walletSender": Sometimes("alice"),
        "walletReceiver": Sometimes("carol"),
        "bundle": Sometimes(2),
        "tokenTransferred": Sometimes(["0acf8c3d-3008-4b55-877b-241d984721d2"]),
        "transferState": Sometimes(TRANSFER_STATE),
        "claim": Sometimes(False),
        "awaitingApproval": Sometimes(True),
        "above": Sometimes(Nullable(100)),
        "newReceivers": Sometimes(True),
        "managerWallet": Sometimes("mona"),
        "trustRelationshipId": Sometimes("1f2ba6d5-9a3c-4b6e-8f0e-5a4f0d8a9c11"),
        "requesterWallet": Sometimes("alice"),
        "requesteeWallet": Sometimes("carol"),
        "trustRequestType": Sometimes(TRUST_REQUEST_TYPE),
        "trustRelationshipsLeft": Sometimes(1),
        "trustRelationshipIds": Sometimes(["1f2ba6d5-9a3c-4b6e-8f0e-5a4f0d8a9c11"]),
        "transfersLeft": Sometimes(0),
        "transferIds": Sometimes(["8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"]),
        "taskId": Sometimes("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"),
        "taskState": Sometimes(TASK_STATE),
        "lockerId": Sometimes("1f2ba6d5-9a3c-4b6e-8f0e-5a4f0d8a9c11"),
        "amount": Sometimes(AMOUNT),
        "amountFailed": Sometimes(AMOUNT),
        "amountUnknown": Sometimes(AMOUNT),
        "amountLeft": Sometimes(AMOUNT),
        "settledBy": Sometimes("5a3f0e2c-6a0b-4f0e-8a0b-1d2c3b4a5f60"),
        "balance": Sometimes(AMOUNT),
        "lineType": Sometimes(LINE_TYPE),
        "webhookId": Sometimes("2b7c1f0a-5d6e-4f7a-9b8c-0d1e2f3a4b5c"),
        "disabledBy": Sometimes("failures"),
        "sessionsEnded": Sometimes(1),
        "keyId": Sometimes("7d0c8f1a-3b5e-4f60-9a2d-6c1e8b4f2a90"),
        "keyName": Sometimes("the shop"),
        "keyScopes": Sometimes([KeyScope.TRANSFERS_WRITE.value]),
        "parentWallet": Sometimes(Nullable("cd004dcc-7974-4c35-8719-cf8f4e18d1df")),
        "childWallet": Sometimes("sapling"),
        "wallet": Sometimes("alice"),
        "paymentRequestId": Sometimes("5f0e7d3e-0f7a-4a55-9f43-1f0b0a1f6c11"),
        "paymentRequestState": Sometimes(PAYMENT_REQUEST_STATE),
        "paid": Sometimes(AMOUNT),
        "reference": Sometimes("order-1042"),
        "paymentId": Sometimes("b6c1b1a4-6c0c-4f0e-b6a5-2f3d1f0a7e22"),
        "paymentAmount": Sometimes(AMOUNT),
        "operator": Sometimes(True),
    },
    words={
        "transferId": "The id of the transfer.",
        "walletSender": "The name of the wallet that sends.",
        "walletReceiver": "The name of the wallet that receives.",
        "bundle": "The number of tokens of a bundle.",
        "tokenTransferred": "The ids of the tokens, if the transfer names them.",
        "transferState": "The state of the transfer after the event.",
        "claim": "Always false.",
        "awaitingApproval": "True if the sender must approve the transfer first. Absent otherwise.",
        "above": "Transfers of more tokens than this need an approval; null: no number of tokens needs one.",
        "newReceivers": "Whether transfers to wallets to which this one never sent need an approval.",
        "managerWallet": "The name of the wallet that no longer manages this one.",
        "trustRelationshipId": "The id of the trust relationship.",
        "requesterWallet": "The name of the wallet that asks.",
        "requesteeWallet": "The name of the wallet that is asked.",
        "trustRequestType": "What the requester asks.",
        "trustRelationshipsLeft": "How many open trust relationships the manager left.",
        "trustRelationshipIds": "The ids of the first hundred of these.",
        "transfersLeft": "How many open transfers the manager left.",
        "transferIds": "The ids of the first hundred of these.",
        "taskId": "The id of the task: `GET /api/v1/task/{task_id}` has its details.",
        "taskState": "The state of the task.",
        "lockerId": "The id of the locker that a put filled.",
        "amount": "The amount that was stored, taken, imported, exported or sent, by which the balance grew, or that a"
        " payment request asks for.",
        "amountFailed": "The amount that was not stored or not taken. Absent if there is none.",
        "amountUnknown": "The amount that the servers have not confirmed yet. Absent if there is none.",
        "amountLeft": "The amount that a take or an import left out. Absent if there is none.",
        "settledBy": "The id of the later task that settled coins which the task had left unknown.",
        "balance": "The balance of the wallet in coins after the event.",
        "lineType": "The type of the line in the statement of the wallet.",
        "webhookId": "The id of the webhook.",
        "disabledBy": "Why it was disabled, as in the webhook itself.",
        "sessionsEnded": "How many sessions ended.",
        "keyId": "The id of the restricted key, which is not secret.",
        "keyName": "Its name.",
        "keyScopes": "Its scopes.",
        "parentWallet": "The id of the wallet that created the other; null if an operator did.",
        "childWallet": "The name of the wallet that was created.",
        "wallet": "The name of the wallet that logged in, or of which the approvals changed.",
        "paymentRequestId": "The id of the payment request.",
        "paymentRequestState": "Its state after the event.",
        "paid": "What was paid of a payment request so far.",
        "reference": "Its reference, if it has one.",
        "paymentId": "The id of the payment that brought coins.",
        "paymentAmount": "What arrived by it with this event.",
        "operator": "True if an operator caused the event.",
    },
)
EVENT: Final = Named(
    "Event",
    "Something that happened to a wallet. Several wallets may have an event each about one transfer.",
    {
        "id": "5a3f0e2c-6a0b-4f0e-8a0b-1d2c3b4a5f60",
        "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
        "type": EVENT_TYPE,
        "created_at": "2024-02-01T00:00:01.000Z",
        "payload": Example(
            EVENT_PAYLOAD,
            {
                "transferId": "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
                "walletSender": "alice",
                "walletReceiver": "carol",
                "bundle": 2,
                "transferState": "completed",
                "claim": False,
            },
        ),
    },
    words={
        "id": "The id of the event.",
        "wallet_id": "The id of the wallet that it happened to.",
        "type": "The kind of the event.",
        "created_at": "When it happened, in UTC with milliseconds.",
        "payload": "What it is about.",
    },
)
EVENT_PAGE: Final = page("EventPage", {"events": [EVENT]})


def event(row: EventRow) -> dict[str, Any]:
    """Return the body of an event: the fields of the row but its position."""
    body = row._asdict()
    del body["number"], body["party"]
    return body
