"""What can happen to a wallet, as its holder reads it in the list of events."""

from django.db import models


class EventType(models.TextChoices):
    """The kinds of events, in the words of the later version of the public service."""

    LOGIN = "login"
    WALLET_CREATED = "wallet_created"
    TRUST_REQUEST = "trust_request"
    TRUST_REQUEST_GRANTED = "trust_request_granted"
    TRUST_REQUEST_CANCELLED_BY_TARGET = "trust_request_cancelled_by_target"
    TRUST_REQUEST_CANCELLED_BY_ORIGINATOR = "trust_request_cancelled_by_originator"
    TRANSFER_REQUESTED = "transfer_requested"
    TRANSFER_COMPLETED = "transfer_completed"
    TRANSFER_REQUEST_CANCELLED_BY_DESTINATION = "transfer_request_cancelled_by_destination"
    TRANSFER_PENDING_CANCELLED_BY_REQUESTOR = "transfer_pending_cancelled_by_requestor"
    TRANSFER_FAILED = "transfer_failed"
