"""`/trust_relationships`: asking, answering, ending and listing trusts."""

import itertools
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.api.caller import Caller, answer, refusal
from tests.support.trust_requests import TYPES, ask, rows, say
from trusts import errors, operations, queries, trust_lists
from trusts.models import Trust, TrustChange
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Event, Wallet

FIELDS = [
    "id", "type", "request_type", "state", "created_at", "updated_at",
    "originating_wallet", "actor_wallet", "target_wallet",
]  # fmt: skip
DUPLICATE = refusal(403, "The trust relationship has been requested or trusted")
STRANGE = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize("request_type", TYPES)
def test_a_request_keeps_who_asked_as_the_actor(alice: Caller, bob: Caller, request_type: Any) -> None:
    status, body = ask(alice, request_type, "bobby")

    assert status == 200
    assert list(body) == FIELDS
    assert body == {
        "id": str(Trust.objects.get().pk),
        "type": {"send": "send", "receive": "send", "manage": "manage", "yield": "manage"}[request_type],
        "request_type": request_type,
        "state": "requested",
        "created_at": body["created_at"],
        "updated_at": body["created_at"],
        "originating_wallet": "alice",
        "actor_wallet": "alice",
        "target_wallet": "bobby",
    }


def people(count: Any) -> Any:
    """Return wallets that were never part of anything."""
    return [Wallet.objects.create(name=name, name_key=name) for name in (f"w{uuid4().hex}" for _ in range(count))]


def request(asking: Any, request_type: Any, answering: Any) -> Any:
    return operations.request_trust(actor=asking, request_type=TrustRequestType(request_type), requestee=answering.name)


@pytest.mark.django_db
@pytest.mark.parametrize("first", TYPES)
@pytest.mark.parametrize("state", ["requested", "trusted", "cancelled"])
def test_which_open_trust_stands_in_the_way_of_which_request(first: Any, state: str) -> None:
    for second, way in itertools.product(TYPES, ["same", "opposite"]):
        one, other = people(2)
        trust = request(one, first, other)
        if state == "trusted":
            operations.accept_trust(actor=other, trust_id=trust.id)
        elif state == "cancelled":
            operations.decline_trust(actor=other, trust_id=trust.id)
        before = rows()
        asking, answering = (one, other) if way == "same" else (other, one)

        if state != "cancelled" and (first == second) == (way == "same"):
            with pytest.raises(errors.TrustAlreadyExists):
                request(asking, second, answering)
            assert rows() == before
        else:
            assert request(asking, second, answering).state == "requested"


def test_a_duplicate_is_refused_in_words(alice: Caller, bob: Caller) -> None:
    ask(alice, "send", "bobby")
    before = rows()

    assert ask(alice, "send", "bobby") == DUPLICATE
    assert ask(bob, "manage", "alice") == DUPLICATE
    assert rows() == before


AFTER = {"accept": "trusted", "decline": "cancelled_by_target", "delete": "cancelled_by_originator"}


@pytest.mark.django_db
@pytest.mark.parametrize("request_type", TYPES)
def test_row_25_either_side_may_change_its_mind_as_often_as_it_likes(request_type: Any) -> None:
    """Only a `yield` or `receive` that its originator deleted is not re-instated, however the requestee tries."""
    for events in itertools.product(AFTER, repeat=3):
        one, other = people(2)
        trust = request(one, request_type, other)
        state, withdrawn = "requested", False
        for event in events:
            decide = getattr(operations, f"{event}_trust")
            actor = one if event == "delete" else other
            if event == "accept" and request_type in ("yield", "receive") and withdrawn:
                before = rows()
                with pytest.raises(errors.ConsentWithdrawn):
                    decide(actor=actor, trust_id=trust.id)
                assert rows() == before
                assert not queries.controls(actor_id=other.pk, wallet_id=one.pk)
                assert not queries.may_push_until_commit(sender_id=other.pk, receiver_id=one.pk)
            else:
                state = AFTER[event]
                withdrawn = {"accept": False, "decline": withdrawn, "delete": True}[event]
                assert decide(actor=actor, trust_id=trust.id).state == state
        assert Trust.objects.get(pk=trust.id).state == state
        assert TrustChange.objects.filter(trust_id=trust.id).order_by("id").last().state == state


