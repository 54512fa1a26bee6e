"""Every inconsistency that the database of a wallet service may hold: what the report says, and what is written."""

import itertools
import json
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import connection, transaction

from config.treetracker_import import staging
from config.treetracker_import.kinds import KINDS
from config.treetracker_import.models import ImportRun
from tests.moving.conftest import imported
from tests.moving.planted import GONE, LIKE_ID, PLANTS, everything
from tests.moving.service import Service, a_salt, an_id, hashed
from transfers import counters, outcome_counts, reports
from transfers.models import Movement, Transfer
from trusts.models import Trust
from trusts.queries import controls
from wallets import operations as wallets
from wallets.models import ApiKey, Event, Token, Wallet


def rows_of_report(path: Any) -> dict[str, list[str]]:
    """The rows of a report by kind, as the file has them."""
    found: dict[str, list[str]] = {}
    kind = ""
    for line in path.read_text().splitlines():
        if line.startswith("  "):
            found[kind].append(line.strip())
        elif line.split(":")[0] in KINDS:
            kind = line.split(":")[0]
            found[kind] = []
    return found


# What only a second import finds, or one into an installation that is in use.
LATER = {
    "wallet_exists", "wallet_changed", "wallet_conflict", "key_exists", "key_changed", "trust_changed",
    "trust_conflict", "capture_exists", "token_exists", "token_conflict", "token_missing", "transfer_changed",
    "transfer_conflict", "transfer_broken", "wallet_missing", "trust_missing",
}  # fmt: skip


def test_every_inconsistency_is_reported_and_settled(peer: Service, tmp_path: Any) -> None:
    expected: dict[str, list[str]] = {}
    for plant in PLANTS:
        expected |= plant(peer)
    report, template, before = tmp_path / "report.txt", tmp_path / "decisions.json", everything()

    printed = imported(peer, dry_run=True, report=report, template=template)

    assert rows_of_report(report) == expected
    assert expected.keys() | LATER == KINDS.keys()
    assert printed[-1] == "Dry run: nothing was written."
    assert everything() == before

    # A decision may refuse each of them, whatever is usual.
    refusing, waiting = tmp_path / "refusing.json", tmp_path / "waiting.json"
    entries = [{"kind": kind, "action": "refuse"} for kind in KINDS]
    refusing.write_text(json.dumps({"format": 1, "decisions": entries}))
    with pytest.raises(CommandError, match="findings wait for a decision"):
        imported(peer, dry_run=True, decisions=refusing, template=waiting)
    assert {each["kind"] for each in json.loads(waiting.read_text())["decisions"]} == expected.keys()

    # Nothing waits, and the file of decisions says so.
    imported(peer, decisions=template)

    assert {kind: sum(1 for _ in lines) for kind, lines in expected.items()} == written_findings()
    check_wallets()
    check_keys()
    check_trusts()
    check_history(peer)
    check_open_transfers()
    assert list(Event.objects.exclude(type="transfer_failed").values_list("id", "type")) == [(an_id("login"), "login")]
    here = {str(row[0]): row[1] for row in wallet_counts()}
    there = peer.run("SELECT wallet_id::text, count(*) FROM wallet.token GROUP BY 1").fetchall()
    assert here == dict(there)


def written_findings() -> dict[str, int]:
    found: dict[str, int] = ImportRun.objects.get().findings
    return found


