"""What a page says of the way of a transfer, and of who may do what with it: for each state and each end."""

from datetime import UTC, datetime
from types import SimpleNamespace as Row
from typing import Any

import pytest

from transfers import reports
from transfers.states import TransferEvent
from wallets.models import Wallet
from wallets.states import OperatorVerb

MADE, ENDED = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
ASKED = ("requested", "anna asked alice for tokens", "anna", True)
OFFERED = ("pending", "anna offered tokens to bobby", "anna", True)
AT_ONCE = "completed at once, because the actor controls both sides or a trust lets it send without asking"
BY_OPERATOR = [Row(verb=OperatorVerb.CANCELLED_TRANSFER, staff=Row(get_username=lambda: "olga"), reason="by phone")]
OTHER_ACT = [Row(verb=OperatorVerb.ISSUED_TOKENS, staff=Row(get_username=lambda: "otto"), reason="")]


def a_transfer(state: str, event: str = "", began: str = "", **fields: Any) -> Any:
    wallets = {
        key: Row(name=name) for key, name in (("originator", "anna"), ("source", "alice"), ("destination", "bobby"))
    }
    given = {
        "closed_by_id": None, "expires_at": None, "created_at": MADE, "closed_at": ENDED, "approval_of": None,
        "approval_asked_by_id": None, "approved_by_id": None, "approved_at": None, "awaits_approval": False,
    }  # fmt: skip
    return Row(state=state, closed_event=event, closed_from=began, **wallets, **{**given, **fields})


@pytest.mark.parametrize(
    ("state", "event", "began", "expected"),
    [
        ("requested", "", "", [ASKED, ("completed", "waits for alice", "", False)]),
        ("pending", "", "", [
            ("pending", "anna offered tokens to bobby; they are reserved", "anna", True),
            ("completed", "waits for bobby", "", False),
        ]),
        ("completed", "", "", [("completed", AT_ONCE, "anna", True)]),
        ("completed", "accept", "pending", [OFFERED, ("completed", "accepted by carol", "carol", True)]),
        ("completed", "fulfill", "requested", [ASKED, ("completed", "fulfilled by carol", "carol", True)]),
        ("cancelled", "decline", "pending", [OFFERED, ("cancelled", "declined by carol", "carol", True)]),
        ("cancelled", "delete", "requested", [ASKED, ("cancelled", "withdrawn by carol", "carol", True)]),
        ("failed", "expire", "pending", [OFFERED, ("failed", "expired", "the system", True)]),
        ("completed", "accept", "pending without its closer", [OFFERED, ("completed", "accepted", "", True)]),
        ("cancelled", "", "", [("cancelled", "cancelled before it was imported", "", True)]),
        ("failed", "", "requested", [ASKED, ("failed", "failed before it was imported", "", True)]),
    ],
)  # fmt: skip
def test_the_way_of_a_transfer(db: None, state: str, event: str, began: str, expected: Any) -> None:
    carol = Wallet.objects.create(name="carol", name_key="carol")
    Wallet.objects.create(name="other", name_key="other")
    is_named = event and event != "expire" and "without" not in began
    transfer = a_transfer(state, event, began.partition(" ")[0], closed_by_id=carol.pk if is_named else None)

    stations = reports.timeline(transfer, acts=OTHER_ACT)

    assert [(each.state, each.words, each.who, each.is_reached) for each in stations] == expected
    was_imported = "before it was imported" in stations[-1].words
    times = [MADE] * (len(stations) - 1) + [None if was_imported or not stations[-1].is_reached else ENDED]
    assert [each.at for each in stations] == times


def test_an_operator_who_cancelled_it_is_named_with_the_reason(db: None) -> None:
    carol = Wallet.objects.create(name="carol", name_key="carol")
    transfer = a_transfer("cancelled", "delete", "pending", closed_by_id=carol.pk)

    for reason, words in (("by phone", ": by phone"), ("", "")):
        BY_OPERATOR[0].reason = reason
        last = reports.timeline(transfer, acts=OTHER_ACT + BY_OPERATOR)[-1]
        assert (last.words, last.who) == (f"cancelled by operator olga, in the name of carol{words}", "olga")


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("requested", {"fulfill": "alice", "decline": "alice", "delete": "bobby"}),
        ("pending", {"accept": "bobby", "decline": "bobby", "delete": "alice"}),
        ("completed", {}),
        ("cancelled", {}),
        ("failed", {}),
    ],
)
@pytest.mark.parametrize("expires_at", [None, ENDED])
def test_what_a_transfer_allows_and_to_whom(state: str, possible: dict[str, str], expires_at: Any) -> None:
    is_open = state in ("requested", "pending")
    found = {each.event: each for each in reports.allowed_events(a_transfer(state, expires_at=expires_at))}

    # These two are of transfers that need an approval alone: see test_reports.
    assert set(found) == {each.value for each in TransferEvent} - {"approve", "refuse"}
    for event, each in found.items():
        if event in possible:
            assert (each.is_possible, each.why) == (True, f"by {possible[event]}, or by a wallet that manages it")
        elif event == "expire" and is_open:
            by_system = "by the system only, if no side decides before it expires"
            never = "not possible: it names no time at which it expires"
            assert (each.is_possible, each.why) == ((True, by_system) if expires_at else (False, never))
        else:
            final = "" if is_open else ", and that is final"
            assert (each.is_possible, each.why) == (False, f"not possible: it is {state}{final}")
