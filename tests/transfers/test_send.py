"""`POST /transfers`: who may move what, at once, pending or requested."""

import itertools
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.caller import Caller, answer, refusal
from tests.support.transfer_requests import FIELDS, NOT_ENOUGH, RESERVED, STRANGE, bundle, listed
from tests.transfers.books import assert_sound, books, held_by, reserved_by
from transfers import ledger, operations, partitions
from transfers.models import Movement, Transfer
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets.models import Token, Wallet


def trust(request_type: Any, asking: Any, answering: Any) -> None:
    row = trusts.request_trust(actor=asking, request_type=TrustRequestType(request_type), requestee=answering.name)
    trusts.accept_trust(actor=answering, trust_id=row.id)


def test_a_bundle_between_my_wallets_moves_at_once(alice: Caller, sapling: Wallet) -> None:
    status, body = answer(alice.post("/transfers", bundle("alice", "sapling", 2)))

    assert status == 201
    assert list(body) == FIELDS
    assert body == {
        "id": body["id"], "type": "send", "parameters": {"bundle": {"bundleSize": 2}}, "state": "completed",
        "created_at": body["created_at"], "closed_at": body["created_at"], "active": True, "claim": False,
        "originating_wallet": "alice", "source_wallet": "alice", "destination_wallet": "sapling",
    }  # fmt: skip
    assert (len(held_by(alice.wallet)), len(held_by(sapling))) == (3, 5)
    assert Movement.objects.filter(transfer__id=body["id"]).count() == 2
    assert_sound()