def wallet_counts() -> list[tuple[Any, int]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT wallet_id, count(*) FROM wallets_token GROUP BY 1")
        counted: list[tuple[Any, int]] = cursor.fetchall()
    assert {
        wallet_id: count.total for wallet_id, count in counters.token_counts([row[0] for row in counted]).items()
    } == dict(counted)
    return counted


def check_wallets() -> None:
    named = dict(Wallet.objects.values_list("id", "name"))
    assert named[an_id("bobby")] == "bobby"
    assert named[an_id("BOBBY")] == "BOBBY-2"
    assert named[an_id(LIKE_ID)] == f"wallet-{LIKE_ID}"
    assert named[GONE] == f"unknown-{GONE}"
    long = Wallet.objects.get(name="long")
    assert (long.about, long.display_name, long.logo_url) == ("a" * 10_000, "d" * 30, None)
    assert Wallet.objects.get(pk=an_id("no-salt")).password == ""
    assert Wallet.objects.get(name="account-a").password == (
        f"treetracker_hmac_sha512${a_salt('account-a')}${hashed('one', a_salt('account-a'))}"
    )


def check_keys() -> None:
    assert {(key.name, key.revoked_at is None, key.batch_access) for key in ApiKey.objects.all()} == {
        ("good", True, False), ("refused", False, False), ("imported", True, True),
        ("the longest", True, False),
    }  # fmt: skip


def check_trusts() -> None:
    kept = {"kept", "declined", "by actor", "no actor", "one over two", "two over three", "three over one"}
    assert set(Trust.objects.values_list("id", flat=True)) == {an_id(name) for name in kept}
    assert Trust.objects.get(pk=an_id("by actor")).state == "cancelled_by_originator"
    assert Trust.objects.get(pk=an_id("by actor")).withdrawn
    one, two, three = (an_id(name) for name in ("t-one", "t-two", "t-three"))
    assert controls(actor_id=one, wallet_id=two)
    assert not controls(actor_id=two, wallet_id=one)
    assert controls(actor_id=three, wallet_id=one)


def check_history(peer: Service) -> None:
    def places(name: str) -> list[tuple[Any, Any]]:
        steps = (
            Movement.objects.filter(token_id=an_id(name)).order_by("number").values_list("source_id", "destination_id")
        )
        return [(name_of(source), name_of(destination)) for source, destination in steps]

    def name_of(wallet_id: Any) -> Any:
        return wallet_id and Wallet.objects.get(pk=wallet_id).name

    one, two, three = "h-one", "h-two", "h-three"
    assert places("whole") == [(None, one), (one, two), (two, one)]
    assert places("broken") == [(None, one), (one, two), (two, one), (one, three)]
    assert places("elsewhere") == [(None, one), (one, two), (two, three)]
    assert places("double") == [(None, one), (one, two)]
    assert places("partless") == [(None, one), (one, two), (two, three)]
    assert places("never") == [(None, one)]
    issue = Movement.objects.get(token_id=an_id("never"))
    assert str(issue.processed_at) == "2023-01-02 00:00:00+00:00"
    short, text, nothing = (Transfer.objects.get(pk=an_id(name)) for name in ("short", "text", "nothing"))
    assert (short.parameters, short.moved_count) == ({"tokens": [str(an_id("short-a"))]}, 1)
    assert (text.parameters, text.moved_count, str(text.closed_at)) == (
        {"bundle": {"bundleSize": 1}}, 1, "2023-02-05 00:00:00+00:00",
    )  # fmt: skip
    # It was moved days after it was created.
    assert (text.closed_event, text.closed_from) == ("accept", "pending")
    assert (nothing.state, nothing.parameters, nothing.moved_count) == ("completed", {"tokens": []}, 0)
    undone = Transfer.objects.get(pk=an_id("undone"))
    assert (undone.state, undone.closed_event, undone.closed_from) == ("cancelled", "", "pending")
    # What the service does not say, the admin does not say either.
    assert [(each.words, each.at, each.who) for each in reports.timeline(undone)][1:] == [
        ("cancelled before it was imported", None, "")
    ]
    assert [(each.words, each.who) for each in reports.timeline(text)][1:] == [("accepted", "")]
    # Numbers follow the time of creation.
    ordered = Transfer.objects.order_by("number").values_list("created_at", flat=True)
    assert list(ordered) == sorted(ordered)
    arrivals = Movement.objects.order_by("id").values_list("processed_at", flat=True)
    assert list(arrivals) == sorted(arrivals)
    assert outcome_counts.totals() == {
        state: Transfer.objects.filter(state=state).count() for state in ("completed", "cancelled", "failed")
    }


def check_open_transfers() -> None:
    states = {
        "promised": ("pending", 3, ""), "beyond": ("failed", 0, "expire"), "sizeless": ("failed", 0, "expire"),
        "none": ("failed", 0, "expire"), "listed": ("pending", 1, ""), "rival": ("failed", 0, "expire"),
        "elsewhere": ("failed", 0, "expire"), "asked": ("requested", 0, ""), "deduct": ("cancelled", 0, ""),
        "managed": ("failed", 0, "expire"),
    }  # fmt: skip
    for name, expected in states.items():
        transfer = Transfer.objects.get(pk=an_id(name))
        assert (transfer.state, transfer.reserved_count, transfer.closed_event) == expected, name
    assert not Transfer.objects.filter(pk=an_id("to oneself")).exists()
    reserved = dict(Token.objects.exclude(transfer_pending_id=None).values_list("id", "transfer_pending_id"))
    # The oldest free ones.
    assert reserved == {an_id(f"o-{n}"): an_id("promised") for n in range(3)} | {an_id("o-6"): an_id("listed")}
    assert Token.objects.get(pk=an_id("o-5")).claim
    told = Event.objects.filter(type="transfer_failed", payload__transferId=str(an_id("beyond")))
    assert set(told.values_list("wallet__name", flat=True)) == {"o-one", "o-two"}


@pytest.mark.parametrize("edition", ["1.10.3", "1.10.25", "1.45"])
def test_each_edition_is_read_in_either_schema(make_service: Any, edition: str) -> None:
    peer = make_service(edition, "public" if edition == "1.10.3" else "wallet")
    one = peer.wallet("anna", password="secret", about="plants trees", display_name="Anna")
    two = peer.wallet("bert")
    peer.trust("manages", one, two, "manage")
    tokens = [peer.token(f"token {number}", one, claim=number == 0) for number in range(3)]
    peer.moved("first", one, two, tokens[:2])

    printed = imported(peer)

    where = "public" if edition == "1.10.3" else "wallet"
    assert any(f"schema {where}, {edition}, as of" in line for line in printed)
    assert printed[-1] == "The sums of both sides are equal, and the audit found nothing."
    anna = Wallet.objects.get(pk=one)
    assert (anna.about, anna.display_name) == (
        "" if edition == "1.10.3" else "plants trees", "Anna" if edition == "1.45" else "",
    )  # fmt: skip
    assert Token.objects.get(pk=tokens[0]).claim is (edition == "1.45")
    counts = counters.token_counts([one, two])
    assert (counts[one].total, counts[two].total) == (1, 2)
    assert wallets.authenticate(name_or_id="anna", password="secret")


def test_a_terminal_shows_five_rows_of_each_kind(peer: Service) -> None:
    for number in range(6):
        peer.wallet(f"wallet-{number}", keycloak_account_id=an_id("account"))

    said = imported(peer)

    shown = {}
    for kind in ("account_shared", "wallet_unattended"):
        (first,) = (place for place, line in enumerate(said) if line.startswith(f"{kind}: "))
        rest = itertools.takewhile(lambda line: line.startswith(("  wallet ", "  … ")), said[first + 1 :])
        shown[kind] = [line[:9] for line in rest]
    # Five of the first kind, and six of the second.
    assert shown == {"account_shared": ["  wallet "] * 5, "wallet_unattended": [*["  wallet "] * 5, "  … and 1"]}
    (read,) = (line.split() for line in said if line.startswith("  read wallet "))
    assert read[:3] == ["read", "wallet", "6"]


def test_an_import_works_in_a_session_that_has_used_temporary_tables(db: None) -> None:
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("CREATE TEMPORARY TABLE used AS SELECT 1 AS number")
        transaction.set_rollback(True)

    staging.buffer()

    staging.create()
