"""Approvals: what waits for a second login, on each path by which tokens leave a wallet, and who gives it."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import get_resolver

from config.environment import ROOT
from tests.api.caller import PASSWORD, Caller, answer, logged_in, refusal
from tests.api.endpoints import endpoints
from tests.support.transfer_requests import FIELDS, bundle, listed
from tests.transfers.books import assert_sound, books, held_by, let_expire, reserved_by
from transfers import approvals, bulk, ledger
from transfers import operations as transfers
from transfers.models import ActionToken, ApprovalChange, KnownReceiver, Transfer
from transfers.queries import Demand
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import BearerToken, Event, Wallet
from wallets.queries import WalletReference, digest

SAME_LOGIN = refusal(403, "The approval needs another login than the one that asked for it")
NOT_AWAITED = refusal(403, "The transfer does not await an approval")
AWAITED = refusal(403, "The transfer awaits the approval of its sender")
NOT_YOURS = "Current account has no permission to {} this transfer"
LINKS = refusal(403, "The sender wallet demands an approval for this, which a claim link cannot await")


def again(caller: Caller) -> Caller:
    """The same wallet with another login."""
    assert caller.wallet is not None
    token = wallets.authenticate(name_or_id=caller.wallet.name, password=PASSWORD)
    return Caller(caller.api_key, token, caller.wallet)


def path_of(caller: Caller) -> str:
    assert caller.wallet is not None
    return f"/wallets/{caller.wallet.pk}/approval"


def demand(caller: Caller, **wanted: Any) -> Any:
    return answer(caller.send("PUT", path_of(caller), wanted))


def trusting(giver: Caller, receiver: Caller) -> None:
    row = trusts.request_trust(actor=giver.wallet, request_type=TrustRequestType.SEND, requestee=receiver.wallet.name)
    trusts.accept_trust(actor=receiver.wallet, trust_id=row.id)


def manages(manager: Caller, wallet: Wallet) -> None:
    row = trusts.request_trust(actor=manager.wallet, request_type=TrustRequestType.MANAGE, requestee=wallet.name)
    trusts.accept_trust(actor=wallet, trust_id=row.id)


def types_of(wallet: Any) -> list[str]:
    kinds = Event.objects.filter(wallet=wallet).order_by("number").values_list("type", flat=True)
    return [kind for kind in kinds if kind not in {"login", "wallet_created"} and not kind.startswith("trust")]


@pytest.fixture
def held(alice: Caller, bob: Caller) -> Any:
    """Three of alice's tokens to bob, who would get them at once; alice demands an approval above two."""
    trusting(alice, bob)
    assert demand(alice, above=2)[0] == 200
    status, body = answer(alice.post("/transfers", bundle("alice", "bobby", 3)))
    assert (status, body["state"], body["awaiting_approval"]) == (202, "pending", True)
    return body["id"]


# --- every path by which tokens leave

CSV = "wallet_name,token_transfer_amount_overwrite\n{},3\n"


def csv(sender: str, receiver: str) -> Any:
    file = SimpleUploadedFile("batch.csv", CSV.format(receiver).encode(), "text/csv")
    return encode_multipart(BOUNDARY, {"sender_wallet": sender, "csv": file})


def send_bundle(caller: Caller, bob: Caller) -> Any:
    return caller.post("/transfers", bundle("alice", "bobby", 3))


def send_list(caller: Caller, bob: Caller) -> Any:
    return caller.post("/transfers", listed("alice", "bobby", held_by(Wallet.objects.get(name="alice"))[:3]))


def send_with_terms(caller: Caller, bob: Caller) -> Any:
    return caller.post("/transfers", bundle("alice", "bobby", 3) | {"reference": "order 7"})


def send_with_key(caller: Caller, bob: Caller) -> Any:
    return caller.post("/transfers", bundle("alice", "bobby", 3), idempotency_key=f"{uuid4()}")


def send_at_v2(caller: Caller, bob: Caller) -> Any:
    return caller.post("/wallet/v2/transfers", bundle("alice", "bobby", 3))


