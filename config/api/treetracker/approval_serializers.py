"""Request and response bodies of the approvals that a wallet requires."""

from typing import Any, Final

from config.api.json_schemas import Example, Named, Nullable
from config.api.validation import Flag, Number, Shape
from transfers.approvals import Standing
from transfers.queries import Demand

MAXIMUM: Final = 2**31 - 1
DEMAND: Final = Shape(
    {
        "above": Number(minimum=0, maximum=MAXIMUM, required=False),
        "new_receivers": Flag(required=False),
    }
)
_WORDS: Final = {
    "above": "Transfers of more tokens than this need an approval.",
    "new_receivers": "True if transfers to wallets to which this one never sent need an approval.",
}
DEMAND_BODY: Final = Named(
    "NewApprovalDemand",
    "Which transfers of a wallet's tokens need an approval. A field that is left out requires none.",
    DEMAND,
    words=_WORDS,
)
DEMAND_EXAMPLE: Final = {"above": 100, "new_receivers": True}
_ASKED: Final = Named(
    "AskedApprovalDemand",
    "A change that takes effect when another login sends the same request.",
    {"above": Nullable(500), "new_receivers": False, "expires_at": "2024-02-02T00:00:01.000Z"},
    words={
        "above": f"{_WORDS['above']} Null: no number of tokens needs one.",
        "new_receivers": _WORDS["new_receivers"],
        "expires_at": "The time until which another login can confirm it, in UTC with milliseconds.",
    },
)
STANDING: Final = Named(
    "ApprovalDemand",
    "Which transfers of a wallet's tokens need an approval.",
    {"above": Nullable(100), "new_receivers": True, "asked": Nullable(_ASKED)},
    words={
        "above": f"{_WORDS['above']} Null: no number of tokens needs one.",
        "new_receivers": _WORDS["new_receivers"],
        "asked": "A change that waits until another login confirms it, or null.",
    },
)
CHANGED: Final = Example(STANDING, {"asked": None})


def read(body: Any) -> Demand:
    """Read the body of a change."""
    values = DEMAND.read_body(body)
    return Demand(values.get("above"), values.get("new_receivers", False))


def standing(found: Standing) -> dict[str, Any]:
    """Return the body of what a wallet requires approvals for."""
    asked = None if found.asked is None else {**found.asked._asdict(), "expires_at": found.expires_at}
    return {**found.demand._asdict(), "asked": asked}
