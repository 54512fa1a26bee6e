"""The errors of restricted keys (`config/api/error_codes.py`)."""

from collections.abc import Mapping
from typing import Final

from config.api.error_codes import ErrorCode, Where, code
from wallets import errors
from wallets.errors import DomainError

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    errors.RestrictedKeyNotFound: code(
        "key_not_found",
        404,
        "There is no such key",
        "The caller's wallet has no restricted key with this id.",
        "Read `GET /keys`.",
        where=Where.TREETRACKER,
    ),
    errors.TooManyRestrictedKeys: code(
        "too_many_keys",
        409,
        "The wallet has as many keys as it may have",
        "A wallet has at most 50 restricted keys that are valid.",
        "End keys that are not used: `GET /keys` says when each was last used.",
        where=Where.TREETRACKER,
    ),
    errors.ContradictoryKey: code(
        "key_contradictory",
        422,
        "The terms of the key contradict each other",
        "Two terms of a new restricted key exclude each other, or its expiry has passed. The message says which.",
        "Leave one of them out.",
        where=Where.TREETRACKER,
    ),
    errors.InvalidNetwork: code(
        "network_invalid",
        422,
        "A network is not in CIDR notation",
        "An entry of `networks` is neither an address nor a network, or has bits beyond the length of its prefix.",
        "Write `203.0.113.0/24`, `2001:db8::/32` or a single address.",
        where=Where.TREETRACKER,
    ),
    errors.RestrictedKeyEnded: code(
        "key_ended",
        403,
        "The restricted key has ended",
        "The key was ended, or has expired, while the request was processed. Nothing was moved.",
        "Use another key.",
        where=Where.TREETRACKER,
    ),
    errors.KeyLimitExceeded: code(
        "key_limit_exceeded",
        403,
        "The transfer is above a limit of the restricted key",
        "The transfer has more tokens than the key may move at once, or than it may still move today (UTC). Nothing was"
        " moved.",
        "Send less, wait for the next day, or ask the owner of the wallet.",
        where=Where.TREETRACKER,
    ),
    errors.ControlNeedsSession: code(
        "control_needs_session",
        403,
        "A restricted key cannot change who manages a wallet",
        "Trusts that give control of a wallet are requested, accepted and ended with a bearer token only: their effect"
        " would outlast the key.",
        "Log in with `POST /auth`.",
        where=Where.TREETRACKER,
    ),
}