def send_batch(caller: Caller, bob: Caller) -> Any:
    body = csv("alice", "bobby")
    return caller.send("POST", "/wallets/batch-transfer", body, content_type=MULTIPART_CONTENT)


def send_to_new_wallets(caller: Caller, bob: Caller) -> Any:
    body = csv("alice", "seedling")
    return caller.send("POST", "/wallets/batch-create-wallet", body, content_type=MULTIPART_CONTENT)


def asked(bob: Caller, **more: Any) -> Any:
    status, body = answer(bob.post("/transfers", bundle("alice", "bobby", 3) | more))
    assert (status, body["state"]) == (202, "requested")
    return body["id"]


def fulfill_any(caller: Caller, bob: Caller) -> Any:
    return caller.post(f"/transfers/{asked(bob)}/fulfill", {"implicit": True})


def fulfill_chosen(caller: Caller, bob: Caller) -> Any:
    tokens = [str(token) for token in held_by(Wallet.objects.get(name="alice"))[:3]]
    return caller.post(f"/transfers/{asked(bob)}/fulfill", {"tokens": tokens})


def fulfill_named(caller: Caller, bob: Caller) -> Any:
    tokens = held_by(Wallet.objects.get(name="alice"))[:3]
    named = answer(bob.post("/transfers", listed("alice", "bobby", tokens)))[1]["id"]
    return caller.post(f"/transfers/{named}/fulfill", {"implicit": True})


def fulfill_at_v2(caller: Caller, bob: Caller) -> Any:
    return caller.post(f"/wallet/v2/transfers/{asked(bob)}/fulfill", {"implicit": True})


PATHS = {
    each.__name__: each
    for each in (
        send_bundle, send_list, send_with_terms, send_with_key, send_at_v2, send_batch, send_to_new_wallets,
        fulfill_any, fulfill_chosen, fulfill_named, fulfill_at_v2,
    )
}  # fmt: skip


