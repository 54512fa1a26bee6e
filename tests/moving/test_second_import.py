"""A second import brings what is new, says what changed meanwhile, and waits where both sides changed."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management.base import CommandError
from django.utils import timezone

from config.management.commands.import_treetracker import moment
from config.ops import audits
from config.seals import sealing
from config.treetracker_import.models import ImportedRow, ImportRun
from tests.moving.conftest import imported
from tests.moving.service import Service, a_salt, an_id, hashed
from tests.support.list_totals import wrong_totals
from transfers import action_token_lists, action_tokens, counters, list_counts
from transfers import operations as transfers
from transfers.list_models import ListTally
from transfers.models import Movement, Transfer
from transfers.seal_models import LateTransfer
from trusts import operations as trusts
from trusts.models import Trust, TrustChange
from wallets import operations as wallets
from wallets.models import ApiKey, Event, Token, Wallet


class World:
    """A service that was imported once: two wallets, six tokens, open transfers, a trust."""

    def __init__(self, peer: Service) -> None:
        self.peer = peer
        self.one = peer.wallet("anna", password="secret", about="plants trees")
        self.two = peer.wallet("bert", password="secret")
        self.tokens = [peer.token(f"t{n}", self.one, at=f"2023-01-0{n + 1}") for n in range(6)]
        # In a wallet that the service does not have.
        peer.token("lost", an_id("deleted wallet"))
        self.key = peer.add("api_key", key="a" * 32, name="key")
        self.trust = peer.trust("trust", self.one, self.two, "send", "requested")
        self.listed = self.open_transfer("listed", tokens=[str(self.tokens[0])])
        self.bundle = self.open_transfer("bundle", bundle={"bundleSize": 2})
        self.asked = peer.transfer(
            "asked", self.one, self.two, state="requested", originator_wallet_id=self.two,
            parameters={"bundle": {"bundleSize": 1}},
        )  # fmt: skip
        imported(peer)
        assert self.reserved() == {0: self.listed, 1: self.bundle, 2: self.bundle}
        self.record_others()

    def record_others(self) -> None:
        """Record, under each id, rows of all other kinds, as if ids of different tables were the same."""
        ids = {*ImportedRow.objects.values_list("source_id", flat=True), *self.tokens}
        own = {*ImportedRow.objects.values_list("kind", "source_id"), *(("token", token) for token in self.tokens)}
        said = {"state": "x", "wallet": str(an_id("elsewhere")), "until": "2100-01-01", "refused": True, "about": "x"}
        ImportedRow.objects.bulk_create(
            ImportedRow(kind=kind, source_id=id_, source=said, written={})
            for kind in ("wallet", "trust", "key", "transfer", "token")
            for id_ in ids
            if (kind, id_) not in own
        )

    def open_transfer(self, name: str, **parameters: Any) -> Any:
        return self.peer.transfer(name, self.one, self.two, state="pending", at="2023-02-02", parameters=parameters)

    def reserved(self) -> dict[int, Any]:
        found = dict(Token.objects.exclude(transfer_pending_id=None).values_list("id", "transfer_pending_id"))
        return {number: found[token] for number, token in enumerate(self.tokens) if token in found}

    def complete(self, transfer: Any, *numbers: int, at: str = "2023-06-01") -> None:
        """Complete an open transfer in the service with these tokens."""
        self.peer.change("transfer", transfer, state="completed")
        for number in numbers:
            self.peer.step(self.tokens[number], transfer, self.one, self.two, at=at)
            self.peer.change("token", self.tokens[number], wallet_id=self.two)

    def again(self, tmp_path: Any, **options: Any) -> list[str]:
        """Import again; return the findings of the report."""
        report = tmp_path / "report.txt"
        imported(self.peer, report=report, **options)
        return [line.strip() for line in report.read_text().splitlines() if line.startswith("  ")]

    def counts(self) -> tuple[int, int]:
        counted = counters.token_counts([self.one, self.two])
        return counted[self.one].total, counted[self.two].total


@pytest.fixture
def world(peer: Service) -> World:
    return World(peer)


def decided(tmp_path: Any, *decisions: dict[str, Any]) -> Any:
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"format": 1, "decisions": list(decisions)}))
    return path


def test_nothing_new_changes_nothing(world: World, tmp_path: Any) -> None:
    before = (
        Transfer.objects.count(),
        Movement.objects.count(),
        world.reserved(),
        Wallet.objects.get(pk=world.one).password,
    )

    assert world.again(tmp_path) == []
    assert world.again(tmp_path) == []

    assert before == (
        Transfer.objects.count(), Movement.objects.count(), world.reserved(), Wallet.objects.get(pk=world.one).password,
    )  # fmt: skip
    assert ImportRun.objects.count() == 3


def test_an_event_that_is_no_longer_kept_is_not_brought_again(
    world: World, tmp_path: Any, settings: LazySettings
) -> None:
    settings.EVENT_DAYS = 30
    new = timezone.now() - timedelta(days=29)
    for name, at in (("old", new - timedelta(days=3)), ("new", new)):
        world.peer.add("wallet_event", id=an_id(name), wallet_id=world.one, type="login", payload={}, created_at=at)

    for _ in range(2):
        world.again(tmp_path)
        logins = Event.objects.filter(type="login").values_list("id", flat=True)
        assert list(logins) == [an_id("new")]


def test_what_the_last_import_settled_is_not_reported_again(world: World, tmp_path: Any) -> None:
    peer, one, two = world.peer, world.one, world.two
    peer.trust("send", one, two, "receive", created_at="2023-01-02")
    peer.trust("again", one, two, "receive", created_at="2023-01-04")
    peer.trust("oneself", one, one, "manage")
    peer.add("api_key", key="b" * 32, name="refused", tree_token_api_access=False)
    peer.add("api_key", key="a" * 32, name="twice")
    peer.add("wallet_event", wallet_id=an_id("nobody at all"), type="login", created_at="2023-01-01")
    greedy = world.open_transfer("greedy", bundle={"bundleSize": 99})
    assert len(world.again(tmp_path)) == 6
    assert Transfer.objects.get(pk=greedy).state == "failed"

    assert world.again(tmp_path) == []
    assert "findings are those of an earlier import" in (tmp_path / "report.txt").read_text()
    # What was left out takes its place once the one that was kept has ended.
    peer.change("wallet_trust", an_id("send"), state="cancelled_by_target")
    # Here it has ended already, by what the import decided.
    peer.change("transfer", greedy, state="cancelled")
    found = world.again(tmp_path)
    assert [line for line in found if str(greedy) in line] == []
    assert Transfer.objects.get(pk=greedy).state == "failed"
    assert [line for line in found if str(an_id("send")) in line.partition(":")[0]] == [
        f"trust {an_id('send')}: was trusted, is cancelled_by_target; here trusted -> apply"
    ]
    assert Trust.objects.get(pk=an_id("again")).state == "trusted"


def test_what_happened_in_the_service_since_is_brought_over(world: World, tmp_path: Any) -> None:
    peer, one, two, tokens = world.peer, world.one, world.two, world.tokens
    three = peer.wallet("carl", password="secret")
    new = peer.token("t6", one, at="2023-06-01")
    # The service chose other tokens for the bundle than Coppice reserved, and moved one of those on.
    world.complete(world.bundle, 4, 5)
    world.complete(world.asked, 3)
    peer.change("transfer", world.listed, state="cancelled")
    peer.moved("on", two, three, [tokens[4]], at="2023-06-02")
    peer.moved("away and", one, three, [tokens[1]], at="2023-06-03")
    peer.moved("home", three, one, [tokens[1]], at="2023-06-04")
    # By hand, without history.
    peer.change("token", tokens[2], wallet_id=three)
    peer.change("wallet_trust", world.trust, state="trusted")
    peer.change("api_key", world.key, tree_token_api_access=False)
    peer.change(
        "wallet", one, about="plants oaks", name="Annette", password=hashed("other", a_salt("x")), salt=a_salt("x")
    )

    found = world.again(tmp_path)

    assert sorted(found) == sorted(
        [
            f"wallet {one}: name, about, password -> apply".replace("name, about", "about, name"),
            f"key {world.key}: refused now -> apply",
            f"trust {world.trust}: was requested, is trusted; here requested -> apply",
            *(
                f"transfer {id_}: was {was}, is {now}; here {was} -> apply"
                for id_, was, now in (
                    (world.bundle, "pending", "completed"),
                    (world.asked, "requested", "completed"),
                    (world.listed, "pending", "cancelled"),
                )
            ),
            f"token {tokens[2]}: is in {three}, but its history ends in {one} -> correct",
        ]
    )
    holders = dict(Token.objects.values_list("id", "wallet_id"))
    assert [holders[token] for token in [*tokens, new]] == [one, one, three, two, three, two, one]
    assert [Token.objects.get(pk=token).moves for token in [*tokens, new]] == [0, 2, 1, 1, 2, 1, 0]
    assert world.reserved() == {}
    closed = {t.pk: (t.state, t.closed_event, t.closed_from, t.moved_count) for t in Transfer.objects.all()}
    assert closed[world.bundle] == ("completed", "accept", "pending", 2)
    assert closed[world.asked] == ("completed", "fulfill", "requested", 1)
    assert closed[world.listed] == ("cancelled", "", "pending", 0)
    assert Trust.objects.get(pk=world.trust).state == "trusted"
    assert list(TrustChange.objects.filter(trust=world.trust).order_by("id").values_list("event", "actor_id")) == [
        ("", one), ("accept", two),
    ]  # fmt: skip
    assert ApiKey.objects.get(pk=world.key).revoked_at is not None
    anna = Wallet.objects.get(pk=one)
    assert (anna.name, anna.name_key, anna.about) == ("Annette", "annette", "plants oaks")
    assert wallets.authenticate(name_or_id="Annette", password="other")
    assert world.again(tmp_path) == []


def test_totals_of_lists_are_right_after_each_import(world: World, tmp_path: Any) -> None:
    """The kept counts follow trusts and transfers that no operation of Coppice wrote."""
    peer, one, two, tokens = world.peer, world.one, world.two, world.tokens
    assert wrong_totals() == []
    assert list_counts.roll_up()
    assert wrong_totals() == []
    # What is sealed is not changed by another import, which closes transfers that were open.
    assert sealing.seal(is_due=True)

    three = peer.wallet("carl", password="secret")
    peer.trust("manages", one, two, "manage")
    peer.moved("on", one, three, [tokens[4]], at="2023-06-02")
    world.complete(world.asked, 3)
    world.again(tmp_path)
    assert wrong_totals() == []
    assert list_counts.roll_up()
    assert wrong_totals() == []
    assert ListTally.objects.filter(wallet=one, visible__gt=0, managed=1).exists()
    assert sealing.seal(is_due=True)
    assert LateTransfer.objects.filter(decided=2).exists()
    assert audits.findings() == []
    assert audits.findings(is_of_all=False) == []

    peer.change("wallet_trust", an_id("manages"), state="cancelled_by_target")
    world.again(tmp_path)
    assert wrong_totals() == []
    assert list_counts.roll_up()
    assert wrong_totals() == []


def test_a_bundle_gets_other_tokens_for_those_that_the_service_moved(world: World, tmp_path: Any) -> None:
    world.peer.moved("taken", world.one, world.two, [world.tokens[1]], at="2023-06-01")
    world.peer.moved("broken", world.one, world.two, [world.tokens[0]], at="2023-06-02")

    found = world.again(tmp_path)

    assert found == [
        f"transfer {world.bundle}: promises 1 tokens of {world.one}, and reserves 0 -> reserve",
        f"transfer {world.listed}: 1 of its tokens -> fail",
    ] or found == [
        f"transfer {world.listed}: 1 of its tokens -> fail",
        f"transfer {world.bundle}: promises 1 tokens of {world.one}, and reserves 0 -> reserve",
    ]
    assert world.reserved() == {2: world.bundle, 3: world.bundle}
    assert Transfer.objects.get(pk=world.listed).state == "failed"
    assert Transfer.objects.get(pk=world.bundle).state == "pending"


def test_a_list_of_tokens_is_not_completed_with_another_token(world: World, tmp_path: Any) -> None:
    world.complete(world.listed, 3)

    found = world.again(tmp_path)

    assert f"transfer {world.listed}: was pending, is completed; here pending -> apply" in found
    assert [each.rpartition(": ")[2] for each in found if "pending" not in each] == ["1 transactions -> make"]
    assert Transfer.objects.get(pk=world.listed).state == "failed"
    holders = dict(Token.objects.values_list("id", "wallet_id"))
    assert (holders[world.tokens[0]], holders[world.tokens[3]]) == (world.one, world.two)
    assert world.reserved() == {1: world.bundle, 2: world.bundle}


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_transfer_is_not_completed_with_a_step_of_other_wallets(world: World, tmp_path: Any, side: str) -> None:
    """The one token that a transfer asks for counts only if it went from its source to its destination."""
    peer, token = world.peer, world.tokens[3]
    three = peer.wallet("carl")
    if side == "source":
        peer.moved("before", world.one, three, [token], at="2023-05-01")
    ends = (three, world.two) if side == "source" else (world.one, three)
    peer.change("transfer", world.asked, state="completed")
    peer.step(token, world.asked, *ends, at="2023-06-01")
    peer.change("token", token, wallet_id=ends[1])

    world.again(tmp_path)

    asked = Transfer.objects.get(pk=world.asked)
    assert (asked.state, asked.moved_count) == ("failed", 0)
    made = Movement.objects.filter(token_id=token).latest("number")
    assert (made.source_id, made.destination_id) == ends
    assert made.transfer_id != asked.pk


def test_a_change_that_a_decision_leaves_is_not_taken_over_and_its_neighbour_is(world: World, tmp_path: Any) -> None:
    peer = world.peer
    key = peer.add("api_key", key="b" * 32, name="other key")
    ended = peer.add("api_key", key="c" * 32, name="ended here")
    trust = peer.trust("other trust", world.two, world.one, "receive", "requested")
    world.again(tmp_path)
    left = {"wallet": world.one, "key": world.key, "trust": world.trust}
    texts = {"about": "oaks", "display_name": "New", "logo_url": "https://logo", "cover_url": "https://cover"}
    for name, wallet in (("Annette", world.one), ("Bertram", world.two)):
        peer.change("wallet", wallet, name=name, password=hashed(name, a_salt("x")), salt=a_salt("x"), **texts)
    ApiKey.objects.filter(pk=ended).update(revoked_at="2024-01-01T00:00Z")
    for each in (world.key, key, ended):
        peer.change("api_key", each, tree_token_api_access=False)
    for each in (world.trust, trust):
        peer.change("wallet_trust", each, state="trusted")
    before = Wallet.objects.filter(pk=world.one).values().get()

    found = world.again(
        tmp_path,
        decisions=decided(
            tmp_path, *({"kind": f"{kind}_changed", "id": str(row), "action": "here"} for kind, row in left.items())
        ),
    )

    assert sorted(line.rpartition(" -> ")[2] for line in found) == ["apply"] * 4 + ["here"] * 3
    assert Wallet.objects.filter(pk=world.one).values().get() == before
    changed = Wallet.objects.get(pk=world.two)
    assert (changed.name, *(getattr(changed, text) for text in texts)) == ("Bertram", *texts.values())
    assert wallets.authenticate(name_or_id="Bertram", password="Bertram")
    assert list(ApiKey.objects.filter(revoked_at=None).values_list("pk", flat=True)) == [world.key]
    assert str(ApiKey.objects.get(pk=ended).revoked_at) == "2024-01-01 00:00:00+00:00"
    assert dict(Trust.objects.values_list("pk", "state")) == {world.trust: "requested", trust: "trusted"}
    # What was left is not asked again.
    assert world.again(tmp_path) == []
    assert Wallet.objects.filter(pk=world.one).values().get() == before


def test_only_the_history_since_a_time_is_read(world: World, tmp_path: Any) -> None:
    world.complete(world.bundle, 1, 2, at="2023-07-02")
    world.peer.moved("latest", world.one, world.two, [world.tokens[4]], at="2023-07-01")
    # Created before that time, and moved after it.
    slow = world.peer.moved("slow", world.one, world.two, [world.tokens[5]], at="2023-07-03")
    world.peer.change("transfer", slow, created_at="2023-06-29")
    # Closed without any history.
    for transfer in (world.asked, world.listed):
        world.peer.change("transfer", transfer, state="cancelled")
    report = tmp_path / "report.txt"
    assert sorted(world.again(tmp_path, since=moment("2023-06-30"))) == sorted(
        f"transfer {transfer}: was {was}, is {then}; here {was} -> apply"
        for transfer, was, then in (
            (world.bundle, "pending", "completed"), (world.asked, "requested", "cancelled"),
            (world.listed, "pending", "cancelled"),
        )
    )  # fmt: skip
    assert "5 transfer, 4 transaction," in report.read_text()
    assert world.counts() == (2, 4)
    assert Transfer.objects.get(pk=slow).state == "completed"


def test_what_the_service_no_longer_has_stays_and_is_named(world: World, tmp_path: Any) -> None:
    three = world.peer.wallet("carl", password="secret")
    trust = world.peer.trust("carl's", three, world.one, "send")
    world.again(tmp_path)
    for table, row in (("wallet", three), ("wallet_trust", trust), ("token", world.tokens[5])):
        world.peer.run(f"DELETE FROM wallet.{table} WHERE id = %s", [row])

    assert world.again(tmp_path) == [
        f'wallet {three}: named "carl" -> keep',
        f"trust {trust}: send from {three} to {world.one} -> keep",
        f"token {world.tokens[5]}: in {world.one} -> keep",
    ]
    assert Wallet.objects.filter(pk=three).exists()
    assert Trust.objects.get(pk=trust).state == "trusted"
    assert Token.objects.get(pk=world.tokens[5]).wallet_id == world.one


def test_what_changed_in_coppice_stays(world: World, tmp_path: Any) -> None:
    one, two = Wallet.objects.get(pk=world.one), Wallet.objects.get(pk=world.two)
    trusts.accept_trust(actor=two, trust_id=world.trust)
    transfers.accept(actor=two, transfer_id=world.listed)
    transfers.send_bundle(actor=one, sender="anna", receiver="bert", size=1)
    wallets.change_wallet(wallet_id=one.pk, about="in Coppice")
    moved = set(Token.objects.filter(wallet=two).values_list("id", flat=True))
    assert len(moved) == 2

    assert world.again(tmp_path) == []

    assert set(Token.objects.filter(wallet=two).values_list("id", flat=True)) == moved
    assert Wallet.objects.get(pk=one.pk).about == "in Coppice"
    assert Trust.objects.get(pk=world.trust).state == "trusted"
    # Later the service changes another text: the one of Coppice stays. It moves a token.
    world.peer.change("wallet", one.pk, logo_url="https://logo")
    free = Token.objects.filter(wallet=one, transfer_pending_id=None).values_list("id", flat=True)[0]
    world.peer.moved("later", one.pk, two.pk, [free], at="2023-06-05")
    assert world.again(tmp_path) == [f"wallet {one.pk}: logo_url -> apply"]
    one.refresh_from_db()
    assert (one.about, one.logo_url) == ("in Coppice", "https://logo")
    # Coppice moves it back: the service did not move it since.
    back = transfers.send_tokens(actor=two, sender="bert", receiver="anna", token_ids=[free])
    transfers.accept(actor=one, transfer_id=back.id)
    assert world.again(tmp_path) == []
    assert Token.objects.get(pk=free).wallet_id == one.pk


def change_both_sides(world: World) -> dict[str, tuple[Any, str]]:
    """Change a token, a transfer, a trust and a wallet on both sides; return row and detail of each conflict."""
    peer, two = world.peer, Wallet.objects.get(pk=world.two)
    three = peer.wallet("carl")
    transfers.accept(actor=two, transfer_id=world.bundle)
    moved = world.tokens[1]
    peer.moved("elsewhere", world.one, three, [moved], at="2023-06-01")
    transfers.decline(actor=two, transfer_id=world.listed)
    world.complete(world.listed, 0)
    trusts.accept_trust(actor=two, trust_id=world.trust)
    peer.change("wallet_trust", world.trust, state="cancelled_by_target")
    wallets.change_wallet(wallet_id=world.one, about="in Coppice")
    peer.change("wallet", world.one, about="in the service")
    return {
        "token_conflict": (moved, f"there from {world.one} to {three}, here in {world.two}"),
        "transfer_conflict": (world.listed, "was pending, is completed; here cancelled"),
        "trust_conflict": (world.trust, "was requested, is cancelled_by_target; here trusted"),
        "wallet_conflict": (world.one, "about"),
    }


def state(world: World, token: Any) -> Any:
    places = Token.objects.filter(pk__in=[token, world.tokens[0]]).order_by("pk").values_list("wallet__name", flat=True)
    trust, listed = Trust.objects.get(pk=world.trust), Transfer.objects.get(pk=world.listed)
    return trust.state, listed.state, list(places), Wallet.objects.get(pk=world.one).about


def test_what_both_sides_changed_waits_for_a_decision(world: World, tmp_path: Any) -> None:
    conflicts = change_both_sides(world)
    token = conflicts["token_conflict"][0]
    before = (Transfer.objects.count(), Movement.objects.count(), world.counts(), ImportRun.objects.count())
    here = state(world, token)
    report, template = tmp_path / "report.txt", tmp_path / "template.json"

    with pytest.raises(CommandError, match="4 findings wait for a decision"):
        imported(world.peer, report=report, template=template)

    for row, detail in conflicts.values():
        assert f" {row}: {detail} -> refuse" in report.read_text()
    assert before == (Transfer.objects.count(), Movement.objects.count(), world.counts(), ImportRun.objects.count())
    assert {(each["kind"], each["id"], each["action"]) for each in json.loads(template.read_text())["decisions"]} == {
        (kind, str(row), "here") for kind, (row, _) in conflicts.items()
    }

    world.again(tmp_path, decisions=template)

    assert state(world, token) == here
    # A decision is remembered.
    assert world.again(tmp_path) == []
    assert state(world, token) == here


def test_a_decision_may_take_the_side_of_the_service(world: World, tmp_path: Any) -> None:
    token = change_both_sides(world)["token_conflict"][0]
    kinds = {"token": "there", "trust": "there", "wallet": "there", "transfer": "here"}

    world.again(
        tmp_path,
        decisions=decided(
            tmp_path, *({"kind": f"{kind}_conflict", "action": action} for kind, action in kinds.items())
        ),
    )

    assert Token.objects.get(pk=token).wallet.name == "carl"
    # From where Coppice had it, over a correction, to where the service moved it.
    steps = Movement.objects.filter(token_id=token).order_by("number").values_list("destination__name", flat=True)
    assert list(steps) == ["anna", "bert", "anna", "carl"]
    assert Trust.objects.get(pk=world.trust).state == "cancelled_by_target"
    assert Wallet.objects.get(pk=world.one).about == "in the service"
    assert Transfer.objects.get(pk=world.listed).state == "cancelled"


def test_rows_that_were_not_imported_are_not_overwritten(peer: Service, tmp_path: Any) -> None:
    one = Wallet.objects.create(id=an_id("anna"), name="anna", name_key="anna")
    transfers.issue_tokens(wallet=one, capture_ids=[an_id("capture t0")])
    here = Token.objects.get()
    transfers.issue_tokens(wallet=one, capture_ids=[an_id("capture t1")], token_ids=[an_id("t1")])
    wallets.create_api_key(name="mine", key="a" * 32)
    peer.wallet("anna", password="secret")
    token = peer.token("t0", one.pk)
    same = peer.token("t1", peer.wallet("bert"))
    key = peer.add("api_key", key="a" * 32)
    report = tmp_path / "report.txt"

    with pytest.raises(CommandError, match="3 findings wait"):
        imported(peer, report=report)

    text = report.read_text()
    assert f'wallet {one.pk}: named "anna" there -> refuse' in text
    assert f"token {token}: capture {here.capture_id}, here token {here.pk} -> refuse" in text
    assert f"token {same}: in {one.pk} -> refuse" in text
    assert f"key {key}: registered already -> here" in text
    assert ImportedRow.objects.count() == 0
    imported(peer, decisions=decided(
        tmp_path, {"kind": "wallet_exists", "action": "here"}, {"kind": "capture_exists", "action": "leave_out"},
        {"kind": "token_exists", "action": "here"},
    ))  # fmt: skip
    assert dict(Token.objects.values_list("id", "wallet__name")) == {here.pk: "anna", same: "anna"}
    assert ApiKey.objects.get().name == "mine"


def test_a_token_that_a_claim_link_reserves_is_not_taken_from_it(world: World, tmp_path: Any) -> None:
    one, token = Wallet.objects.get(pk=world.one), world.tokens[4]
    link = action_tokens.offer_tokens(actor=one, sender=None, token_ids=[token])
    assert world.again(tmp_path) == []
    assert action_token_lists.described(code=link.code).state == "active"
    three = world.peer.wallet("carl")
    world.peer.moved("elsewhere", world.one, three, [token], at="2023-06-01")
    report = tmp_path / "report.txt"

    with pytest.raises(CommandError, match="1 findings wait for a decision"):
        imported(world.peer, report=report)
    there = decided(tmp_path, {"kind": "token_conflict", "action": "there"})
    with pytest.raises(CommandError, match="1 findings wait for a decision"):
        imported(world.peer, decisions=there)

    assert f"reserved by {link.id} -> refuse" in report.read_text()
    assert Token.objects.get(pk=token).transfer_pending_id == link.id
    action_tokens.redeem(actor=Wallet.objects.get(pk=world.two), code=link.code)
    assert audits.findings() == []
