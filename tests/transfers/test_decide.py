"""Accepting, fulfilling, declining and deleting an open transfer."""

import itertools
from typing import Any

import pytest

from tests.api.caller import Caller, answer, refusal
from tests.support.transfer_requests import FIELDS, NOT_ENOUGH, RESERVED, STRANGE, bundle, listed
from tests.transfers.books import assert_sound, books, held_by, reserved_by
from transfers import operations
from transfers.models import Movement, Transfer
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets.models import Wallet

NO_PERMISSION = "Current account has no permission to {} this transfer"
WORDS = {"accept": "accept", "fulfill": "fulfill", "decline": "decline", "delete": "cancel"}
WRONG_STATE = {
    "accept": "The transfer state is not pending",
    "fulfill": "Operation forbidden, the transfer state is wrong",
    "decline": "The transfer state is not pending and requested",
    "delete": "The transfer state is not pending and requested",
}
BODIES = {"fulfill": {"implicit": True}}
EVENTS = list(WORDS)


def decide(caller: Any, transfer_id: Any, event: Any) -> Any:
    if event == "delete":
        return answer(caller.delete(f"/transfers/{transfer_id}"))
    return answer(caller.post(f"/transfers/{transfer_id}/{event}", BODIES.get(event, {})))


@pytest.fixture
def pending(alice: Caller, bob: Caller) -> Any:
    """Three of alice's tokens on their way to bob."""
    return answer(alice.post("/transfers", bundle("alice", "bobby", 3)))[1]["id"]


@pytest.fixture
def requested(alice: Caller, bob: Caller) -> Any:
    """Three of alice's tokens that bob asks for."""
    return answer(bob.post("/transfers", bundle("alice", "bobby", 3)))[1]["id"]


@pytest.fixture
def bonsai(bob: Caller) -> Any:
    """A wallet that bob manages."""
    return trusts.open_managed_wallet(actor=bob.wallet, name="bonsai")