@pytest.mark.parametrize("who", ["the owner", "a manager"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("demanded", [{"above": 2}, {"new_receivers": True}], ids=["above", "new receivers"])
def test_no_token_leaves_before_the_approval_on_any_path(
    alice: Caller, bob: Caller, carol: Caller, path: Any, demanded: Any, who: str
) -> None:
    manages(carol, alice.wallet)
    # Without a demand all of these complete at once.
    trusting(alice, bob)
    demand(alice, **demanded)
    caller = {"the owner": alice, "a manager": carol}[who]

    response = path(caller, bob)

    assert response.status_code in {200, 201, 202}, response.content
    transfer = Transfer.objects.get()
    assert (transfer.state, transfer.reserved_count, transfer.moved_count) == ("pending", 3, 0)
    assert transfer.awaits_approval
    assert (transfer.approval_asked_by, transfer.approval_asked_with) == (caller.wallet, credential_of(caller))
    assert len(held_by(alice.wallet)) == 5
    assert len(reserved_by(str(transfer.pk))) == 3
    before = books()
    receiver = bob if transfer.destination_id == bob.wallet.pk else caller
    assert answer(receiver.post(f"/transfers/{transfer.pk}/accept", {})) in (
        AWAITED,
        refusal(403, NOT_YOURS.format("accept")),
    )
    assert answer(caller.post(f"/transfers/{transfer.pk}/approve", {})) == SAME_LOGIN
    assert answer(bob.post(f"/transfers/{transfer.pk}/approve", {})) == refusal(403, NOT_YOURS.format("approve"))
    assert books() == before
    assert_sound()

    status, body = answer(again(alice).post(f"/transfers/{transfer.pk}/approve", {}))

    is_new_wallet = path is send_to_new_wallets and who == "a manager"
    # Who created the new wallet controls it, and a transfer to it completes at once.
    assert (status, body["state"]) == (200, "completed"), is_new_wallet
    assert "awaiting_approval" not in body
    assert len(held_by(alice.wallet)) == 2
    transfer.refresh_from_db()
    assert (transfer.closed_event, transfer.closed_from, transfer.moved_count) == ("approve", "pending", 3)
    assert_sound()


def credential_of(caller: Caller) -> Any:
    assert caller.bearer is not None
    return BearerToken.objects.get(digest=digest(caller.bearer)).pk


# What moves tokens out of a wallet, or promises to, by the URL conf.
LEAVING = {
    ("POST", "/transfers"), ("POST", "/transfers/{transfer_id}/fulfill"), ("POST", "/wallets/batch-transfer"),
    ("POST", "/wallets/batch-create-wallet"),
}  # fmt: skip
# Claim links are refused; those from before the demand, and pending transfers from before it, were decided then.
LINKING = {("POST", "/action-tokens"), ("POST", "/action-tokens/batch")}
DECIDED_BEFORE = {("POST", "/transfers/{transfer_id}/accept"), ("POST", "/action-tokens/redeem")}
NOT_LEAVING = {
    ("DELETE", "/transfers/{transfer_id}"), ("POST", "/transfers/{transfer_id}/decline"),
    ("POST", "/transfers/{transfer_id}/approve"), ("POST", "/transfers/{transfer_id}/refuse"),
    ("DELETE", "/action-tokens/{action_token_id}"), ("POST", "/action-tokens/describe"), ("POST", "/wallets"),
    ("PATCH", "/wallets/{wallet_id}"), ("PUT", "/wallets/{wallet_id}/approval"),
    ("POST", "/wallets/{wallet_id}/dismiss"), ("POST", "/auth"), ("POST", "/auth/password"),
    ("DELETE", "/auth/sessions/{session_id}"), ("DELETE", "/auth/token"), ("POST", "/trust_relationships"),
    ("POST", "/trust_relationships/{trust_relationship_id}/accept"),
    ("POST", "/trust_relationships/{trust_relationship_id}/decline"),
    ("DELETE", "/trust_relationships/{trust_relationship_id}"),
    ("POST", "/keys"), ("PATCH", "/keys/{key_id}"), ("DELETE", "/keys/{key_id}"),
}  # fmt: skip


def test_every_endpoint_that_writes_is_a_path_here_or_moves_no_token_out() -> None:
    writing = {
        (method, path)
        for method, path, _ in endpoints(get_resolver())
        # Coins are no tokens, and webhooks move nothing.
        if method != "GET" and not path.startswith(("/api/", "/webhooks"))
    }

    assert writing == LEAVING | LINKING | DECIDED_BEFORE | NOT_LEAVING


def test_every_statement_of_the_ledger_that_moves_or_reserves_tokens_knows_of_approvals() -> None:
    sql = ROOT / "transfers" / "sql"
    writing = {path.stem for path in sql.glob("*.sql") if "UPDATE wallets_token" in path.read_text()}
    through_decision = {path.stem for path in sql.glob("*.sql") if re.search(r"\{decisions?\}", path.read_text())}

    assert through_decision == {"send", "decide_batch"}
    # `complete` refuses by a trigger what is not approved; `hold` reserves; the others free tokens, or serve links.
    assert writing == {"send", "send_batch", "complete", "hold", "release", "offer", "redeem"}


@pytest.mark.parametrize(
    "offer",
    [
        lambda caller, tokens: caller.post("/action-tokens", {"bundle": {"bundle_size": 3}}),
        lambda caller, tokens: caller.post("/action-tokens", {"tokens": [str(token) for token in tokens[:3]]}),
        lambda caller, tokens: caller.post("/action-tokens/batch", {"bundle": {"bundle_size": 3}, "count": 1}),
    ],
    ids=["bundle", "list", "batch"],
)
@pytest.mark.parametrize("demanded", [{"above": 2}, {"new_receivers": True}], ids=["above", "new receivers"])
def test_a_claim_link_that_would_need_an_approval_is_refused(alice: Caller, demanded: Any, offer: Any) -> None:
    tokens = held_by(alice.wallet)
    demand(alice, **demanded)

    assert answer(offer(alice, tokens)) == LINKS
    assert not ActionToken.objects.exists()
    assert reserved_by(str(uuid4())) == []
    status, _ = answer(alice.post("/action-tokens", {"bundle": {"bundle_size": 2}}))
    assert status == (201 if "above" in demanded else 403)


# --- what needs no approval


def test_wallets_without_a_demand_and_transfers_below_it_are_as_ever(alice: Caller, bob: Caller) -> None:
    trusting(alice, bob)
    status, body = answer(alice.post("/transfers", bundle("alice", "bobby", 1)))
    assert (status, body["state"], list(body)) == (201, "completed", FIELDS)
    demand(alice, above=2)

    status, body = answer(alice.post("/transfers", bundle("alice", "bobby", 2)))

    assert (status, body["state"], list(body)) == (201, "completed", FIELDS)
    assert Transfer.objects.filter(approval_of=None).count() == 2


def test_a_request_from_a_wallet_with_a_demand_is_not_held_before_it_is_fulfilled(alice: Caller, bob: Caller) -> None:
    demand(alice, above=0)

    status, body = answer(bob.post("/transfers", bundle("alice", "bobby", 3)))

    assert (status, body["state"], list(body)) == (202, "requested", FIELDS)
    assert answer(again(alice).post(f"/transfers/{body['id']}/approve", {})) == NOT_AWAITED


def test_receivers_are_known_from_what_completed_and_by_approvals(
    alice: Caller, bob: Caller, carol: Caller, sapling: Wallet
) -> None:
    trusting(alice, bob)
    trusting(alice, carol)
    answer(alice.post("/transfers", bundle("alice", "bobby", 1)))
    # Offered and not accepted: nothing was sent.
    trusts.delete_trust(actor=alice.wallet, trust_id=Trust.objects.get(target=carol.wallet).pk)
    answer(alice.post("/transfers", bundle("alice", "carol", 1)))
    demand(alice, new_receivers=True)
    assert list(KnownReceiver.objects.values_list("wallet", "receiver")) == [(alice.wallet.pk, bob.wallet.pk)]

    known = answer(alice.post("/transfers", bundle("alice", "bobby", 1)))[1]
    new = answer(alice.post("/transfers", bundle("alice", "sapling", 1)))[1]
    assert (known["state"], new["state"]) == ("completed", "pending")
    answer(again(alice).post(f"/transfers/{new['id']}/approve", {}))

    assert answer(alice.post("/transfers", bundle("alice", "sapling", 1)))[1]["state"] == "completed"
    # A change of the other condition forgets none of them.
    assert demand(alice, above=1, new_receivers=True)[0] == 200
    assert set(KnownReceiver.objects.values_list("receiver", flat=True)) == {bob.wallet.pk, sapling.pk}
    # Those of another wallet stay.
    demand(bob, new_receivers=True)
    KnownReceiver.objects.create(wallet=bob.wallet, receiver=alice.wallet)
    assert answer(again(alice).send("PUT", path_of(alice), {}))[0] == 202
    assert answer(alice.send("PUT", path_of(alice), {}))[0] == 200
    assert KnownReceiver.objects.get().wallet == bob.wallet


# --- what becomes of it


def test_without_a_trust_the_approved_transfer_waits_for_its_receiver(alice: Caller, bob: Caller) -> None:
    demand(alice, above=2)
    held = answer(alice.post("/transfers", bundle("alice", "bobby", 3)))[1]["id"]

    status, body = answer(again(alice).post(f"/transfers/{held}/approve?include=available_actions", {}))

    assert (status, body["state"], body["available_actions"]) == (200, "pending", ["delete"])
    assert "awaiting_approval" not in body
    assert types_of(bob.wallet) == ["transfer_requested"]
    assert answer(again(alice).post(f"/transfers/{held}/approve", {})) == NOT_AWAITED
    assert answer(alice.post(f"/transfers/{held}/refuse", {})) == NOT_AWAITED
    assert answer(bob.post(f"/transfers/{held}/accept", {}))[1]["state"] == "completed"
    assert held_by(bob.wallet) != []
    assert_sound()


def test_the_rights_of_the_maker_are_decided_anew_at_the_approval(alice: Caller, bob: Caller, held: Any) -> None:
    # The trust that would have completed it has ended since.
    trusts.delete_trust(actor=alice.wallet, trust_id=Trust.objects.get().pk)

    assert answer(again(alice).post(f"/transfers/{held}/approve", {}))[1]["state"] == "pending"
    assert held_by(bob.wallet) == []


def test_what_a_former_manager_made_is_not_approved(alice: Caller, bob: Caller, carol: Caller) -> None:
    manages(carol, alice.wallet)
    demand(alice, above=2)
    held = answer(carol.post("/transfers", bundle("alice", "bobby", 3)))[1]["id"]
    trusts.dismiss_manager(actor=alice.wallet, wallet_id=alice.wallet.pk, manager="carol")
    before = books()

    told = answer(alice.post(f"/transfers/{held}/approve", {}))

    assert told == refusal(403, "The wallet that made this transfer no longer controls its sender")
    assert answer(carol.post(f"/transfers/{held}/approve", {})) == refusal(403, NOT_YOURS.format("approve"))
    assert books() == before
    assert answer(alice.post(f"/transfers/{held}/refuse", {}))[1]["state"] == "cancelled"


def test_a_manager_approves_with_its_own_login_and_the_owner_what_the_manager_made(
    alice: Caller, bob: Caller, carol: Caller
) -> None:
    manages(carol, alice.wallet)
    trusting(alice, bob)
    demand(alice, above=1)
    of_alice, of_carol = (
        answer(each.post("/transfers", bundle("alice", "bobby", 2)))[1]["id"] for each in (alice, carol)
    )

    assert answer(carol.post(f"/transfers/{of_carol}/approve", {})) == SAME_LOGIN
    assert answer(carol.post(f"/transfers/{of_alice}/approve", {}))[1]["state"] == "completed"
    assert answer(alice.post(f"/transfers/{of_carol}/approve", {}))[1]["state"] == "completed"
    assert Transfer.objects.get(pk=of_alice).approved_by == carol.wallet


@pytest.mark.parametrize(
    ("ask", "who", "event"),
    [
        (lambda caller, held: caller.post(f"/transfers/{held}/refuse", {}), "alice", "refuse"),
        (lambda caller, held: caller.delete(f"/transfers/{held}"), "alice", "delete"),
        (lambda caller, held: caller.post(f"/transfers/{held}/decline", {}), "bob", "decline"),
    ],
    ids=["refuse", "cancel", "decline"],
)
def test_either_side_ends_what_awaits_an_approval(
    alice: Caller, bob: Caller, held: Any, ask: Any, who: str, event: str
) -> None:
    status, body = answer(ask({"alice": alice, "bob": bob}[who], held))

    assert (status, body["state"]) == (200, "cancelled")
    assert "awaiting_approval" not in body
    assert reserved_by(held) == []
    assert Transfer.objects.get().closed_event == event
    assert answer(again(alice).post(f"/transfers/{held}/approve", {})) == NOT_AWAITED
    assert_sound()


def test_what_has_expired_is_not_approved(alice: Caller, held: Any) -> None:
    let_expire(held)

    assert answer(again(alice).post(f"/transfers/{held}/approve", {})) == NOT_AWAITED
    assert transfers.expire_due() == 1
    assert Transfer.objects.get().state == "failed"
    assert_sound()


def test_a_fulfilled_request_that_is_refused_is_cancelled(alice: Caller, bob: Caller) -> None:
    demand(alice, above=2)
    requested = asked(bob)
    status, body = answer(alice.post(f"/transfers/{requested}/fulfill?include=available_actions", {"implicit": True}))
    assert (status, body["state"], body["awaiting_approval"]) == (200, "pending", True)
    assert body["available_actions"] == ["delete", "refuse"]

    assert answer(alice.post(f"/transfers/{requested}/refuse", {}))[1]["state"] == "cancelled"
    assert reserved_by(requested) == []


# --- how it is shown


def test_the_fields_actions_lists_and_events_of_what_awaits_an_approval(alice: Caller, bob: Caller, held: Any) -> None:
    other = again(alice)
    expected = [(alice, ["delete", "refuse"]), (other, ["delete", "approve", "refuse"]), (bob, ["decline"])]
    for caller, actions in expected:
        body = answer(caller.get(f"/transfers/{held}?include=available_actions"))[1]
        assert (body["awaiting_approval"], body["available_actions"]) == (True, actions)
    for prefix in ("", "/wallet/v2"):
        for caller in (alice, bob):
            (row,) = answer(caller.get(f"{prefix}/transfers?limit=9&awaiting_approval=true"))[1]["transfers"]
            assert (row["id"], row["awaiting_approval"]) == (held, True)
            (row,) = answer(caller.get(f"{prefix}/transfers?limit=9&state=pending"))[1]["transfers"]
            assert row["awaiting_approval"] is True
    assert answer(alice.get("/transfers?limit=9&awaiting_approval=true&state=completed"))[1]["transfers"] == []
    assert answer(alice.get("/transfers?limit=9&awaiting_approval=false"))[0] == 422
    for caller in (alice, bob):
        events = answer(caller.get("/events?limit=99"))[1]["events"]
        (begun,) = [each for each in events if each["payload"].get("transferId") == held]
        assert begun["type"] == "transfer_approval_requested"
        assert begun["payload"]["awaitingApproval"] is True

    answer(other.post(f"/transfers/{held}/approve", {}))

    assert answer(alice.get("/transfers?limit=9&awaiting_approval=true"))[1]["transfers"] == []
    assert types_of(bob.wallet) == ["transfer_completed"]
    events = answer(bob.get("/events?limit=99"))[1]["events"]
    told = [
        (each["type"], each["payload"].get("awaitingApproval")) for each in events if "transferId" in each["payload"]
    ]
    assert told == [("transfer_approval_requested", True), ("transfer_completed", None)]


def test_the_events_of_a_fulfilment_do_not_change_the_one_before(alice: Caller, bob: Caller) -> None:
    demand(alice, above=2)
    requested = asked(bob)
    first = [each for each in answer(bob.get("/events?limit=99"))[1]["events"] if "transferId" in each["payload"]]

    answer(alice.post(f"/transfers/{requested}/fulfill", {"implicit": True}))
    answer(again(alice).post(f"/transfers/{requested}/approve", {}))

    now = [each for each in answer(bob.get("/events?limit=99"))[1]["events"] if "transferId" in each["payload"]]
    assert now[0] == first[0]
    assert [each["type"] for each in now] == [
        "transfer_requested", "transfer_approval_requested", "transfer_completed",
    ]  # fmt: skip


def test_a_repeated_request_gets_the_first_answer_whatever_became_of_the_transfer(alice: Caller, bob: Caller) -> None:
    trusting(alice, bob)
    demand(alice, above=2)
    sent = {"body": bundle("alice", "bobby", 3), "idempotency_key": "order-7"}
    first = alice.post("/transfers", **sent)
    answer(again(alice).post(f"/transfers/{first.json()['id']}/approve", {}))

    second = alice.post("/transfers", **sent)

    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert Transfer.objects.count() == 1


# --- the demand itself


def test_known_receivers_are_looked_up_only_where_a_wallet_demands_approvals_of_new_ones(
    alice: Caller, bob: Caller
) -> None:
    alone = {"actor_id": alice.wallet.pk, "source_id": alice.wallet.pk}
    batch = {"destinations": [WalletReference(id=bob.wallet.pk)], "sizes": [1]}
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION transfers_is_new_receiver(source uuid, destination uuid) RETURNS boolean"
            " LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE 'looked up'; END $$"
        )
    answer(alice.post("/transfers", bundle("alice", "bobby", 1)))
    assert ledger.decide_batch(**alone, **batch)

    Wallet.objects.filter(pk=alice.wallet.pk).update(approval_of_new_receivers=True)
    with pytest.raises(ProgrammingError, match="looked up"), transaction.atomic():
        transfers.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=1)
    with pytest.raises(ProgrammingError, match="looked up"), transaction.atomic():
        ledger.decide_batch(**alone, **batch)


