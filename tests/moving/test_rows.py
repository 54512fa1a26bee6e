"""
Every row that an import writes, column by column, as `data/first_import.txt` and `data/second_import.txt` list them.

The source has each row that a condition of the import's statements must tell from another. After a wanted change delete
both files: the test writes the one that is missing, and fails. Then read the difference.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import connection

from config.treetracker_import import importing, report, writing
from config.treetracker_import.progress import Display
from tests.moving import neighbours
from tests.moving.conftest import imported
from tests.moving.planted import PLANTS
from tests.moving.service import NAMES, Service, a_salt, an_id, hashed
from transfers import operations as transfers
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Wallet

DATA: Final = Path(__file__).parent / "data"

# Without what is drawn, and with the order of numbers instead of the numbers.
ROWS: Final = {
    "wallet": """SELECT id, name, name_key, left(md5(password), 6), left(about, 20), display_name, logo_url, cover_url,
                        created_at FROM wallets_wallet ORDER BY created_at, id""",
    "key": "SELECT name, prefix, batch_access, created_at, revoked_at FROM wallets_apikey ORDER BY name, prefix",
    "trust": """SELECT id, actor_id, target_id, originator_id, request_type, state, withdrawn, created_at, updated_at
                  FROM trusts_trust ORDER BY number""",
    "change of trust": """SELECT trust_id, change.actor_id, event, change.state, change.created_at
                            FROM trusts_trustchange AS change JOIN trusts_trust AS trust ON trust.id = trust_id
                           ORDER BY trust.number, change.id""",
    "token": """SELECT id, capture_id, wallet_id, transfer_pending_id, moves, claim, created_at, updated_at
                  FROM wallets_token ORDER BY arrival""",
    "transfer": """SELECT id, originator_id, source_id, destination_id, parameters::text, state, token_count,
                          reserved_count, moved_count, created_at, closed_at, closed_event, closed_from, closed_by_id
                     FROM transfers_transfer ORDER BY number""",
    "movement": """SELECT token_id, step.number, transfer.id, step.source_id, step.destination_id, processed_at
                     FROM transfers_movement AS step
                     LEFT JOIN transfers_transfer AS transfer ON transfer.number = transfer_number ORDER BY step.id""",
    # Those of one transfer, which are written together, in the order of the wallets.
    "event": """SELECT wallet_id, type, payload::text, created_at FROM wallets_event
                 ORDER BY min(number) OVER (PARTITION BY type, coalesce(payload ->> 'transferId', id::text)),
                          wallet_id, number""",
    "tokens by tally": """SELECT wallet_id, sum(tokens) FROM (
                                 SELECT wallet_id, tokens FROM transfers_tokentally
                                  UNION ALL SELECT wallet_id, tokens FROM transfers_tallydelta) AS each
                           GROUP BY 1 HAVING sum(tokens) <> 0 ORDER BY 1""",
    "issue": "SELECT wallet_id, tokens, issued_at FROM transfers_issue ORDER BY issued_at, wallet_id",
    "outcomes": "SELECT outcome, transfers FROM transfers_outcometally ORDER BY outcome",
    # The ids of keys are drawn.
    "recorded": """SELECT kind, CASE kind WHEN 'key' THEN '' ELSE source_id::text END, source::text, written::text, note
                     FROM treetracker_import_importedrow
                    ORDER BY kind, CASE kind WHEN 'key' THEN NULL ELSE source_id END, 3, 4, 5""",
}
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGEST: Final = re.compile(r"\b([0-9a-f]{6})[0-9a-f]{58}\b")
_RUN: Final = re.compile(r"([A-Za-z])\1{20,}")
_TIME: Final = re.compile(r"(\d{4})-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00(?::00)?|Z)?")


def listed(*lines_before: str) -> list[str]:
    """These lines and all rows as lines, with names instead of ids, and `now` for the time of the import."""
    lines = list(lines_before)
    for kind, statement in ROWS.items():
        with connection.cursor() as cursor:
            cursor.execute(statement)
            lines += [f"{kind}: {' | '.join('-' if each is None else str(each) for each in row)}" for row in cursor]
    made: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        return NAMES.get(found[0]) or made.setdefault(found[0], f"made {len(made) + 1}")

    def time(found: re.Match[str]) -> str:
        return "now" if found[1] > "2024" else found[0].partition("+")[0].replace("T", " ").removesuffix(" 00:00:00")

    named = (_TIME.sub(time, _UUID.sub(name, line)) for line in lines)
    return [_RUN.sub(r"\1…", _DIGEST.sub(r"\1", line)) for line in named]


def compare(name: str, *lines_before: str) -> None:
    path, found = DATA / f"{name}.txt", listed(*lines_before)
    if not path.exists():
        path.write_text("\n".join(found) + "\n", encoding="utf-8")
        pytest.fail(f"{path} was written")
    assert found == path.read_text(encoding="utf-8").splitlines()


def plant_closed(peer: Service) -> None:
    """Transfers that ended in every way, with the events that say how, and events that say nothing of them."""
    one, two, three = (peer.wallet(name, password="p") for name in ("c-one", "c-two", "c-three"))
    manager = peer.wallet("c-manager", password="p")
    peer.trust("c-managed", manager, two, "manage")
    # In force, and no power over a wallet; and one that was asked for.
    peer.trust("c-send", three, two, "send")
    peer.trust("c-asked", three, two, "manage", "requested")
    tokens = [peer.token(f"c-{n}", one, at=f"2023-01-{n + 10}") for n in range(10)]

    def completed(name: str, token: UUID, by: UUID, *, at: str = "2023-02-05", tokens_: Any = None) -> UUID:
        asks = {"bundle": {"bundleSize": 1}} if tokens_ is None else {"tokens": tokens_}
        transfer = peer.transfer(name, one, two, originator_wallet_id=by, parameters=asks)
        peer.step(token, transfer, one, two, at=at)
        peer.change("token", token, wallet_id=two)
        return transfer

    at_once = peer.moved("c-at once", one, two, [tokens[0], tokens[1]])
    accepted = completed("c-accepted", tokens[2], one)
    completed("c-fulfilled", tokens[3], two)
    completed("c-fulfilled for its manager", tokens[4], manager)
    completed("c-accepted of a third", tokens[5], three)
    completed("c-other than listed", tokens[6], one, tokens_=[str(tokens[7])])
    # Back before it was created, as clocks are.
    completed("c-early", tokens[8], one, at="2023-01-25")

    def event(name: str, kind: str, wallet: UUID, at: str = "2023-03-01", **payload: Any) -> None:
        peer.add("wallet_event", id=an_id(name), wallet_id=wallet, type=kind, payload=payload, created_at=at)

    def cancelled(name: str, by: UUID) -> UUID:
        return peer.transfer(
            name, one, two, state="cancelled", originator_wallet_id=by, closed_at="2023-02-20",
            parameters={"bundle": {"bundleSize": 2}},
        )  # fmt: skip

    declined, deleted, both = cancelled("c-declined", two), cancelled("c-deleted", one), cancelled("c-both", one)
    cancelled("c-silent", one)
    event("e-declined", "transfer_request_cancelled_by_source", one, result={"id": str(declined)})
    event("e-deleted", "transfer_pending_cancelled_by_source", one, transferId=str(deleted))
    event("e-both 1", "transfer_pending_cancelled_by_source", one, "2023-03-01", transferId=str(both))
    event("e-both 2", "transfer_pending_cancelled_by_destination", two, "2023-03-02", transferId=str(both))
    event("e-both 3", "transfer_completed", two, "2023-03-03", result={"id": str(both)})
    failed = peer.transfer("c-failed", one, two, state="failed", closed_at="2023-02-21", parameters={"tokens": ["x"]})
    peer.transfer("c-failed in silence", one, two, state="failed", parameters={"bundle": {"bundleSize": 1}})
    for wallet in (one, two):
        event(f"e-failed {wallet}", "transfer_failed", wallet, result={"id": str(failed)})
        event(f"e-accepted {wallet}", "transfer_completed", wallet, result={"id": str(accepted)})
    event("e-at once", "transfer_completed", one, transferId=str(at_once))
    # Of a transfer that is open: it does not say how that one ended.
    waiting = peer.transfer(
        "c-waiting", one, two, state="pending", at="2023-04-01", parameters={"tokens": [str(tokens[9])]}
    )
    event("e-waiting", "transfer_pending_cancelled_by_requestor", one, transferId=str(waiting))
    for kind in (
        "login", "wallet_created", "trust_request", "trust_request_granted", "trust_request_cancelled_by_originator",
        "trust_request_cancelled_by_actor", "trust_request_cancelled_by_target", "transfer_requested",
        "transfer_request_cancelled_by_destination", "transfer_request_cancelled_by_originator",
    ):  # fmt: skip
        event(f"e-{kind}", kind, three, "2023-04-02", transferId=str(an_id("no transfer")))
    peer.add("api_key", key="k" * 32, name="of c", batch_create_access=True)


def change_much(peer: Service) -> None:
    """What happened in the service since the first import, and in Coppice."""
    one, two, three = (an_id(name) for name in ("c-one", "c-two", "c-three"))
    new = peer.wallet("d-new", password="p", about="new")
    fresh = [peer.token(f"d-{n}", one, at=f"2023-05-0{n + 1}") for n in range(4)]
    peer.moved("d-moved", one, new, [fresh[0]], at="2023-06-01")
    peer.moved("d-moved on", new, three, [fresh[0], an_id("of bobby")], at="2023-06-02")
    # By hand.
    peer.change("token", fresh[1], wallet_id=three)
    peer.change("token", an_id("c-0"), wallet_id=new)
    peer.change("token", an_id("c-1"), claim=True)
    # What was open in both.
    o_one, o_two = an_id("o-one"), an_id("o-two")
    for name, token in (("listed", "o-6"), ("asked", "o-7")):
        peer.change("transfer", an_id(name), state="completed")
        peer.step(an_id(token), an_id(name), o_one, o_two, at="2023-06-03")
        peer.change("token", an_id(token), wallet_id=o_two)
    # Of a pending bundle the service moved a token on; of a list it moved the token.
    peer.moved("d-of the bundle", o_one, o_two, [an_id("o-0")], at="2023-06-04")
    peer.moved("d-of the list", one, three, [an_id("c-9")], at="2023-06-05")
    peer.change("wallet_trust", an_id("c-asked"), state="trusted", updated_at="2023-06-06")
    peer.change("wallet_trust", an_id("c-send"), state="cancelled_by_originator", updated_at="2023-06-06")
    peer.change("wallet_trust", an_id("kept"), state="cancelled_by_target", updated_at="2023-06-06")
    peer.trust("d-trust", new, two, "receive", "requested", created_at="2023-06-06")
    peer.run("UPDATE wallet.api_key SET tree_token_api_access = false WHERE name = 'of c'")
    peer.change("wallet", one, about="changed", password=hashed("q", a_salt("q")), salt=a_salt("q"))
    peer.change("wallet", two, name="c-two renamed", display_name="Two")
    # Both sides changed these; the decisions say whose holds.
    for name, token in (("c-three", "c-2"), ("d-new", "c-3")):
        peer.moved(f"d-there {token}", two, an_id(name), [an_id(token)], at="2023-06-07")
    actor = Wallet.objects.get(pk=an_id("c-manager"))
    for token in ("c-2", "c-3"):
        transfers.send_tokens(actor=actor, sender="c-two", receiver="c-manager", token_ids=[an_id(token)])
    # Reserved by a transfer of Coppice.
    peer.moved("d-there c-4", two, new, [an_id("c-4")], at="2023-06-07")
    transfers.send_tokens(actor=Wallet.objects.get(pk=two), sender="c-two", receiver="o-one", token_ids=[an_id("c-4")])
    wallets.change_wallet(wallet_id=three, about="here")
    peer.change("wallet", three, about="there", logo_url="https://there")
    trusts.decline_trust(actor=Wallet.objects.get(pk=an_id("t-one")), trust_id=an_id("three over one"))
    peer.change("wallet_trust", an_id("three over one"), state="cancelled_by_originator")


@pytest.mark.django_db
def noted_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None, int]]:
    """Note each step that ends: its name, its total, and how many it has counted."""
    step, found = Display.step, list[tuple[str, int | None, int]]()

    @contextmanager
    def noted(display: Display, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        counted: list[int] = []
        with step(display, name, total) as advance:
            yield lambda number: (counted.append(number), advance(number))[1]
        found.append((name, total, sum(counted)))

    monkeypatch.setattr(Display, "step", noted)
    return found


def test_each_row_that_is_imported_is_as_listed(peer: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter(("first", "second", "third"))
    monkeypatch.setattr(importing.secrets, "token_hex", lambda _: next(runs))
    for plant in PLANTS:
        plant(peer)
    plant_closed(peer)
    steps = noted_steps(monkeypatch)
    imported(peer)
    compare("first_import")
    # Each step counts up to its total.
    assert [(name, total) for name, total, done in steps if total is not None and total != done] == []

    change_much(peer)
    path = tmp_path / "decisions.json"
    decided = [
        {"kind": "token_conflict", "id": str(an_id("c-2")), "action": "there"},
        {"kind": "token_conflict", "action": "here"},
        {"kind": "wallet_conflict", "action": "there"},
        {"kind": "trust_conflict", "action": "here"},
    ]
    path.write_text(json.dumps({"format": 1, "decisions": decided}))
    steps.clear()
    imported(peer, decisions=path)
    compare("second_import")
    assert [name for name, total, done in steps if name.startswith("write ") and total != done] == []
    assert {"write transfers", "write tokens", "write history"} <= {name for name, *_ in steps}
    imported(peer)
    compare("second_import")


def test_each_condition_has_a_row_on_both_sides(peer: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what the report says, and rows that are written in several slices."""
    runs = iter(("first", "second", "third"))
    monkeypatch.setattr(importing.secrets, "token_hex", lambda _: next(runs))
    monkeypatch.setattr(writing, "_SLICE", 7)
    monkeypatch.setattr(report, "_AT_ONCE", 2)
    written, path = tmp_path / "report.txt", tmp_path / "decisions.json"

    def compared(name: str, *decided: dict[str, str]) -> None:
        path.write_text(json.dumps({"format": 1, "decisions": [*neighbours.DECISIONS, *decided]}))
        imported(peer, report=written, decisions=path)
        # The first line names the database.
        compare(f"neighbours_{name}", *written.read_text(encoding="utf-8").splitlines()[1:])

    neighbours.plant_in_coppice()
    for plant in neighbours.PLANTS:
        plant(peer)
    compared("first")
    neighbours.change(peer)
    compared("second", *neighbours.CHANGES)
    neighbours.change_again(peer)
    compared("third", {"kind": "token_conflict", "action": "there"})
