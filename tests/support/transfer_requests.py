"""Bodies of transfers, and the refusals of them."""

from typing import Any

from tests.api.caller import refusal

FIELDS = [
    "id", "type", "parameters", "state", "created_at", "closed_at", "active", "claim",
    "originating_wallet", "source_wallet", "destination_wallet",
]  # fmt: skip


NOT_ENOUGH = refusal(403, "Do not have enough tokens to send")


RESERVED = "The token {} can not be transfer for some reason, for example, it's been pending for another transfer"


STRANGE = "11111111-1111-4111-8111-111111111111"


def bundle(sender: Any, receiver: Any, size: Any) -> Any:
    return {"sender_wallet": sender, "receiver_wallet": receiver, "bundle": {"bundle_size": size}}


def listed(sender: Any, receiver: Any, tokens: Any) -> Any:
    return {"sender_wallet": sender, "receiver_wallet": receiver, "tokens": [str(token) for token in tokens]}
