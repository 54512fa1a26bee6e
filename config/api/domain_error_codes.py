"""The code of each error of the domain (`config/api/error_codes.py`): the row of the most specific class applies."""

from collections.abc import Mapping
from typing import Final

from config.api.cloudcoin import error_codes as cloudcoin
from config.api.error_codes import ErrorCode, Where, code
from config.api.keys import error_codes as keys
from config.api.treetracker import error_codes as treetracker
from config.api.webhooks import error_codes as webhooks
from transfers import errors as transfers
from transfers.captures import CapturesUnreadable
from trusts import errors as trusts
from wallets import errors as wallets
from wallets.errors import DomainError

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    **treetracker.BY_CLASS,
    **cloudcoin.BY_CLASS,
    **webhooks.BY_CLASS,
    **keys.BY_CLASS,
    # --- of operators' actions and commands
    wallets.InvalidPassword: code(
        "password_invalid",
        422,
        "The password cannot be used to log in",
        "The password is empty or too long, or holds a NUL character.",
        "Choose another password.",
        where=Where.OPERATORS,
    ),
    wallets.ApiKeyTaken: code(
        "api_key_taken",
        409,
        "The API key is registered already",
        "An API key has this value.",
        "Choose another value, or let the system create one.",
        where=Where.OPERATORS,
    ),
    wallets.InvalidApiKey: code(
        "api_key_unfit",
        422,
        "The text cannot be an API key",
        "It is too short to be a secret, or cannot be sent in a header.",
        "Choose another value, or let the system create one.",
        where=Where.OPERATORS,
    ),
    wallets.AlreadyDone: code(
        "already_done",
        409,
        "The action was done already",
        "The confirmation was sent twice, and has had its effect.",
        "Look at the object: there is nothing left to do.",
        where=Where.OPERATORS,
    ),
    wallets.AuditIsRunning: code(
        "audit_running",
        409,
        "Another audit is running",
        "One audit runs at a time.",
        "Wait until it has ended.",
        where=Where.OPERATORS,
    ),
    wallets.ChangedMeanwhile: code(
        "changed_meanwhile",
        409,
        "The object has changed",
        "The object changed after the confirmation page was rendered. Nothing was done.",
        "Read the new state, and confirm again.",
        where=Where.OPERATORS,
    ),
    wallets.NotPossible: code(
        "not_possible",
        409,
        "The state of the object does not allow the action",
        "The message says which state forbids it. Nothing was done.",
        "Read the object.",
        where=Where.OPERATORS,
    ),
    trusts.TrustNotOpen: code(
        "trust_not_open",
        409,
        "The trust has ended",
        "An operator can end a requested or trusted relationship only.",
        "There is nothing left to end.",
        where=Where.OPERATORS,
    ),
    transfers.CaptureAlreadyIssued: code(
        "capture_already_issued",
        409,
        "A capture has a token already",
        "A capture in the file was issued as a token before, or is listed twice.",
        "Remove it from the file.",
        where=Where.OPERATORS,
    ),
    CapturesUnreadable: code(
        "captures_unreadable",
        422,
        "The file has no capture ids",
        "The file is no table of capture ids, or a line has none.",
        "Correct the line that the message names.",
        where=Where.OPERATORS,
    ),
}