@pytest.mark.parametrize("request_type", ["yield", "receive"])
@pytest.mark.parametrize("withdraw", ["delete", "decline"])
def test_row_25_a_consent_that_was_withdrawn_is_not_revived_by_its_requestee(
    alice: Caller, bob: Caller, request_type: str, withdraw: str
) -> None:
    """Whichever of the two calls alice ends it with."""
    _, body = ask(alice, request_type, "bobby")
    say(bob, "accept", body["id"])
    assert say(alice, withdraw, body["id"])[1]["state"] == "cancelled_by_originator"
    withdrawn = refusal(403, f"The originator has withdrawn this {request_type} relationship, a new request is needed")

    assert say(bob, "accept", body["id"]) == withdrawn
    assert say(bob, "decline", body["id"])[1]["state"] == "cancelled_by_target"
    assert say(bob, "accept", body["id"]) == withdrawn
    assert not queries.controls(actor_id=bob.wallet.pk, wallet_id=alice.wallet.pk)
    assert not queries.may_push_until_commit(sender_id=bob.wallet.pk, receiver_id=alice.wallet.pk)


def test_row_26_a_revival_does_not_make_a_second_open_trust(alice: Caller, bob: Caller) -> None:
    _, first = ask(alice, "send", "bobby")
    say(bob, "decline", first["id"])
    ask(alice, "send", "bobby")
    before = rows()

    assert say(bob, "accept", first["id"]) == DUPLICATE
    assert rows() == before


def test_row_8_a_trust_with_oneself_is_refused(alice: Caller) -> None:
    assert ask(alice, "send", "ALICE") == refusal(422, "Requester and requestee cannot be same.")
    assert not Trust.objects.exists()


@pytest.mark.parametrize("request_type", ["deduct", "release"])
def test_row_6_what_was_never_built_names_what_to_use(alice: Caller, bob: Caller, request_type: str) -> None:
    assert ask(alice, request_type, "bobby") == refusal(
        422, f'"trust_request_type" {request_type} is not supported, use manage or yield'
    )
    assert not Trust.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, '"trust_request_type" is required'),
        ({"trust_request_type": "send"}, 422, '"requestee_wallet" is required'),
        (
            {"trust_request_type": "give", "requestee_wallet": "bobby"},
            422,
            '"trust_request_type" must be one of [send, receive, manage, yield, deduct, release]',
        ),
        ({"trust_request_type": "send", "requestee_wallet": ""}, 422, '"requestee_wallet" is not allowed to be empty'),
        ({"trust_request_type": "send", "requestee_wallet": 5}, 422, '"requestee_wallet" must be a string'),
        ({"trust_request_type": "send", "requestee_wallet": "bobby", "x": 1}, 422, '"x" is not allowed'),
        (
            {"trust_request_type": "send", "requestee_wallet": "nobody"},
            404,
            "Could not find entity by wallet name: nobody",
        ),
        (
            {"trust_request_type": "send", "requestee_wallet": STRANGE},
            404,
            f"Could not find wallet by id: {STRANGE}",
        ),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(
    alice: Caller, bob: Caller, body: Any, status: int, message: str
) -> None:
    assert answer(alice.post("/trust_relationships", body)) == refusal(status, message)
    assert not Trust.objects.exists()


# In the name of a managed wallet