def test_a_demand_is_tightened_with_one_login_and_loosened_with_two(alice: Caller) -> None:
    other = again(alice)
    none = {"above": None, "new_receivers": False, "asked": None}
    assert answer(alice.get(path_of(alice))) == (200, none)
    assert demand(alice, above=10) == (200, none | {"above": 10})
    assert demand(alice, above=5, new_receivers=True) == (200, none | {"above": 5, "new_receivers": True})

    for looser in ({"above": 6, "new_receivers": True}, {"new_receivers": True}, {"above": 1}, {}):
        status, body = demand(alice, **looser)
        assert (status, body["above"], body["new_receivers"]) == (202, 5, True)
        wanted = {"above": looser.get("above"), "new_receivers": looser.get("new_receivers", False)}
        assert {**wanted, "expires_at": body["asked"]["expires_at"]} == body["asked"]
        # The same login does not confirm itself, nor prolong what it asked for.
        assert demand(alice, **looser) == (202, body)
    # Another login asks for something else, which is a change of its own.
    assert demand(other, above=7)[0] == 202
    assert demand(alice)[0] == 202

    assert demand(other) == (200, none)
    assert not ApprovalChange.objects.exists()
    assert types_of(alice.wallet)[-2:] == ["approval_change_requested", "approval_changed"]


