"""The kinds of findings: what is found, what is usually done about it, and what a decision may say instead."""

from typing import Final, NamedTuple

# The actions that a decision may name, beside those of the kind.
REFUSE: Final = "refuse"


class Kind(NamedTuple):
    """A kind of finding. `actions` are what can be done, the usual one first; each kind can also be refused."""

    about: str
    actions: tuple[str, ...]


# What each action does, for the report.
ACTIONS: Final = {
    "keep": "kept as it is",
    "rename": "renamed",
    "cut": "cut to the length that fits, an address left empty",
    "no_password": "imported without a password",
    "placeholder": "a wallet without a password stands for it",
    "leave_out": "left out",
    "revoke": "imported as revoked",
    "complete": "completed from what is known",
    "fail": "closed as failed",
    "reserve": "the oldest free tokens are reserved",
    "free": "the reservation is not taken over",
    "count": "the number of moved tokens is that of the history",
    "correct": "a movement marked as a correction is added",
    "make": "a completed transfer is made for it",
    "apply": "the change is taken over",
    "here": "what Coppice has stays",
    "there": "what the source has is taken over",
    REFUSE: "the import is refused until a decision names this row",
}

KINDS: Final[dict[str, Kind]] = {
    # Wallets
    "unknown_wallet": Kind("the source names a wallet that it does not have", ("placeholder",)),
    "name_alike": Kind(
        "two names that are the same to Coppice: case, width and Unicode form do not count", ("rename",)
    ),
    "name_like_id": Kind("a name in the form of an id, by which no wallet can be found", ("rename",)),
    "name_unusable": Kind("an empty name, or one that is too long", ("rename",)),
    "name_unusual": Kind("a name that a new wallet could not get", ("keep", "rename")),
    "id_unusual": Kind("an id that is not a UUID of version 1 to 5", ("keep",)),
    "text_too_long": Kind("a text that does not fit", ("cut",)),
    "password_unusable": Kind("a password hash with which no login can succeed", ("no_password",)),
    "wallet_unattended": Kind("no password and no manager: no caller can act for it", ("keep",)),
    "account_shared": Kind("a Keycloak account of several wallets; Coppice knows no such accounts", ("keep",)),
    "wallet_exists": Kind("a wallet with this id is in Coppice, but was not imported", (REFUSE, "here")),
    "wallet_changed": Kind("the source changed a wallet since the last import", ("apply", "here")),
    "wallet_conflict": Kind("a wallet was changed on both sides", (REFUSE, "here", "there")),
    "wallet_missing": Kind("a wallet that was imported is no longer in the source", ("keep",)),
    # API keys
    "key_unusable": Kind("an API key that no header can carry", ("leave_out",)),
    "key_repeated": Kind("an API key that an earlier row has too", ("leave_out",)),
    "key_exists": Kind("an API key that is registered in Coppice already", ("here",)),
    "key_refused": Kind("an API key that the source refuses", ("revoke",)),
    "key_changed": Kind("the source changed whether it refuses an API key", ("apply", "here")),
    # Trusts
    "trust_incomplete": Kind("a trust that lacks its actor or its originator", ("complete", "leave_out")),
    "trust_meaningless": Kind("a trust without wallets or without a state", ("leave_out",)),
    "trust_of_unknown": Kind("a trust of a wallet that the source does not have", ("leave_out",)),
    "trust_with_oneself": Kind("a trust of a wallet with itself", ("leave_out",)),
    "trust_obsolete": Kind("a trust of a kind that gives nothing: deduct, release", ("leave_out",)),
    "trust_repeated": Kind("an open trust of the same meaning as another", ("leave_out",)),
    "trust_mutual": Kind("two wallets that manage each other: the older trust is kept", ("leave_out",)),
    "trust_changed": Kind("the source changed a trust since the last import", ("apply", "here")),
    "trust_conflict": Kind("a trust was changed on both sides", (REFUSE, "here", "there")),
    "trust_missing": Kind("a trust in force that was imported is no longer in the source", ("keep",)),
    # Tokens
    "capture_exists": Kind("a token of this capture is in Coppice under another id", (REFUSE, "leave_out")),
    "token_exists": Kind("a token with this id is in Coppice, but was not imported", (REFUSE, "here")),
    "token_conflict": Kind(
        "a token was moved or reserved in Coppice, and moved in the source", (REFUSE, "here", "there")
    ),
    "token_missing": Kind("a token that was imported is no longer in the source", ("keep",)),
    "reservation_lost": Kind("a token reserved by no open transfer", ("free",)),
    "reservation_requested": Kind("a token reserved by a transfer that is only requested", ("free",)),
    "reservation_linked": Kind("a token reserved by a share link; Coppice has none", ("free",)),
    "token_elsewhere": Kind("a token in another wallet than its history says", ("correct",)),
    # History
    "history_broken": Kind("a transaction from another wallet than the token was in", ("correct",)),
    "history_repeated": Kind("a transaction that an earlier row has too", ("leave_out",)),
    "history_with_oneself": Kind("a transaction from a wallet to itself", ("leave_out",)),
    "history_of_unknown": Kind("a transaction of a token that the source does not have", ("leave_out",)),
    "history_without_transfer": Kind("transactions that fit no completed transfer of the source", ("make",)),
    # Transfers
    "transfer_with_oneself": Kind("a transfer from a wallet to itself", ("leave_out",)),
    "transfer_obsolete": Kind("a transfer of a kind that gives no right: deduct, managed", ("keep",)),
    "transfer_obsolete_open": Kind("an open transfer of a kind that gives no right: deduct, managed", ("fail",)),
    "transfer_without_size": Kind("an open transfer that does not say which or how many tokens", ("fail",)),
    "transfer_short": Kind("a completed transfer that moved other than it was asked to", ("count",)),
    "bundle_unreserved": Kind("a pending bundle with fewer reserved tokens than it promises", ("reserve", "fail")),
    "bundle_beyond": Kind("a pending bundle that promises more than its wallet has free", ("fail",)),
    "listed_elsewhere": Kind("an open transfer of tokens that are not where they should be", ("fail",)),
    "listed_reserved": Kind("a pending transfer of tokens that another one reserves", ("fail",)),
    "transfer_changed": Kind("the source closed a transfer that is open in Coppice", ("apply",)),
    "transfer_conflict": Kind("a transfer was closed on both sides, and differently", (REFUSE, "here")),
    "transfer_broken": Kind("a pending transfer in Coppice whose tokens the source moved", ("fail", REFUSE)),
    # Others
    "event_unusable": Kind("an event of a kind or a wallet that Coppice does not know", ("leave_out",)),
    "link_left": Kind("an active share link: its sender has the tokens again", ("leave_out",)),
}