def test_a_manager_asks_in_the_name_of_its_wallet(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    # What the manager itself has asked for stands in no other wallet's way.
    assert ask(alice, "send", "bobby")[0] == 200
    status, body = ask(alice, "send", "bobby", requester_wallet="sapling")

    assert status == 200
    assert (body["originating_wallet"], body["actor_wallet"], body["target_wallet"]) == ("alice", "sapling", "bobby")
    assert ask(alice, "send", "bobby", requester_wallet=str(sapling.pk)) == DUPLICATE


def test_nobody_asks_in_the_name_of_a_wallet_that_he_does_not_control(
    alice: Caller, bob: Caller, carol: Caller
) -> None:
    before = rows()

    assert ask(alice, "yield", "carol", requester_wallet="bobby") == refusal(
        403, "Have no permission to deal with this actor"
    )
    assert ask(alice, "yield", "carol", requester_wallet="nobody")[0] == 404
    assert rows() == before


def test_a_manager_answers_for_its_wallet(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    _, body = ask(bob, "send", "sapling")

    assert say(alice, "accept", body["id"])[1]["state"] == "trusted"
    assert say(alice, "decline", body["id"])[1]["state"] == "cancelled_by_target"


# Who may


@pytest.mark.parametrize(("event", "who"), [("accept", "alice"), ("accept", "carol"), ("decline", "carol")])
def test_only_the_requestee_accepts_and_a_stranger_does_nothing(
    alice: Caller, bob: Caller, carol: Caller, event: str, who: str
) -> None:
    _, body = ask(alice, "send", "bobby")
    before = rows()

    assert say({"alice": alice, "carol": carol}[who], event, body["id"]) == refusal(
        403, f"Have no permission to {event} this relationship"
    )
    assert rows() == before


@pytest.mark.parametrize("event", ["accept", "decline"])
@pytest.mark.parametrize("trust_id", [STRANGE, "abc"])
def test_a_trust_that_is_not_there_looks_like_a_foreign_one(alice: Caller, event: str, trust_id: Any) -> None:
    assert say(alice, event, trust_id) == refusal(403, f"Have no permission to {event} this relationship")


def test_nobody_ends_a_trust_who_controls_neither_side(alice: Caller, bob: Caller, carol: Caller) -> None:
    _, body = ask(alice, "send", "bobby")
    before = rows()

    assert say(carol, "delete", body["id"]) == refusal(403, "Have no permission to cancel this relationship")
    assert say(alice, "delete", STRANGE) == refusal(404, f"Can not found wallet_trust by id:{STRANGE}")
    assert say(alice, "delete", "abc") == refusal(422, '"trust_relationship_id" must be a valid GUID')
    assert rows() == before


def test_a_change_has_its_time_and_is_written_down_once(alice: Caller, bob: Caller) -> None:
    _, body = ask(alice, "send", "bobby")
    _, accepted = say(bob, "accept", body["id"])
    again = say(bob, "accept", body["id"])

    assert accepted["updated_at"] > body["updated_at"]
    assert again == (200, accepted)
    changes = TrustChange.objects.order_by("id").values_list("event", "state", "actor__name")
    assert list(changes) == [("", "requested", "alice"), ("accept", "trusted", "bobby")]


def test_a_repeated_acceptance_gets_the_same_answer_whatever_it_would_be_refused_for_now(
    alice: Caller, bob: Caller
) -> None:
    _, body = ask(alice, "manage", "bobby")
    first = say(bob, "accept", body["id"])
    Wallet.objects.filter(pk=bob.wallet.pk).update(approval_above=1)
    before = rows()

    assert first[0] == 200
    assert say(bob, "accept", body["id"]) == first
    assert rows() == before


def test_wallets_to_which_a_third_one_may_send_are_no_siblings(alice: Caller, bob: Caller, carol: Caller) -> None:
    """Only wallets with one manager need no trust between each other."""
    for caller, name in ((alice, "alice"), (bob, "bobby")):
        _, body = ask(carol, "send", name)
        assert say(caller, "accept", body["id"])[0] == 200

    row = operations.request_trust(
        actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="bobby", within_management=False
    )

    assert row.state == "requested"


@pytest.mark.parametrize("within_management", [True, False])
@pytest.mark.parametrize(
    ("requester", "requestee", "said"),
    [
        ("alice", "one", "The requesting wallet already manages the target wallet"),
        ("one", "alice", "The requesting wallet is managed by the target wallet"),
        ("one", "two", "a sub wallet with the same parent"),
    ],
)
def test_a_trust_between_a_wallet_and_its_manager_or_sibling_is_asked_for_only_where_that_is_allowed(
    requester: str, requestee: str, said: str, within_management: bool, alice: Caller
) -> None:
    for name in ("one", "two"):
        operations.open_managed_wallet(actor=alice.wallet, name=name)
    before = Trust.objects.count()

    def request() -> Any:
        return operations.request_trust(
            actor=alice.wallet,
            requester=requester,
            request_type=TrustRequestType.SEND,
            requestee=requestee,
            within_management=within_management,
        )

    if not within_management:
        with pytest.raises(errors.TrustWithinManagement, match=said):
            request()
    elif requestee == "alice":
        # The management is an open trust in the opposite direction.
        with pytest.raises(errors.TrustAlreadyExists):
            request()
    else:
        assert request().state == "requested"
    assert Trust.objects.count() - before == (within_management and requestee != "alice")


@pytest.mark.parametrize(("event", "who"), [("decline", "bob"), ("delete", "alice")])
def test_an_end_that_is_repeated_changes_nothing(alice: Caller, bob: Caller, event: str, who: str) -> None:
    _, body = ask(alice, "send", "bobby")
    ended = say({"alice": alice, "bob": bob}[who], event, body["id"])
    before = rows()
    events = Event.objects.count()

    assert say({"alice": alice, "bob": bob}[who], event, body["id"]) == ended
    assert rows() == before
    assert (TrustChange.objects.count(), Event.objects.count()) == (2, events)


def test_a_trust_knows_since_when_the_wallet_exists_that_it_gives_control_of(alice: Caller, bob: Caller) -> None:
    for kind in TYPES:
        ask(alice, kind, "bobby")

    known = dict(Trust.objects.values_list("request_type", "managed_created_at"))

    since = {wallet.name: wallet.created_at for wallet in Wallet.objects.all()}
    assert known == {"manage": since["bobby"], "yield": since["alice"], "send": None, "receive": None}


def test_a_wallet_that_is_managed_by_two_trusts_is_listed_once(alice: Caller, bob: Caller) -> None:
    _, manage = ask(alice, "manage", "bobby")
    say(bob, "decline", manage["id"])
    _, gift = ask(bob, "yield", "alice")
    for answering, trust in [(alice, gift), (bob, manage)]:
        assert say(answering, "accept", trust["id"])[1]["state"] == "trusted"

    for limit in (2, 3):
        response = alice.get(f"/wallets?limit={limit}")
        assert [row["name"] for row in answer(response)[1]["wallets"]] == ["bobby", "alice"]
        assert "Link" not in response


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wallets_wallet SET created_at = created_at + interval '1 s'",
        "UPDATE trusts_trust SET managed_created_at = managed_created_at + interval '1 s'",
    ],
)
def test_since_when_a_wallet_exists_is_fixed(alice: Caller, bob: Caller, statement: str) -> None:
    ask(alice, "manage", "bobby")
    wallets = Wallet.objects.order_by("name").values_list("created_at")
    before = rows(), list(wallets)

    with pytest.raises(IntegrityError, match="is refused"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert (rows(), list(wallets.all())) == before


# Control


@pytest.mark.parametrize(("mine", "his"), [("manage", "manage"), ("yield", "yield")])
def test_two_wallets_do_not_manage_each_other(alice: Caller, bob: Caller, mine: str, his: str) -> None:
    _, there = ask(alice, mine, "bobby")
    _, back = ask(bob, his, "alice")
    say(bob, "accept", there["id"])
    before = rows()

    assert say(alice, "accept", back["id"]) == refusal(
        403, "Operation forbidden, because this would lead to a management circle"
    )
    assert rows() == before


def test_row_28_a_circle_of_three_is_accepted_and_harmless(alice: Caller, bob: Caller, carol: Caller) -> None:
    for asking, answering, name in [(alice, bob, "bobby"), (bob, carol, "carol"), (carol, alice, "alice")]:
        _, body = ask(asking, "manage", name)
        assert say(answering, "accept", body["id"])[0] == 200

    controlled = queries.controlled_wallet_ids(actor_id=alice.wallet.pk)
    assert controlled == [alice.wallet.pk, bob.wallet.pk]


@pytest.mark.parametrize("request_type", TYPES)
@pytest.mark.parametrize("state", ["requested", "trusted", "cancelled"])
def test_what_controls_and_what_lets_push(alice: Caller, bob: Caller, request_type: Any, state: str) -> None:
    _, body = ask(alice, request_type, "bobby")
    if state != "requested":
        say(bob, "accept", body["id"])
    if state == "cancelled":
        say(bob, "decline", body["id"])
    one, other = alice.wallet.pk, bob.wallet.pk
    trusted = state == "trusted"

    for control in (queries.controls, queries.controls_until_commit):
        assert control(actor_id=one, wallet_id=other) is (trusted and request_type == "manage")
        assert control(actor_id=other, wallet_id=one) is (trusted and request_type == "yield")
        assert control(actor_id=one, wallet_id=one) is True
    assert queries.may_push_until_commit(sender_id=one, receiver_id=other) is (trusted and request_type == "send")
    assert queries.may_push_until_commit(sender_id=other, receiver_id=one) is (trusted and request_type == "receive")
    assert (other in queries.controlled_wallet_ids(actor_id=one)) is (trusted and request_type == "manage")
    assert (one in queries.controlled_wallet_ids(actor_id=other)) is (trusted and request_type == "yield")


# Reading


def test_one_trust_is_shown_to_who_controls_a_party(alice: Caller, bob: Caller, carol: Caller, sapling: Wallet) -> None:
    _, body = ask(bob, "send", "sapling")

    assert answer(alice.get(f"/trust_relationships/{body['id']}")) == (200, body)
    assert answer(bob.get(f"/trust_relationships/{body['id']}")) == (200, body)
    assert answer(carol.get(f"/trust_relationships/{body['id']}")) == refusal(
        403, "Have no permission to get this relationship"
    )
    assert answer(alice.get(f"/trust_relationships/{STRANGE}"))[0] == 404
    assert answer(alice.get("/trust_relationships/abc")) == refusal(422, '"trust_relationship_id" must be a valid GUID')


@pytest.fixture
def web(alice: Caller, bob: Caller, carol: Caller, sapling: Wallet) -> Any:
    """Trusts of all types in all states between alice, her sapling, bob and carol."""
    for index, (caller, request_type, requestee) in enumerate(
        [
            (alice, "yield", "bobby"), (bob, "send", "sapling"), (carol, "manage", "bobby"), (alice, "send", "carol"),
            (bob, "yield", "alice"), (carol, "send", "alice"), (carol, "receive", "bobby"), (bob, "receive", "carol"),
        ]
    ):  # fmt: skip
        _, body = ask(caller, request_type, requestee)
        answering = {"bobby": bob, "sapling": alice, "carol": carol, "alice": alice}[requestee]
        if index % 3 == 1:
            say(answering, "accept", body["id"])
        elif index % 3 == 2:
            say(answering, "decline", body["id"])
    return {"alice": alice, "bobby": bob, "carol": carol}


CONTROLLED = {"alice": {"alice", "sapling", "bobby"}, "bobby": {"bobby"}, "carol": {"carol"}}


def seen_by(names: Any, **filters: Any) -> Any:
    return [
        str(trust.pk)
        for trust in Trust.objects.order_by("number").filter(**filters).select_related("actor", "target", "originator")
        if {trust.actor.name, trust.target.name, trust.originator.name} & names
    ]


FILTERS = [
    {},
    {"state": "trusted"},
    {"state": "requested"},
    {"state": "cancelled_by_target"},
    {"type": "manage"},
    {"request_type": "receive"},
    {"type": "send", "state": "trusted", "request_type": "send"},
]


def test_the_list_holds_all_trusts_of_the_caller_and_its_wallets(web: Any) -> None:
    for who, filters in itertools.product(CONTROLLED, FILTERS):
        controlled = queries.controlled_wallet_ids(actor_id=web[who].wallet.pk)
        names = set(Wallet.objects.filter(pk__in=controlled).values_list("name", flat=True))
        assert names == CONTROLLED[who]
        query = "&".join(f"{name}={value}" for name, value in filters.items())

        status, body = answer(web[who].get(f"/trust_relationships?{query}"))

        assert status == 200
        assert [row["id"] for row in body["trust_relationships"]] == seen_by(names, **filters)


def test_a_manager_of_many_finds_its_trusts_among_those_of_all_wallets(
    alice: Caller, bob: Caller, carol: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as many as it manages wallets are read; where its own are further apart, they are looked up by wallet."""
    strangers = [wallets.create_wallet(name=f"stranger-{number}") for number in range(30)]
    for number in range(60):
        operations.open_managed_wallet(actor=alice.wallet, name=f"managed-{number}")
        if 20 <= number < 50:
            operations.request_trust(
                actor=bob.wallet, request_type=TrustRequestType.SEND, requestee=strangers[number - 20].name
            )
    operations.request_trust(actor=carol.wallet, request_type=TrustRequestType.SEND, requestee="managed-1")
    expected = seen_by({"alice", *(f"managed-{number}" for number in range(60))})

    statements = set()
    for counted, limit in ((1_000, 7), (1_000, 25), (20, 7), (20, 25), (0, 7)):
        monkeypatch.setattr(trust_lists, "_COUNTED", counted)
        after, seen = 0, []
        while page := trust_lists.trusts_visible_to(actor_id=alice.wallet.pk, limit=limit, after=after):
            seen += [str(row.id) for row in page]
            after = page[-1].number
            with CaptureQueriesContext(connection) as captured:
                trust_lists.trusts_visible_to(actor_id=alice.wallet.pk, limit=limit, after=after)
            statements.add((counted, limit, len(captured)))
        assert seen == expected
        skipped = trust_lists.trusts_visible_to(actor_id=alice.wallet.pk, limit=9, offset=40)
        assert [str(row.id) for row in skipped] == expected[40:49]
    for request_type, count in (("send", 1), ("manage", 60)):
        filters = trust_lists.TrustFilters(request_type=request_type)
        assert len(trust_lists.trusts_visible_to(actor_id=alice.wallet.pk, limit=99, filters=filters)) == count
    assert {(1_000, 7, 1), (20, 25, 2), (0, 7, 2)} <= statements
    assert (1_000, 7, 2) not in statements
    assert (0, 7, 1) not in statements
    # Managing nothing, one looks up its own.
    assert len(trust_lists.trusts_visible_to(actor_id=bob.wallet.pk, limit=99)) == 30


def test_the_cursor_visits_every_trust_once(web: Any) -> None:
    for limit in (1, 2, 4):
        path, seen = f"/trust_relationships?limit={limit}", []
        while path:
            response = web["alice"].get(path)
            _, body = answer(response)
            seen += [row["id"] for row in body["trust_relationships"]]
            link = re.fullmatch(r'<(.*)>; rel="next"', response.get("Link", ""))
            path = link and f"/trust_relationships?{urlsplit(link[1]).query}"
        assert seen == seen_by(CONTROLLED["alice"])
    _, body = answer(web["alice"].get("/trust_relationships?limit=2&start=3"))
    assert [row["id"] for row in body["trust_relationships"]] == seen[2:4]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("state=foo", '"state" must be one of [requested, trusted, cancelled_by_originator, cancelled_by_target]'),
        ("type=foo", '"type" must be one of [send, manage]'),
        ("request_type=foo", '"request_type" must be one of [send, receive, manage, yield]'),
        ("limit=0", '"limit" must be greater than or equal to 1'),
        ("limit=abc", '"limit" must be a number'),
        ("start=abc", '"start" must be a number'),
        ("x=1", '"x" is not allowed'),
    ],
)
def test_row_5_a_query_of_the_wrong_shape_is_refused(alice: Caller, query: str, message: str) -> None:
    assert answer(alice.get(f"/trust_relationships?{query}")) == refusal(422, message)


def test_the_trusts_of_one_wallet_are_shown_to_who_controls_it(web: Any, sapling: Wallet) -> None:
    alice, bob = web["alice"], web["bobby"]

    _, body = answer(alice.get(f"/wallets/{sapling.pk}/trust_relationships"))

    assert [row["id"] for row in body["trust_relationships"]] == seen_by({"sapling"})
    assert answer(bob.get(f"/wallets/{sapling.pk}/trust_relationships"))[0] == 403
    assert answer(alice.get(f"/wallets/{uuid4()}/trust_relationships"))[0] == 404
    assert answer(alice.get("/wallets/abc/trust_relationships")) == refusal(422, '"wallet_id" must be a valid GUID')