def test_a_token_is_drawn_once_wherever_the_draw_begins(
    alice: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots = Token.objects.filter(wallet=alice.wallet).values_list("lot", flat=True)
    for begins in list(lots):
        monkeypatch.setattr(ledger, "_shuffle_key", lambda begins=begins: begins)

        assert answer(alice.post("/transfers", bundle("alice", "sapling", 6))) == NOT_ENOUGH

    assert answer(alice.post("/transfers", bundle("alice", "sapling", 5)))[0] == 201
    assert_sound()


def test_listed_tokens_to_a_stranger_wait_for_him(alice: Caller, bob: Caller) -> None:
    mine = held_by(alice.wallet)[:2]

    status, body = answer(alice.post("/transfers", listed("alice", "bobby", mine)))

    assert status == 202
    assert list(body) == FIELDS
    assert (body["state"], body["closed_at"]) == ("pending", None)
    assert body["parameters"] == {"tokens": [str(token) for token in mine]}
    assert reserved_by(body["id"]) == mine
    assert held_by(bob.wallet) == []
    assert_sound()


def test_what_a_stranger_asks_for_is_requested_and_reserves_nothing(alice: Caller, bob: Caller) -> None:
    status, body = answer(bob.post("/transfers", bundle("alice", "bobby", 2)))

    assert (status, body["state"], body["originating_wallet"]) == (202, "requested", "bobby")
    assert reserved_by(body["id"]) == []
    assert_sound()


def test_wallets_may_be_named_by_id_with_or_without_hyphens(alice: Caller, sapling: Wallet) -> None:
    body = bundle(str(alice.wallet.pk), sapling.pk.hex, 1)

    status, body = answer(alice.post("/transfers", body))

    assert (status, body["source_wallet"], body["destination_wallet"]) == (201, "alice", "sapling")


@pytest.mark.parametrize("request_type", ["send", "receive", "manage", "yield"])
@pytest.mark.parametrize("asked_by", ["sender", "receiver"])
def test_which_trust_lets_the_sender_push(alice: Caller, bob: Caller, request_type: str, asked_by: str) -> None:
    asking, answering = (alice, bob) if asked_by == "sender" else (bob, alice)
    trust(request_type, asking.wallet, answering.wallet)
    pushes = {("send", "sender"), ("receive", "receiver"), ("manage", "sender"), ("yield", "receiver")}

    status, body = answer(alice.post("/transfers", bundle("alice", "bobby", 1)))

    expected = (201, "completed") if (request_type, asked_by) in pushes else (202, "pending")
    assert (status, body["state"]) == expected
    assert_sound()


@pytest.mark.parametrize("request_type", ["send", "receive", "manage", "yield"])
@pytest.mark.parametrize("asked_by", ["sender", "receiver"])
def test_only_control_lets_the_receiver_take(alice: Caller, bob: Caller, request_type: str, asked_by: str) -> None:
    asking, answering = (alice, bob) if asked_by == "sender" else (bob, alice)
    trust(request_type, asking.wallet, answering.wallet)
    takes = {("manage", "receiver"), ("yield", "sender")}

    status, body = answer(bob.post("/transfers", bundle("alice", "bobby", 1)))

    expected = (201, "completed") if (request_type, asked_by) in takes else (202, "requested")
    assert (status, body["state"]) == expected


def test_a_manager_uses_the_trust_of_the_wallet_it_manages(alice: Caller, sapling: Wallet, carol: Caller) -> None:
    # It does not matter whether the caller is the sender itself or manages it.
    row = trusts.request_trust(
        actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="carol", requester="sapling"
    )
    trusts.accept_trust(actor=carol.wallet, trust_id=row.id)

    status, body = answer(alice.post("/transfers", bundle("sapling", "carol", 1)))

    assert (status, body["state"], body["originating_wallet"]) == (201, "completed", "alice")


def test_a_trust_of_the_manager_is_not_one_of_the_managed_wallet(alice: Caller, sapling: Wallet, carol: Caller) -> None:
    trust("send", alice.wallet, carol.wallet)

    assert alice.post("/transfers", bundle("sapling", "carol", 1)).status_code == 202
    assert alice.post("/transfers", bundle("alice", "carol", 1)).status_code == 201


def test_control_goes_one_level_and_one_way(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    trust("manage", bob.wallet, alice.wallet)

    assert answer(bob.post("/transfers", bundle("alice", "bobby", 1)))[0] == 201
    # bob manages alice, who manages sapling, which bob therefore does not control.
    assert answer(bob.post("/transfers", bundle("sapling", "bobby", 1)))[1]["state"] == "requested"
    assert answer(alice.post("/transfers", bundle("bobby", "alice", 1)))[1]["state"] == "requested"


@pytest.mark.parametrize("event", ["decline", "delete"])
def test_a_trust_that_ended_moves_nothing_any_more(alice: Caller, bob: Caller, event: str) -> None:
    row = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="bobby")
    trusts.accept_trust(actor=bob.wallet, trust_id=row.id)
    if event == "decline":
        trusts.decline_trust(actor=bob.wallet, trust_id=row.id)
    else:
        trusts.delete_trust(actor=alice.wallet, trust_id=row.id)

    assert alice.post("/transfers", bundle("alice", "bobby", 1)).status_code == 202


def test_row_7_a_caller_of_neither_side_is_refused(alice: Caller, bob: Caller, carol: Caller) -> None:
    before = books()

    response = carol.post("/transfers", bundle("alice", "bobby", 1))

    assert answer(response) == refusal(403, "Current account has no permission to transfer between these wallets")
    assert books() == before


def test_row_7_a_trust_between_the_two_gives_a_third_no_say(alice: Caller, bob: Caller, carol: Caller) -> None:
    trust("send", alice.wallet, bob.wallet)
    before = books()

    response = carol.post("/transfers", bundle("alice", "bobby", 1))

    assert answer(response) == refusal(403, "Current account has no permission to transfer between these wallets")
    assert books() == before


def test_row_7_a_stranger_does_not_learn_whether_tokens_lie_where_he_says(
    alice: Caller, bob: Caller, carol: Caller
) -> None:
    before = books()
    answers = [
        answer(carol.post("/transfers", listed("alice", "bobby", tokens)))
        for tokens in (held_by(alice.wallet)[:1], [STRANGE], [])
    ]

    assert answers == [refusal(403, "Current account has no permission to transfer between these wallets")] * 3
    assert books() == before


@pytest.mark.parametrize("form", ["name", "id", "letters"])
def test_row_8_sender_and_receiver_must_differ(alice: Caller, form: str) -> None:
    receiver = {"name": "alice", "id": str(alice.wallet.pk), "letters": "ALICE"}[form]
    before = books()

    response = alice.post("/transfers", bundle("alice", receiver, 1))

    assert answer(response) == refusal(422, "Cannot transfer to the same wallet as the originating one!")
    assert books() == before


def test_row_9_an_empty_bundle_moves_nothing(alice: Caller, sapling: Wallet) -> None:
    before = books()
    body = {"sender_wallet": "alice", "receiver_wallet": "sapling", "bundle": {}}

    assert answer(alice.post("/transfers", body)) == refusal(422, '"bundle.bundle_size" is required')
    assert books() == before


@pytest.mark.parametrize(("receiver", "status", "state"), [("sapling", 201, "completed"), ("bobby", 202, "pending")])
def test_row_10_an_empty_list_is_accepted_and_moves_nothing(
    alice: Caller, bob: Caller, sapling: Wallet, receiver: str, status: int, state: str
) -> None:
    tokens = books()["tokens"]

    got, body = answer(alice.post("/transfers", listed("alice", receiver, [])))

    assert (got, body["state"], body["parameters"]) == (status, state, {"tokens": []})
    assert books()["tokens"] == tokens
    assert_sound()


def test_row_10_an_empty_request_can_be_fulfilled(alice: Caller, bob: Caller) -> None:
    _, body = answer(bob.post("/transfers", listed("alice", "bobby", [])))

    status, body = answer(alice.post(f"/transfers/{body['id']}/fulfill", {"implicit": True}))

    assert (status, body["state"]) == (200, "completed")
    assert_sound()


def test_row_16_a_pending_bundle_reserves_its_tokens_so_that_nobody_else_gets_them(
    alice: Caller, bob: Caller, sapling: Wallet
) -> None:
    _, pending = answer(alice.post("/transfers", bundle("alice", "bobby", 4)))
    assert len(reserved_by(pending["id"])) == 4

    assert answer(alice.post("/transfers", bundle("alice", "sapling", 2))) == NOT_ENOUGH
    assert alice.post("/transfers", bundle("alice", "sapling", 1)).status_code == 201

    status, body = answer(bob.post(f"/transfers/{pending['id']}/accept"))
    assert (status, body["state"]) == (200, "completed")
    assert len(held_by(bob.wallet)) == 4
    assert_sound()


def test_row_16_two_pending_transfers_never_promise_the_same_token(alice: Caller, bob: Caller) -> None:
    _, first = answer(alice.post("/transfers", bundle("alice", "bobby", 3)))
    promised = reserved_by(first["id"])

    response = alice.post("/transfers", listed("alice", "bobby", promised[:1]))

    assert answer(response) == refusal(403, RESERVED.format(promised[0]))
    assert alice.post("/transfers", bundle("alice", "bobby", 2)).status_code == 202
    assert answer(alice.post("/transfers", bundle("alice", "bobby", 1))) == NOT_ENOUGH
    assert_sound()


def test_row_17_an_immediate_bundle_moves_all_or_nothing(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    alice.post("/transfers", listed("sapling", "bobby", held_by(sapling)[:2]))
    before = books()

    assert answer(alice.post("/transfers", bundle("sapling", "alice", 3))) == NOT_ENOUGH
    assert books() == before


@pytest.mark.parametrize("size", [6, 10_000])
def test_row_18_a_bundle_larger_than_what_is_there_is_refused(
    alice: Caller, bob: Caller, sapling: Wallet, size: int
) -> None:
    before = books()

    assert answer(alice.post("/transfers", bundle("alice", "sapling", size))) == NOT_ENOUGH
    assert answer(alice.post("/transfers", bundle("alice", "bobby", size))) == NOT_ENOUGH
    assert answer(bob.post("/transfers", bundle("alice", "bobby", size))) == NOT_ENOUGH
    assert books() == before


def test_row_18_a_token_that_is_reserved_is_not_requested(alice: Caller, bob: Caller) -> None:
    mine = held_by(alice.wallet)
    alice.post("/transfers", listed("alice", "bobby", mine[1:2]))
    before = books()

    assert answer(bob.post("/transfers", listed("alice", "bobby", mine[:2]))) == refusal(403, RESERVED.format(mine[1]))
    assert books() == before


def test_row_18_reserved_tokens_do_not_count_for_a_request(alice: Caller, bob: Caller) -> None:
    alice.post("/transfers", bundle("alice", "bobby", 4))

    assert answer(bob.post("/transfers", bundle("alice", "bobby", 2))) == NOT_ENOUGH
    assert bob.post("/transfers", bundle("alice", "bobby", 1)).status_code == 202


def test_row_19_times_are_those_of_what_happened(alice: Caller, bob: Caller) -> None:
    token = held_by(alice.wallet)[0]
    issued = Token.objects.get(pk=token).updated_at

    _, pending = answer(alice.post("/transfers", listed("alice", "bobby", [token])))
    reserved = Token.objects.get(pk=token).updated_at
    _, completed = answer(bob.post(f"/transfers/{pending['id']}/accept"))
    moved = Token.objects.get(pk=token).updated_at

    assert issued < reserved < moved
    assert (pending["closed_at"], completed["created_at"]) == (None, pending["created_at"])
    stored = Transfer.objects.get()
    assert stored.created_at == reserved
    assert stored.closed_at == moved == Movement.objects.get(number=1).processed_at


def test_a_client_may_say_that_a_transfer_is_no_claim(alice: Caller, sapling: Wallet) -> None:
    tokens = held_by(alice.wallet)[:1]

    for wish in (listed("alice", "sapling", tokens), bundle("alice", "sapling", 1)):
        status, body = answer(alice.post("/transfers", {**wish, "claim": False}))
        assert (status, body["claim"]) == (201, False)


def test_row_21_a_size_in_quotes_is_a_number(alice: Caller, sapling: Wallet) -> None:
    _, body = answer(alice.post("/transfers", bundle("alice", "sapling", "2")))

    assert body["parameters"] == {"bundle": {"bundleSize": 2}}
    assert Transfer.objects.get().parameters == {"bundle": {"bundleSize": 2}}


REFUSED_BODIES = [
    ({}, 422, '"bundle" is required'),
    ({"sender_wallet": "alice", "receiver_wallet": "sapling"}, 422, '"bundle" is required'),
    (bundle("alice", "sapling", 0), 422, '"bundle.bundle_size" must be greater than or equal to 1'),
    (bundle("alice", "sapling", -1), 422, '"bundle.bundle_size" must be greater than or equal to 1'),
    (bundle("alice", "sapling", 10_001), 422, '"bundle.bundle_size" must be less than or equal to 10000'),
    (bundle("alice", "sapling", 1.5), 422, '"bundle.bundle_size" must be an integer'),
    (bundle("alice", "sapling", "abc"), 422, '"bundle.bundle_size" must be a number'),
    (bundle("alice", "sapling", "1_0"), 422, '"bundle.bundle_size" must be a number'),
    (bundle("alice", "sapling", "１"), 422, '"bundle.bundle_size" must be a number'),
    (bundle("alice", "sapling", True), 422, '"bundle.bundle_size" must be a number'),
    (bundle("alice", "sapling", None), 422, '"bundle.bundle_size" must be a number'),
    (bundle(1, "sapling", 1), 422, '"sender_wallet" must be a string'),
    (bundle("", "sapling", 1), 422, '"sender_wallet" is not allowed to be empty'),
    ({**bundle("alice", "sapling", 1), "bundle": 1}, 422, '"bundle" must be of type object'),
    ({**bundle("alice", "sapling", 1), "tokens": [STRANGE]}, 422, '"bundle" is not allowed'),
    ({**bundle("alice", "sapling", 1), "claim": True}, 422, '"claim" is not allowed'),
    ({**listed("alice", "sapling", []), "claim": 0}, 422, '"claim" is not allowed'),
    (
        {**bundle("alice", "sapling", 1), "bundle": {"bundle_size": 1, "matching_all_tags": []}},
        422,
        '"bundle.matching_all_tags" is not allowed',
    ),
    ({"bundle": {"bundle_size": 1}, "receiver_wallet": "sapling"}, 422, '"sender_wallet" is required'),
    ({"bundle": {"bundle_size": 1}, "sender_wallet": "alice"}, 422, '"receiver_wallet" is required'),
    (listed("alice", "sapling", [STRANGE, STRANGE.upper()]), 422, '"tokens[1]" contains a duplicate value'),
    (listed("alice", "sapling", [STRANGE, STRANGE.replace("-", "")]), 422, '"tokens[1]" contains a duplicate value'),
    (listed("alice", "sapling", ["abc"]), 422, '"tokens[0]" must be a valid GUID'),
    (listed("alice", "sapling", [STRANGE[:8] + "-" + STRANGE]), 422, '"tokens[0]" must be a valid GUID'),
    ({**listed("alice", "sapling", []), "tokens": [5]}, 422, '"tokens[0]" must be a string'),
    ({**listed("alice", "sapling", []), "tokens": STRANGE}, 422, '"tokens" must be an array'),
    (listed("alice", "sapling", [STRANGE]), 404, f"can not found token by id:{STRANGE}"),
    (bundle("nobody", "sapling", 1), 404, "Could not find entity by wallet name: nobody"),
    (bundle("alice", "nobody", 1), 404, "Could not find entity by wallet name: nobody"),
    (bundle(STRANGE, "sapling", 1), 404, f"Could not find wallet by id: {STRANGE}"),
    (bundle("no body", "sapling", 1), 400, "invalid wallet name:no body"),
]


@pytest.mark.parametrize(("body", "status", "message"), REFUSED_BODIES, ids=lambda value: None)
def test_row_4_and_5_a_body_of_the_wrong_shape_is_refused_in_words_and_changes_nothing(
    alice: Caller, sapling: Wallet, body: Any, status: Any, message: Any
) -> None:
    before = books()

    assert answer(alice.post("/transfers", body)) == refusal(status, message)
    assert books() == before


def test_a_token_of_another_wallet_is_refused(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    foreign = held_by(sapling)[0]
    before = books()

    response = alice.post("/transfers", listed("alice", "sapling", [*held_by(alice.wallet)[:1], foreign]))

    assert answer(response) == refusal(403, f"The token {foreign} do not belongs to sender wallet")
    assert books() == before


def test_a_list_of_10_000_tokens_moves_as_one(alice: Caller, sapling: Wallet) -> None:
    operations.issue_tokens(wallet=alice.wallet, count=9_995)
    # Done at the commit, which does not come here.
    partitions.refresh_statistics()
    mine = held_by(alice.wallet)

    status, body = answer(alice.post("/transfers", listed("alice", "sapling", mine)))

    assert (status, len(body["parameters"]["tokens"])) == (201, 10_000)
    assert held_by(alice.wallet) == []
    assert_sound()


def test_a_list_of_10_001_tokens_is_refused_before_any_is_looked_at(alice: Caller, sapling: Wallet) -> None:
    body = listed("alice", "sapling", ["abc"] * 10_001)

    assert answer(alice.post("/transfers", body)) == refusal(
        422, '"tokens" must contain less than or equal to 10000 items'
    )


@pytest.mark.django_db(transaction=True)
def test_one_statement_is_all_it_takes_however_many_the_tokens(
    alice: Caller, bob: Caller, sapling: Wallet, django_assert_num_queries: Any
) -> None:
    for receiver, size in itertools.product(["sapling", "bobby"], [1, 2]):
        with django_assert_num_queries(1):
            operations.send_bundle(actor=alice.wallet, sender="alice", receiver=receiver, size=size)
        operations.issue_tokens(wallet=alice.wallet, count=size)
        tokens = list(Token.objects.filter(wallet=alice.wallet, transfer_pending_id=None)[:size])
        with django_assert_num_queries(1):
            operations.send_tokens(
                actor=alice.wallet, sender="alice", receiver=receiver, token_ids=[token.pk for token in tokens]
            )
        operations.issue_tokens(wallet=alice.wallet, count=size)
    with django_assert_num_queries(1):
        operations.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=2)


def test_a_bundle_may_start_at_any_lot_and_takes_every_token_there_is(
    alice: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots = list(Token.objects.filter(wallet=alice.wallet).order_by("lot").values_list("lot", flat=True))
    for start in (-(2**31), *lots, lots[-1] + 1, 2**31 - 1):
        monkeypatch.setattr("transfers.ledger.getrandbits", lambda bits, start=start: start + 2 ** (bits - 1))
        there, back = ("alice", "sapling"), ("sapling", "alice")
        for sender, receiver in (there, back):
            before = Token.objects.filter(wallet__name=sender).count()
            row = operations.send_bundle(actor=alice.wallet, sender=sender, receiver=receiver, size=before)
            assert row.state == "completed"
            assert Token.objects.filter(wallet__name=sender).count() == 0
    assert_sound()


def test_history_names_every_wallet_that_a_token_came_through(alice: Caller, sapling: Wallet) -> None:
    token = held_by(alice.wallet)[0]
    for sender, receiver in itertools.islice(itertools.cycle([("alice", "sapling"), ("sapling", "alice")]), 4):
        alice.post("/transfers", listed(sender, receiver, [token]))

    status, body = answer(alice.get(f"/tokens/{token}/transactions?limit=10"))

    assert status == 200
    assert [list(row) for row in body["history"]] == [["processed_at", "sender_wallet", "receiver_wallet"]] * 4
    assert [(row["sender_wallet"], row["receiver_wallet"]) for row in body["history"]] == [
        ("alice", "sapling"),
        ("sapling", "alice"),
    ] * 2
    assert sorted(row["processed_at"] for row in body["history"]) == [row["processed_at"] for row in body["history"]]


def test_the_answer_is_what_is_stored(alice: Caller, bob: Caller) -> None:
    _, body = answer(alice.post("/transfers", bundle("alice", "bobby", 2)))

    assert answer(alice.get(f"/transfers/{body['id']}")) == (200, body)
    assert UUID(body["id"]) == Transfer.objects.get().pk
    assert json.loads(json.dumps(body)) == body


def test_a_wallet_whose_name_looks_like_nobody_elses_id_is_not_found_by_it(alice: Caller, sapling: Wallet) -> None:
    strange = uuid4()
    Wallet.objects.create(name=str(strange), name_key=str(strange))

    assert answer(alice.post("/transfers", bundle("alice", str(strange), 1))) == refusal(
        404, f"Could not find wallet by id: {strange}"
    )
