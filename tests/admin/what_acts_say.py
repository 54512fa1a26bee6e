"""
The sentences of each action of operators, for rows and numbers that a table names, and who may do it.

`what_acts_say.txt` in the directory `data` has them; a test compares. After a sentence was changed on purpose:

    python -m tests.admin.what_acts_say
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any, Final

if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    django.setup()

from config.admin.actions import registry
from trusts.models import Trust
from wallets.models import Wallet

TEXT: Final = Path(__file__).parent / "data" / "what_acts_say.txt"


def _cases() -> Iterator[tuple[str, Any, dict[str, Any], dict[str, Any]]]:
    """Name of an action, a row, what was asked and the numbers that are shown, for each text of its preview."""
    alice, bob = Row(name="alice", pk=1), Row(name="bobby", pk=2)
    for number in (0, 1, 2000):
        yield "start-find", alice, {}, {"coins_in_doubt": number}
        yield "check-coins", alice, {}, {"coins_to_check": number}
        yield "start-fix", alice, {}, {"coins_to_fix": 3, "coins_to_check": number}
        for end_keys in (False, True):
            valid = {"valid_bearer_tokens": number, "valid_restricted_keys": number}
            yield "set-password", alice, {"end_keys": end_keys}, valid
        yield "end-restricted-keys", alice, {}, {"valid_restricted_keys": number}
        yield "revoke-bearer-tokens", alice, {}, {"valid_bearer_tokens": number, "valid_restricted_keys": number}
        yield "create-api-key", None, {"name": "partner"}, {"valid_keys_of_this_name": number}
        yield "issue-tokens", alice, {"count": 1}, {"captures_issued_already": number}
        captures = {"count": None, "captures": "00000000-0000-0000-0000-000000000001"}
        yield "issue-tokens", alice, captures, {"captures_issued_already": number}
        yield "mark-task-seen", None, {}, {"unknown_coins": number}
        person = Row(username="olga")
        mail = "o@example.org" if number else ""
        told = {"role": "viewer", "sessions": number, "second_factor": number > 0, "mail": mail}
        yield "change-mail", person, {"mail": "" if number == 1 else "new@example.org"}, told
        yield "set-person-password", person, {}, told
        yield "reset-second-factor", person, {}, told
        for active in ("yes", "no"):
            yield "change-active", person, {"active": active}, told
    for exists in (0, 1):
        for with_password in (False, True):
            asked = {"name": "birch", "with_password": with_password}
            yield "create-wallet", None, asked, {"wallets_of_this_name": exists}
    for role in ("viewer", "operator", "administrator"):
        yield "create-person", None, {"name": "olga", "role": role}, {}
        yield "change-role", Row(username="olga"), {"role": role}, {"role": "viewer"}
    yield "revoke-bearer-token", Row(wallet=alice), {}, {}
    key = Row(name="partner", prefix="abcdef", last_used_at=None)
    for hours in ("0", "24", "168"):
        yield "rotate-api-key", key, {"old_stays_valid": hours}, {}
    yield "revoke-api-key", key, {}, {}
    for state in ("requested", "trusted"):
        yield "end-trust", _a_trust(), {}, {"state": state}
    for state, event, tokens, reserved in (
        ("requested", "delete", 1, 0), ("requested", "decline", 2, 0),
        ("pending", "delete", 1, 1), ("pending", "decline", 2, 2),
    ):  # fmt: skip
        transfer = Row(state=state, token_count=tokens, source=alice, destination=bob)
        yield "cancel-transfer", transfer, {"event": event}, {"tokens_reserved": reserved}
    for tokens in (1, 5):
        yield "cancel-action-token", Row(token_count=tokens, sender=alice), {}, {}
    for paid, pending in ((0, 0), (10**8, 0), (0, 10**8), (2 * 10**8, 3 * 10**8)):
        yield "cancel-payment-request", Row(wallet=alice, amount=5 * 10**8, paid=paid), {}, {"pending": pending}
    for kind, state in (("put", "error"), ("take", "error"), ("put", "running")):
        task = Row(kind=kind, state=state, wallet=alice)
        for later in (0, 1, 2):
            yield "retry-task", task, {}, {"coins": later, "left_to_do": "look again", "later_puts": later}
    for kind, state in (("put", "completed"), ("export", "completed"), ("export", "running")):
        task = Row(kind=kind, state=state, wallet=alice, amount=5 * 10**8, export=Row(file_name="file.bin"))
        for coins in (1, 2):
            yield "roll-back-task", task, {}, {"coins": coins, "coins_in_file": coins, "units_in_locker": coins * 10**8}
    for servers, fault in (("0-11", "silent"), ("0-12", "down"), ("3", "clear"), ("*", "clear")):
        yield "rehearse-outage", None, {"servers": servers, "fault": fault}, {"faults": {"3": "down", "24": "silent"}}
    yield "enable-webhook", Row(wallet=alice), {}, {}
    yield "test-webhook", Row(wallet=alice), {}, {}
    for state in ("delivered", "failed", "pending"):
        yield "resend-delivery", Row(state=state), {}, {}


def _a_trust() -> Any:
    actor, target = (Wallet(name=name) for name in ("alice", "bobby"))
    return Trust(actor=actor, target=target, type="manage", request_type="manage", holder_id=actor.pk)


def _refusals() -> Iterator[tuple[str, Any]]:
    """Name of an action, and a row for which the state alone decides whether it is possible."""
    later, passed = datetime(2999, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    for state in ("requested", "pending", "completed", "cancelled", "failed"):
        yield "cancel-transfer", Row(state=state)
    for state in ("requested", "trusted", "cancelled_by_originator", "cancelled_by_actor", "cancelled_by_target"):
        yield "end-trust", Row(state=state)
    for state in ("active", "redeemed", "cancelled", "expired"):
        yield "cancel-action-token", Row(state=state)
    for state in ("open", "partly_paid", "paid", "cancelled", "expired"):
        for expires_at in (None, later, passed):
            yield "cancel-payment-request", Row(state=state, expires_at=expires_at)
    for state in ("enabled", "disabled"):
        for name in ("disable-webhook", "enable-webhook", "test-webhook"):
            yield name, Row(state=state)
        yield "resend-delivery", Row(webhook=Row(state=state))


def text() -> str:
    actions = {action.name: action for action in registry.ALL}
    lines = []
    for action in registry.ALL:
        above = " above " + action.above.__name__ if action.above else ""
        of = action.model.__name__ if action.model else ""
        danger = ", dangerous" if action.is_dangerous else ""
        lines.append(
            f"{action.name}: {action.label} / {action.confirm_label} ({of}{above}{danger};"
            f" {action.permission}; {action.verb.value} {action.kind})"
        )
    for name, row, values, snapshot in _cases():
        numbers = ", ".join(f"{key}={value}" for key, value in (values | snapshot).items())
        state = getattr(row, "state", "")
        lines += ["", f"{name} {state} {numbers}".replace("  ", " ")]
        lines += [f"  {sentence}" for sentence in actions[name].preview(row, values, snapshot)]
    lines.append("")
    for name, row in _refusals():
        state = getattr(row, "state", "") or row.webhook.state
        until = getattr(row, "expires_at", None)
        state += f" until {until:%Y}" if until else ""
        why: Any = actions[name].why_not
        lines.append(f"{name} {state}: {why(None, row) or 'is possible'}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TEXT.write_text(text(), encoding="utf-8")