def test_a_change_expires_after_a_day(alice: Caller) -> None:
    demand(alice, above=5)
    demand(alice)
    change = ApprovalChange.objects.get()
    ApprovalChange.objects.update(asked_at=change.asked_at - approvals.CHANGES_EXPIRE_AFTER - timedelta(seconds=1))

    assert answer(alice.get(path_of(alice)))[1]["asked"] is None
    assert demand(again(alice))[0] == 202
    assert Wallet.objects.get(pk=alice.wallet.pk).approval_above == 5


def test_what_a_dismissed_manager_asked_for_is_not_confirmed(alice: Caller, carol: Caller) -> None:
    manages(carol, alice.wallet)
    demand(alice, above=5)
    assert answer(carol.send("PUT", path_of(alice), {}))[0] == 202
    trusts.dismiss_manager(actor=alice.wallet, wallet_id=alice.wallet.pk, manager="carol")

    assert demand(alice)[0] == 202
    change = ApprovalChange.objects.get()
    assert (change.asked_by, change.asked_with) == (alice.wallet, credential_of(alice))
    assert answer(carol.send("PUT", path_of(alice), {}))[0] == 403
    assert Wallet.objects.get(pk=alice.wallet.pk).approval_above == 5


def test_while_a_wallet_demands_approvals_it_gets_no_manager(alice: Caller, carol: Caller) -> None:
    told = refusal(403, "Operation forbidden, because the wallet demands approvals of transfers")
    body = {"trust_request_type": "yield", "requestee_wallet": "carol"}
    given = answer(alice.post("/trust_relationships", body))[1]["id"]
    demand(alice, above=5)

    assert answer(carol.post(f"/trust_relationships/{given}/accept", {})) == told
    asked = answer(carol.post("/trust_relationships", {"trust_request_type": "manage", "requestee_wallet": "alice"}))
    if asked[0] == 200:
        assert answer(alice.post(f"/trust_relationships/{asked[1]['id']}/accept", {})) == told
    assert not Trust.objects.filter(state="trusted").exists()
    # The wallet itself may begin to manage others.
    wallets.create_wallet(name="seedling", password=PASSWORD)
    row = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.MANAGE, requestee="seedling")
    trusts.accept_trust(actor=Wallet.objects.get(name="seedling"), trust_id=row.id)