# state, event → who may, and the state afterwards
LEGAL = {
    ("pending", "accept"): ("bob", "completed"),
    ("pending", "decline"): ("bob", "cancelled"),
    ("pending", "delete"): ("alice", "cancelled"),
    ("requested", "fulfill"): ("alice", "completed"),
    ("requested", "decline"): ("alice", "cancelled"),
    ("requested", "delete"): ("bob", "cancelled"),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", ["pending", "requested"])
@pytest.mark.parametrize("who", ["alice", "bob", "carol"])
def test_every_event_by_everybody_on_every_open_transfer(
    alice: Caller, bob: Caller, carol: Caller, request: pytest.FixtureRequest, who: str, state: str, event: Any
) -> None:
    transfer_id = request.getfixturevalue(state)
    caller = {"alice": alice, "bob": bob, "carol": carol}[who]
    decider, after = LEGAL.get((state, event), (None, None))
    before = books()

    status, body = decide(caller, transfer_id, event)

    if who == decider:
        assert (status, body["state"], list(body)) == (200, after, FIELDS)
        assert body["closed_at"] > body["created_at"]
        moved = 3 if after == "completed" else 0
        assert (len(held_by(alice.wallet)), len(held_by(bob.wallet))) == (5 - moved, moved)
        assert Movement.objects.filter(transfer__id=transfer_id).count() == moved
        assert reserved_by(transfer_id) == []
        stored = Transfer.objects.get()
        assert (stored.closed_from, stored.closed_event, stored.closed_by) == (state, event, caller.wallet)
    else:
        # Accept looks at the state first, fulfil at the permission, as the public service does.
        wrong_state = decider is None and (event != "fulfill" or who == "alice")
        message = WRONG_STATE[event] if wrong_state else NO_PERMISSION.format(WORDS[event])
        assert (status, body) == refusal(403, message)
        assert books() == before
    assert_sound()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(("state", "end"), LEGAL)
def test_a_closed_transfer_stays_as_it_is(
    alice: Caller, bob: Caller, request: pytest.FixtureRequest, state: Any, end: Any, event: Any
) -> None:
    transfer_id = request.getfixturevalue(state)
    callers = {"alice": alice, "bob": bob}
    decide(callers[LEGAL[state, end][0]], transfer_id, end)
    before = books()

    for caller in (alice, bob):
        status, body = decide(caller, transfer_id, event)
        assert status == 403
        assert body["message"] in (WRONG_STATE[event], NO_PERMISSION.format(WORDS[event]))
    assert books() == before


@pytest.mark.parametrize("event", EVENTS)
def test_an_unknown_transfer_is_not_found(alice: Caller, event: Any) -> None:
    assert decide(alice, STRANGE, event) == refusal(404, f"Can not found transfer by id:{STRANGE}")


@pytest.mark.parametrize("event", EVENTS)
def test_row_4_a_malformed_id_is_refused(alice: Caller, event: Any) -> None:
    assert decide(alice, "abc", event) == refusal(422, '"transfer_id" must be a valid GUID')


def test_fulfil_is_spelt_with_three_ells(alice: Caller, requested: Any) -> None:
    status, _ = answer(alice.post(f"/transfers/{requested}/fullfill", {"implicit": True}))

    assert status == 404


@pytest.mark.parametrize("event", ["accept", "decline"])
def test_a_manager_decides_for_the_wallet_it_manages(alice: Caller, bob: Caller, bonsai: Any, event: str) -> None:
    _, body = answer(alice.post("/transfers", bundle("alice", "bonsai", 2)))
    assert body["state"] == "pending"

    status, body = decide(bob, body["id"], event)

    assert (status, body["state"]) == (200, {"accept": "completed", "decline": "cancelled"}[event])
    assert_sound()


def test_a_manager_that_was_dismissed_decides_no_more(alice: Caller, bob: Caller, carol: Caller) -> None:
    row = trusts.request_trust(actor=carol.wallet, request_type=TrustRequestType.MANAGE, requestee="bobby")
    trusts.accept_trust(actor=bob.wallet, trust_id=row.id)
    _, body = answer(alice.post("/transfers", bundle("alice", "bobby", 2)))
    trusts.decline_trust(actor=bob.wallet, trust_id=row.id)

    assert decide(carol, body["id"], "accept") == refusal(403, NO_PERMISSION.format("accept"))
    assert decide(bob, body["id"], "accept")[0] == 200


def test_declined_tokens_are_free_again(alice: Caller, bob: Caller, sapling: Wallet, pending: Any) -> None:
    decide(bob, pending, "decline")

    assert alice.post("/transfers", bundle("alice", "sapling", 5)).status_code == 201
    assert_sound()


def test_accept_moves_exactly_what_was_reserved(alice: Caller, bob: Caller, sapling: Wallet, pending: Any) -> None:
    promised = reserved_by(pending)
    alice.post("/transfers", bundle("alice", "sapling", 2))

    decide(bob, pending, "accept")

    assert held_by(bob.wallet) == promised


# Fulfilment


def test_row_16_a_request_that_cannot_be_kept_stays_requested(
    alice: Caller, bob: Caller, sapling: Wallet, requested: Any
) -> None:
    alice.post("/transfers", bundle("alice", "sapling", 3))
    before = books()

    assert decide(alice, requested, "fulfill") == NOT_ENOUGH
    assert books() == before

    alice.post("/transfers", bundle("sapling", "alice", 1))
    assert decide(alice, requested, "fulfill")[1]["state"] == "completed"
    assert_sound()


def test_row_16_a_request_for_listed_tokens_reserves_none(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    mine = held_by(alice.wallet)[:2]
    _, body = answer(bob.post("/transfers", listed("alice", "bobby", mine)))
    assert reserved_by(body["id"]) == []

    assert alice.post("/transfers", listed("alice", "sapling", mine[:1])).status_code == 201
    before = books()
    assert decide(alice, body["id"], "fulfill") == NOT_ENOUGH
    assert books() == before

    assert alice.post("/transfers", listed("sapling", "alice", mine[:1])).status_code == 201
    assert decide(alice, body["id"], "fulfill")[0] == 200
    assert held_by(bob.wallet) == mine
    assert_sound()


def test_a_requested_bundle_may_be_fulfilled_with_chosen_tokens(alice: Caller, bob: Caller, requested: Any) -> None:
    chosen = held_by(alice.wallet)[1:4]

    status, body = answer(alice.post(f"/transfers/{requested}/fulfill", {"tokens": [str(token) for token in chosen]}))

    assert (status, body["state"], body["parameters"]) == (200, "completed", {"bundle": {"bundleSize": 3}})
    assert held_by(bob.wallet) == chosen
    assert_sound()


def test_row_17_a_fulfilment_never_takes_what_another_transfer_reserved(
    alice: Caller, bob: Caller, carol: Caller, requested: Any
) -> None:
    _, promised = answer(alice.post("/transfers", bundle("alice", "carol", 2)))
    taken = reserved_by(promised["id"])
    free = [token for token in held_by(alice.wallet) if token not in taken]
    before = books()

    response = alice.post(
        f"/transfers/{requested}/fulfill", {"tokens": [str(token) for token in [*free[:2], taken[0]]]}
    )

    assert answer(response) == refusal(403, RESERVED.format(taken[0]))
    assert books() == before
    assert decide(alice, requested, "fulfill")[0] == 200
    assert held_by(bob.wallet) == free
    assert_sound()


@pytest.mark.parametrize("value", [True, "true", "True"])
def test_implicit_may_be_said_in_quotes(alice: Caller, bob: Caller, requested: Any, value: str | bool) -> None:
    assert alice.post(f"/transfers/{requested}/fulfill", {"implicit": value}).status_code == 200


def tokens(count: Any, extra: Any = ()) -> Any:
    return lambda mine: {"tokens": [str(token) for token in (*mine[:count], *extra)]}


REFUSED = [
    (lambda _: {}, 422, '"implicit" is required'),
    (lambda _: {"implicit": False}, 422, '"implicit" must be [true]'),
    (lambda _: {"implicit": 1}, 422, '"implicit" must be a boolean'),
    (lambda mine: {"implicit": True, "tokens": [str(mine[0])]}, 422, '"implicit" is not allowed'),
    (lambda _: {"implicit": True, "x": 1}, 422, '"x" is not allowed'),
    (tokens(0), 403, "Too few tokens to transfer, please provider 3 tokens for this transfer"),
    (tokens(2), 403, "Too few tokens to transfer, please provider 3 tokens for this transfer"),
    (tokens(4), 403, "Too many tokens to transfer, please provider 3 tokens for this transfer"),
    (tokens(2, [STRANGE]), 404, f"can not found token by id:{STRANGE}"),
    (tokens(2, ["abc"]), 422, '"tokens[2]" must be a valid GUID'),
    (lambda mine: {"tokens": [str(mine[0])] * 3}, 422, '"tokens[1]" contains a duplicate value'),
]


@pytest.mark.parametrize(("body", "status", "message"), REFUSED, ids=lambda value: None)
def test_a_fulfilment_of_the_wrong_shape_is_refused_and_moves_nothing(
    alice: Caller, bob: Caller, requested: Any, body: Any, status: Any, message: Any
) -> None:
    before = books()

    response = alice.post(f"/transfers/{requested}/fulfill", body(held_by(alice.wallet)))

    assert answer(response) == refusal(status, message)
    assert books() == before


def test_a_chosen_token_of_another_wallet_is_refused_in_the_public_services_words(
    alice: Caller, bob: Caller, sapling: Wallet, requested: Any
) -> None:
    chosen = [*held_by(alice.wallet)[:2], held_by(sapling)[0]]
    before = books()

    response = alice.post(f"/transfers/{requested}/fulfill", {"tokens": [str(token) for token in chosen]})

    assert answer(response) == refusal(403, "the token:undefined do not belongs to sender walleter")
    assert books() == before


def test_tokens_that_were_named_are_not_named_again(alice: Caller, bob: Caller) -> None:
    mine = held_by(alice.wallet)[:1]
    _, body = answer(bob.post("/transfers", listed("alice", "bobby", mine)))
    before = books()

    response = alice.post(f"/transfers/{body['id']}/fulfill", {"tokens": [str(mine[0])]})

    assert answer(response) == refusal(403, "No need to specify tokens")
    assert books() == before


def test_a_decision_with_a_body_that_says_something_is_refused(alice: Caller, bob: Caller, pending: Any) -> None:
    for event in ("accept", "decline"):
        response = bob.post(f"/transfers/{pending}/{event}", {"x": 1})
        assert answer(response) == refusal(422, '"x" is not allowed')
    assert reserved_by(pending)


# Reading


@pytest.mark.parametrize(("who", "sees"), [("alice", True), ("bob", True), ("carol", False)])
def test_row_14_a_transfer_is_visible_to_whoever_controls_a_party(
    alice: Caller, bob: Caller, carol: Caller, bonsai: Any, who: str, sees: bool
) -> None:
    # Between alice and a wallet that bob manages.
    _, body = answer(alice.post("/transfers", bundle("alice", "bonsai", 2)))
    caller = {"alice": alice, "bob": bob, "carol": carol}[who]
    hidden = refusal(404, "Can not find this transfer or it is related to this wallet")

    assert answer(caller.get(f"/transfers/{body['id']}")) == ((200, body) if sees else hidden)
    status, tokens_ = answer(caller.get(f"/transfers/{body['id']}/tokens?limit=10"))
    assert status == (200 if sees else 404)
    if sees:
        assert sorted(token["id"] for token in tokens_["tokens"]) == [str(token) for token in reserved_by(body["id"])]


def test_an_unknown_transfer_looks_like_a_hidden_one(alice: Caller) -> None:
    hidden = refusal(404, "Can not find this transfer or it is related to this wallet")

    assert answer(alice.get(f"/transfers/{STRANGE}")) == hidden
    assert answer(alice.get(f"/transfers/{STRANGE}/tokens?limit=1")) == hidden
    assert answer(alice.get("/transfers/abc")) == refusal(422, '"transfer_id" must be a valid GUID')


@pytest.mark.parametrize("kind", ["bundle", "list"])
def test_row_15_the_tokens_of_a_completed_transfer_are_those_that_it_moved(
    alice: Caller, sapling: Wallet, bob: Caller, kind: str
) -> None:
    mine = held_by(alice.wallet)
    body = bundle("alice", "sapling", 4) if kind == "bundle" else listed("alice", "sapling", mine[:4])
    before = set(held_by(sapling))
    _, body = answer(alice.post("/transfers", body))
    moved = set(held_by(sapling)) - before
    # Where the tokens went afterwards does not matter.
    alice.post("/transfers", bundle("sapling", "alice", 2))

    pages = [answer(alice.get(f"/transfers/{body['id']}/tokens?limit=3&start={start}")) for start in (1, 4)]

    assert [status for status, _ in pages] == [200, 200]
    rows = list(itertools.chain(*(page["tokens"] for _, page in pages)))
    assert len(rows) == 4
    assert {row["id"] for row in rows} == {str(token) for token in moved}
    assert list(rows[0]) == [
        "id", "capture_id", "wallet_id", "transfer_pending", "transfer_pending_id", "created_at", "updated_at",
        "claim", "links",
    ]  # fmt: skip


def test_what_another_does_with_a_token_is_not_shown_to_who_sent_it(alice: Caller, bob: Caller, carol: Caller) -> None:
    sent = operations.send_tokens(
        actor=alice.wallet, sender="alice", receiver="bobby", token_ids=held_by(alice.wallet)[:1]
    )
    operations.accept(actor=bob.wallet, transfer_id=sent.id)

    def shown(caller: Caller) -> Any:
        [row] = answer(caller.get(f"/transfers/{sent.id}/tokens?limit=9"))[1]["tokens"]
        return row

    before = shown(alice)
    offered = operations.send_bundle(actor=bob.wallet, sender="bobby", receiver="carol", size=1)
    assert shown(bob)["transfer_pending_id"] == str(offered.id)
    assert shown(alice) == before
    operations.accept(actor=carol.wallet, transfer_id=offered.id)
    assert shown(alice) == shown(bob) == before


@pytest.mark.parametrize("event", ["decline", "delete"])
def test_a_cancelled_transfer_has_no_tokens(alice: Caller, bob: Caller, pending: Any, event: str) -> None:
    decide({"decline": bob, "delete": alice}[event], pending, event)

    assert answer(alice.get(f"/transfers/{pending}/tokens?limit=10")) == (200, {"tokens": []})


def test_a_history_is_hidden_from_who_does_not_hold_the_token(alice: Caller, bob: Caller, pending: Any) -> None:
    token = reserved_by(pending)[0]
    denied = refusal(401, "Have no permission to visit this token")
    assert answer(bob.get(f"/tokens/{token}/transactions?limit=5")) == denied

    decide(bob, pending, "accept")

    assert answer(alice.get(f"/tokens/{token}/transactions?limit=5")) == denied
    status, body = answer(bob.get(f"/tokens/{token}/transactions?limit=5"))
    assert (status, len(body["history"])) == (200, 1)
    assert answer(bob.get(f"/tokens/{token}/transactions")) == refusal(422, '"limit" is required')
    assert answer(bob.get("/tokens/abc/transactions?limit=5")) == refusal(422, '"token_id" must be a valid GUID')
    assert answer(bob.get(f"/tokens/{STRANGE}/transactions?limit=5")) == refusal(
        404, f"can not found token by id:{STRANGE}"
    )


def test_a_token_that_never_moved_has_no_history(alice: Caller) -> None:
    token = held_by(alice.wallet)[0]

    assert answer(alice.get(f"/tokens/{token}/transactions?limit=5")) == (200, {"history": []})


def test_a_transfer_that_the_system_gave_up_is_failed_and_frees_its_tokens(
    alice: Caller, bob: Caller, pending: Any
) -> None:
    operations.expire(transfer_ids=[Transfer.objects.get().pk])

    assert answer(alice.get(f"/transfers/{pending}"))[1]["state"] == "failed"
    assert reserved_by(pending) == []
    assert decide(bob, pending, "accept") == refusal(403, WRONG_STATE["accept"])
    assert_sound()