@pytest.mark.parametrize("body", [{"above": -1}, {"above": "x"}, {"above": 2**31}, {"new_receivers": "x"}, {"n": 1}])
def test_a_demand_of_the_wrong_shape_is_refused(alice: Caller, body: Any) -> None:
    assert answer(alice.send("PUT", path_of(alice), body))[0] == 422
    assert Wallet.objects.get(pk=alice.wallet.pk).approval_above is None


def test_a_demand_of_the_batch_is_judged_row_by_row(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    trusting(alice, bob)
    demand(alice, above=1)
    rows = [bulk.Row(line, name, size) for line, (name, size) in enumerate([("bobby", 1), ("sapling", 2)], 2)]

    bulk.transfer_batch(actor=alice.wallet, sender="alice", rows=rows, credential_id=credential_of(alice))

    assert list(Transfer.objects.order_by("number").values_list("state", "approval_of")) == [
        ("completed", None), ("pending", "send"),
    ]  # fmt: skip
    assert_sound()


# --- what the database refuses


@pytest.mark.parametrize(
    "change",
    [
        "state = 'completed', reserved_count = 0, moved_count = token_count, closed_at = now()",
        "approval_of = NULL",
        "approval_of = 'fulfill'",
        "approval_asked_with = gen_random_uuid()",
        "approval_asked_by_id = NULL",
        "approved_at = now(), approved_by_id = source_id, approved_with = approval_asked_with",
        "approved_at = now(), approved_with = gen_random_uuid()",
        "approved_by_id = source_id",
        "token_count = token_count",
    ],
)
def test_the_database_refuses_what_is_no_approval(alice: Caller, held: Any, change: str) -> None:
    with (
        pytest.raises(IntegrityError, match=r"approv|closed once"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"UPDATE transfers_transfer SET {change} WHERE id = %s", [held])
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE transfers_transfer SET approved_at = now(), approved_by_id = source_id,"
            " approved_with = gen_random_uuid() WHERE id = %s",
            [held],
        )
    with pytest.raises(IntegrityError, match="approved once"), transaction.atomic():
        Transfer.objects.filter(pk=held).update(approved_with=uuid4())


def test_approve_needs_a_credential(alice: Caller, held: Any) -> None:
    with pytest.raises(approvals.errors.SameCredential):
        approvals.approve(actor=alice.wallet, credential_id=None, transfer_id=held)


def test_what_was_asked_for_without_a_login_is_approved_by_another_wallet_only(alice: Caller, carol: Caller) -> None:
    manages(carol, alice.wallet)
    demand(alice, above=0)
    made = transfers.send_bundle(actor=alice.wallet, sender="alice", receiver="carol", size=1)

    assert answer(alice.post(f"/transfers/{made.id}/approve", {})) == SAME_LOGIN
    assert answer(carol.post(f"/transfers/{made.id}/approve", {}))[0] == 200
    approvals.demand(actor=alice.wallet, credential_id=None, wallet_id=alice.wallet.pk, wanted=Demand())
    assert demand(alice)[0] == 202
    assert Wallet.objects.get(pk=alice.wallet.pk).approval_above == 0


def test_loosening_is_told_from_tightening() -> None:
    present = Demand(5, True)
    assert not any(present.is_loosened_by(other) for other in (present, Demand(4, True), Demand(0, True)))
    assert all(present.is_loosened_by(other) for other in (Demand(6, True), Demand(5, False), Demand(None, True)))
    assert not any(Demand().is_loosened_by(other) for other in (Demand(), Demand(3), Demand(None, True)))


def test_nobody_else_reads_or_changes_what_a_wallet_demands(alice: Caller, bob: Caller, api_key: str) -> None:
    stranger = logged_in("steve", api_key)
    for caller in (bob, stranger):
        assert answer(caller.get(path_of(alice)))[0] == 403
        assert answer(caller.send("PUT", path_of(alice), {"above": 0}))[0] == 403
    assert Wallet.objects.get(pk=alice.wallet.pk).approval_above is None
