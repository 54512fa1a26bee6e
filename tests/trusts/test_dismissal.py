"""
What is left to a manager after its control of a wallet ended: nothing, whatever it set up in the wallet's name.

alice is the wallet; mona manages her, xena helps mona, steve has nothing to do with either.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Q

from tests.api.caller import Caller, answer, logged_in, refusal
from tests.support.trust_requests import TYPES, ask, rows, say
from tests.transfers.books import assert_sound
from transfers import operations as transfers
from transfers.models import Transfer
from trusts import operations, queries
from trusts.models import Trust, TrustChange
from trusts.states import OPEN, TrustRequestType
from wallets import operations as wallets
from wallets.errors import DomainError
from wallets.models import Event, Token, Wallet

NOT_CONTROLLED = refusal(403, "The originator no longer controls the requester, a new request is needed")


@pytest.fixture
def mona(api_key: str, alice: Caller) -> Any:
    """A manager of alice."""
    mona = logged_in("mona", api_key)
    trust = operations.request_trust(actor=mona.wallet, request_type=TrustRequestType.MANAGE, requestee="alice")
    operations.accept_trust(actor=alice.wallet, trust_id=trust.id)
    mona.trust = trust.id
    return mona


@pytest.fixture
def xena(api_key: str) -> Any:
    return logged_in("xena", api_key)


def send(caller: Any, sender: Any, receiver: Any, size: int = 1) -> Any:
    body = {"bundle": {"bundle_size": size}, "sender_wallet": sender, "receiver_wallet": receiver}
    return answer(caller.post("/transfers", body))


def dismiss(caller: Any, wallet: Any, manager: Any) -> Any:
    return answer(caller.post(f"/wallets/{wallet.pk}/dismiss", {"manager_wallet": manager}))


def in_the_name_of_alice(mona: Any, request_type: Any, requestee: str = "xena") -> Any:
    status, body = ask(mona, request_type, requestee, requester_wallet="alice")
    assert status == 200
    return body


def state_of(trust: Any) -> Any:
    return Trust.objects.get(pk=trust["id"]).state


# The attack


def test_what_a_dismissed_manager_yielded_is_ended_by_the_wallet(alice: Caller, mona: Any, xena: Any) -> None:
    trust = in_the_name_of_alice(mona, "yield")
    assert say(xena, "accept", trust["id"])[0] == 200
    assert say(alice, "decline", mona.trust)[0] == 200
    assert send(xena, "alice", "xena")[0] == 201, "it is in force until alice ends it"

    assert say(alice, "delete", trust["id"])[1]["state"] == "cancelled_by_originator"

    before = rows()
    assert send(xena, "alice", "xena")[0] == 202, "xena now only asks alice"
    assert say(xena, "accept", trust["id"])[0] == 403
    for event in ("accept", "decline", "delete"):
        assert say(mona, event, trust["id"])[0] == 403
    assert rows() == before
    assert Token.objects.filter(wallet=alice.wallet).count() == 4


@pytest.mark.parametrize("request_type", TYPES)
@pytest.mark.parametrize("was", ["requested", "declined", "deleted"])
def test_a_request_of_a_dismissed_manager_cannot_be_accepted(
    alice: Caller, mona: Any, xena: Any, request_type: Any, was: str
) -> None:
    trust = in_the_name_of_alice(mona, request_type)
    if was != "requested":
        say({"declined": xena, "deleted": mona}[was], {"declined": "decline", "deleted": "delete"}[was], trust["id"])
    say(alice, "decline", mona.trust)
    before = rows(), Event.objects.count()

    refused = say(xena, "accept", trust["id"])

    if was == "deleted" and request_type in ("yield", "receive"):
        message = f"The originator has withdrawn this {request_type} relationship, a new request is needed"
        assert refused == refusal(403, message)
    else:
        assert refused == NOT_CONTROLLED
    assert (rows(), Event.objects.count()) == before
    # A new one of alice's own is not in the way of the old one.
    if was == "requested":
        assert say(alice, "delete", trust["id"])[0] == 200
    _, new = ask(alice, request_type, "xena")
    assert say(xena, "accept", new["id"])[1]["state"] == "trusted"


ENDED_BY = {
    # who, the call -> the state, whether the consent of the actor is withdrawn
    ("alice", "delete"): ("cancelled_by_originator", True),
    ("alice", "decline"): ("cancelled_by_originator", True),
    ("nina", "delete"): ("cancelled_by_originator", True),
    ("nina", "decline"): ("cancelled_by_originator", True),
    ("xena", "delete"): ("cancelled_by_target", False),
    ("xena", "decline"): ("cancelled_by_target", False),
    ("paula", "delete"): ("cancelled_by_target", False),
    ("paula", "decline"): ("cancelled_by_target", False),
}


def test_who_controls_a_side_now_ends_a_trust_in_every_state_and_nobody_else(
    alice: Caller, mona: Any, xena: Any, api_key: str
) -> None:
    """nina manages alice now, paula xena; mona, who asked, manages alice no longer."""
    trusts = {kind: in_the_name_of_alice(mona, kind)["id"] for kind in TYPES}
    say(alice, "decline", mona.trust)
    people = {"alice": alice, "xena": xena, "mona": mona}
    for name, wallet in (("nina", "alice"), ("paula", "xena")):
        people[name] = logged_in(name, api_key)
        _, manage = ask(people[name], "manage", wallet)
        say(people[wallet], "accept", manage["id"])
    people["steve"] = logged_in("steve", api_key)
    states = [("requested", False), ("trusted", False), ("cancelled_by_target", False), ("cancelled_by_target", True),
              ("cancelled_by_originator", True)]  # fmt: skip

    for kind, (state, withdrawn) in itertools.product(TYPES, states):
        trust_id = trusts[kind]
        for who, event in [*ENDED_BY, *itertools.product(["mona", "steve"], ["delete", "decline"])]:
            Trust.objects.filter(pk=trust_id).update(state=state, withdrawn=withdrawn)
            before = rows()

            status, body = say(people[who], event, trust_id)

            if (who, event) in ENDED_BY:
                # Who is given control acts for the giver, too, while it lasts.
                is_both = (who, event, kind, state) == ("xena", "delete", "yield", "trusted")
                after, withdraws = ENDED_BY["alice" if is_both else who, event]
                assert (status, body["state"]) == (200, after), (kind, state, who, event)
                assert Trust.objects.get(pk=trust_id).withdrawn is (withdrawn or withdraws)
            else:
                verb = {"delete": "cancel"}.get(event, event)
                assert (status, body) == refusal(403, f"Have no permission to {verb} this relationship")
                assert rows() == before


def test_a_manager_of_both_sides_ends_a_trust_by_the_call_it_makes(alice: Caller, mona: Any, sapling: Wallet) -> None:
    _, manage = ask(mona, "manage", "sapling")
    say(alice, "accept", manage["id"])
    trust = in_the_name_of_alice(mona, "send", "sapling")
    for event, state in [("delete", "cancelled_by_originator"), ("decline", "cancelled_by_target")]:
        assert say(mona, event, trust["id"])[1]["state"] == state


# What the wallet is told


def ended(caller: Any) -> Any:
    events = answer(caller.get("/events?limit=1000"))[1]["events"]
    return [(event["wallet_id"], event["payload"]) for event in events if event["type"] == "management_ended"]


def by_operator(alice: Any, mona: Any) -> None:
    operations.end_trust(trust_id=mona.trust)


@pytest.mark.parametrize(
    "end",
    [
        lambda alice, mona: say(alice, "decline", mona.trust),
        lambda alice, mona: say(alice, "delete", mona.trust),
        lambda alice, mona: say(mona, "delete", mona.trust),
        lambda alice, mona: say(mona, "decline", mona.trust),
        by_operator,
    ],
)
def test_a_wallet_reads_what_its_manager_left_behind(
    alice: Caller, mona: Any, xena: Any, bob: Caller, end: Any
) -> None:
    asked, given = in_the_name_of_alice(mona, "yield"), in_the_name_of_alice(mona, "receive")
    say(xena, "accept", given["id"])
    over = in_the_name_of_alice(mona, "send")
    say(mona, "delete", over["id"])
    _, accepted = ask(bob, "manage", "alice")
    assert say(mona, "accept", accepted["id"])[0] == 200
    _, own = ask(alice, "manage", "xena")
    transfers.issue_tokens(wallet=xena.wallet, count=2)
    pending, requested = send(mona, "alice", "xena")[1], send(mona, "xena", "alice")[1]
    closed = send(mona, "alice", "xena")[1]
    say_of_transfer(mona, "delete", closed["id"])
    assert ended(alice) == []

    end(alice, mona)

    assert ended(alice) == [
        (
            str(alice.wallet.pk),
            {
                "managerWallet": "mona",
                "trustRelationshipId": str(mona.trust),
                "trustRelationshipsLeft": 3,
                "trustRelationshipIds": [asked["id"], given["id"], accepted["id"]],
                "transfersLeft": 2,
                "transferIds": [pending["id"], requested["id"]],
            },
        )
    ]
    listed = {row["id"] for row in answer(alice.get("/trust_relationships"))[1]["trust_relationships"]}
    assert {asked["id"], given["id"], accepted["id"], own["id"]} <= listed
    assert ended(mona) == []


def say_of_transfer(caller: Any, event: Any, transfer_id: Any) -> Any:
    if event == "delete":
        return answer(caller.delete(f"/transfers/{transfer_id}"))
    return answer(caller.post(f"/transfers/{transfer_id}/{event}", {"implicit": True} if event == "fulfill" else {}))


def test_an_event_names_a_hundred_and_counts_all(alice: Caller, mona: Any, django_assert_max_num_queries: Any) -> None:
    for index in range(102):
        other = Wallet.objects.create(name=f"other{index}", name_key=f"other{index}")
        operations.request_trust(
            actor=mona.wallet, requester="alice", request_type=TrustRequestType.YIELD, requestee=other.name
        )
    say(alice, "decline", mona.trust)

    [(_, payload)] = ended(alice)
    assert (payload["trustRelationshipsLeft"], len(payload["trustRelationshipIds"])) == (102, 100)
    # And all of it ends by a number of statements that does not grow with it.
    with django_assert_max_num_queries(30):
        assert len(operations.dismiss_manager(actor=alice.wallet, wallet_id=alice.wallet.pk, manager="mona")) == 102


def test_a_wallet_with_a_second_trust_for_the_same_manager_is_not_told_that_it_is_gone(
    alice: Caller, mona: Any
) -> None:
    _, gift = ask(alice, "yield", "mona")
    if "id" not in gift:
        # Refused while the first is open, so an older one is accepted again.
        say(alice, "decline", mona.trust)
        _, gift = ask(alice, "yield", "mona")
        say(mona, "accept", gift["id"])
        say(alice, "accept", mona.trust)
    told = len(ended(alice))

    say(alice, "decline", mona.trust)
    assert len(ended(alice)) == told
    say(alice, "delete", gift["id"])
    assert len(ended(alice)) == told + 1


# All of it in one call


def test_everything_of_a_manager_ends_in_one_call(
    alice: Caller, mona: Any, xena: Any, bob: Caller, carol: Caller
) -> None:
    given = {kind: in_the_name_of_alice(mona, kind) for kind in TYPES}
    for kind in ("yield", "receive"):
        say(xena, "accept", given[kind]["id"])
    _, let = ask(bob, "manage", "alice")
    say(mona, "accept", let["id"])
    _, own = ask(alice, "send", "carol")
    _, elsewhere = ask(mona, "yield", "xena")
    _, foreign = ask(carol, "send", "alice")
    mine = {mona.trust, *(given[kind]["id"] for kind in TYPES), let["id"]}

    status, body = dismiss(alice, alice.wallet, "mona")

    assert status == 200
    assert [(row["id"], row["state"]) for row in body["trust_relationships"]] == [
        (str(mona.trust), "cancelled_by_target"),
        *((given[kind]["id"], "cancelled_by_originator") for kind in TYPES),
        (let["id"], "cancelled_by_target"),
    ]
    assert set(Trust.objects.exclude(state__in=OPEN).values_list("pk", flat=True)) == {
        Trust.objects.get(pk=each).pk for each in mine
    }
    for trust in (own, elsewhere, foreign):
        assert state_of(trust) == "requested"
    last = dict(TrustChange.objects.order_by("pk").values_list("trust__pk", "actor__name"))
    assert {last[Trust.objects.get(pk=each).pk] for each in mine} == {"alice"}

    assert {(payload["managerWallet"], payload["trustRelationshipsLeft"]) for _, payload in ended(alice)} == {
        ("mona", 0), ("xena", 0), ("bobby", 0),
    }  # fmt: skip
    kinds = [event["type"] for event in answer(xena.get("/events?limit=100"))[1]["events"]]
    assert kinds.count("trust_request_cancelled_by_originator") == 4

    before = rows(), Event.objects.count()
    assert dismiss(alice, alice.wallet, str(mona.wallet.pk)) == (200, {"trust_relationships": []})
    assert (rows(), Event.objects.count()) == before


def test_a_manager_that_the_dismissed_one_let_in_goes_with_it(
    alice: Caller, mona: Any, xena: Any, bob: Caller, carol: Caller
) -> None:
    """mona gives to xena, xena gives to bob; each accepts. carol manages alice by alice's own will."""
    for giver, asked, name in ((mona, xena, "xena"), (xena, bob, "bobby")):
        _, trust = ask(giver, "yield", name, requester_wallet="alice")
        assert say(asked, "accept", trust["id"])[0] == 200
    _, own = ask(alice, "yield", "carol")
    say(carol, "accept", own["id"])
    _, of_bob = ask(bob, "receive", "xena", requester_wallet="alice")

    status, body = dismiss(carol, alice.wallet, "mona")

    assert (status, len(body["trust_relationships"])) == (200, 4)
    assert of_bob["id"] in {row["id"] for row in body["trust_relationships"]}
    managers = [each for each in (mona, xena, bob, carol) if queries.controls(
        actor_id=each.wallet.pk, wallet_id=alice.wallet.pk
    )]  # fmt: skip
    assert managers == [carol]


def test_what_the_wallet_set_up_itself_outlives_the_end_of_what_it_managed_by_its_manager(
    alice: Caller, mona: Any, xena: Any, carol: Caller
) -> None:
    """mona lets alice manage xena. With mona goes alice's control of xena, and nothing that alice asked for herself."""
    managed = in_the_name_of_alice(mona, "manage")
    assert say(xena, "accept", managed["id"])[0] == 200
    own = [ask(alice, kind, "carol")[1] for kind in ("send", "receive")]
    given = ask(alice, "yield", "carol")[1]
    for trust in (own[0], given):
        assert say(carol, "accept", trust["id"])[0] == 200
    of_xena = ask(xena, "send", "carol")[1]
    begun = ask(alice, "send", "carol", requester_wallet="xena")
    assert begun[0] == 403, "xena has asked already"
    before = {str(pk): state for pk, state in Trust.objects.values_list("pk", "state")}

    status, body = dismiss(alice, alice.wallet, "mona")

    assert status == 200
    assert {row["id"] for row in body["trust_relationships"]} == {str(mona.trust), managed["id"]}
    after = {str(pk): state for pk, state in Trust.objects.values_list("pk", "state")}
    changed = {pk for pk in before if before[pk] != after[pk]}
    assert changed == {str(mona.trust), managed["id"]}
    assert {each["id"] for each in (*own, given, of_xena)} <= set(after) - changed
    assert not queries.controls(actor_id=alice.wallet.pk, wallet_id=xena.wallet.pk)
    assert queries.controls(actor_id=carol.wallet.pk, wallet_id=alice.wallet.pk)


def test_what_else_the_wallet_allowed_a_manager_outlives_its_management(alice: Caller, xena: Any) -> None:
    """alice gave xena control of her, and lets xena send to her; the second is no control."""
    given, let, asked = (ask(alice, kind, "xena")[1] for kind in ("yield", "receive", "send"))
    for trust in (given, let):
        assert say(xena, "accept", trust["id"])[0] == 200

    status, body = dismiss(alice, alice.wallet, "xena")

    assert (status, [row["id"] for row in body["trust_relationships"]]) == (200, [given["id"]])
    assert [state_of(each) for each in (given, let, asked)] == ["cancelled_by_originator", "trusted", "requested"]


def test_a_manager_that_left_cannot_come_back_by_accepting_again(alice: Caller, mona: Any) -> None:
    """A `yield` that mona declined herself is withdrawn with the rest, else she could accept it again."""
    say(alice, "decline", mona.trust)
    _, gift = ask(alice, "yield", "mona")
    say(mona, "accept", gift["id"])
    say(mona, "decline", gift["id"])

    _, body = dismiss(alice, alice.wallet, "mona")

    assert [(row["id"], row["state"]) for row in body["trust_relationships"]] == [
        (gift["id"], "cancelled_by_originator")
    ]
    assert say(mona, "accept", gift["id"])[0] == 403
    assert not queries.controls(actor_id=mona.wallet.pk, wallet_id=alice.wallet.pk)


@pytest.mark.parametrize("path", ["/wallets/{}/dismiss", "/wallets/{}/dismiss/", "/wallet/wallets/{}/dismiss"])
def test_the_call_stands_where_the_others_stand(alice: Caller, mona: Any, path: str) -> None:
    status, body = answer(alice.post(path.format(alice.wallet.pk), {"manager_wallet": "MONA"}))

    assert (status, [row["id"] for row in body["trust_relationships"]]) == (200, [str(mona.trust)])


def test_a_dismissal_is_refused_in_words(alice: Caller, mona: Any, xena: Any) -> None:
    in_the_name_of_alice(mona, "yield")
    say(mona, "delete", mona.trust)
    before = rows()
    path = f"/wallets/{alice.wallet.pk}/dismiss"

    for caller, asked, body, refused in [
        (mona, path, {"manager_wallet": "xena"}, refusal(403, "Have no permission to access this wallet")),
        (xena, path, {"manager_wallet": "mona"}, refusal(403, "Have no permission to access this wallet")),
        (alice, path, {"manager_wallet": "alice"}, refusal(422, '"manager_wallet" must be another wallet')),
        (alice, path, {"manager_wallet": "ghost"}, refusal(404, "Could not find entity by wallet name: ghost")),
        (alice, path, {}, refusal(422, '"manager_wallet" is required')),
        (alice, path, {"manager_wallet": "mona", "x": 1}, refusal(422, '"x" is not allowed')),
        (alice, path + "?x=1", {"manager_wallet": "mona"}, refusal(422, '"x" is not allowed')),
        (
            alice,
            path.replace(str(alice.wallet.pk), "abc"),
            {"manager_wallet": "mona"},
            refusal(422, '"wallet_id" must be a valid GUID'),
        ),
    ]:
        assert answer(caller.post(asked, body)) == refused, body
        assert rows() == before


# Open transfers


@pytest.mark.parametrize(
    ("sender", "receiver", "state", "mine", "others"),
    [
        ("alice", "xena", "pending", "delete", ["accept", "decline", "fulfill"]),
        ("xena", "alice", "requested", "delete", ["fulfill", "decline", "accept"]),
    ],
)
def test_a_transfer_that_a_manager_began_is_the_wallets_to_end(
    alice: Caller, mona: Any, xena: Any, sender: str, receiver: str, state: str, mine: str, others: Any
) -> None:
    for wallet in (alice.wallet, xena.wallet):
        transfers.issue_tokens(wallet=wallet, count=2)
    _, transfer = send(mona, sender, receiver)
    assert transfer["state"] == state
    say(alice, "decline", mona.trust)
    stored = Transfer.objects.values().get(pk=transfer["id"])

    for event in [mine, *others]:
        assert say_of_transfer(mona, event, transfer["id"])[0] == 403
    assert Transfer.objects.values().get(pk=transfer["id"]) == stored
    listed = answer(alice.get("/transfers?limit=9"))[1]["transfers"]
    assert [each["id"] for each in listed] == [transfer["id"]]
    assert answer(alice.get(f"/transfers/{transfer['id']}"))[1]["state"] == state
    assert say_of_transfer(alice, mine, transfer["id"])[1]["state"] == "cancelled"
    assert not Token.objects.exclude(transfer_pending_id=None).exists()


@pytest.mark.parametrize("state", ["pending", "requested"])
def test_what_a_manager_asked_of_the_wallet_is_declined_by_it(alice: Caller, mona: Any, xena: Any, state: str) -> None:
    """mona manages xena too: xena's transfer to alice, and one from alice."""
    transfers.issue_tokens(wallet=alice.wallet, count=2)
    transfers.issue_tokens(wallet=xena.wallet, count=2)
    say(alice, "decline", mona.trust)
    _, trust = ask(mona, "manage", "xena")
    say(xena, "accept", trust["id"])
    _, transfer = send(mona, *(("xena", "alice") if state == "pending" else ("alice", "xena")))
    assert transfer["state"] == state

    assert say_of_transfer(mona, "fulfill" if state == "requested" else "accept", transfer["id"])[0] == 403
    assert say_of_transfer(alice, "decline", transfer["id"])[1]["state"] == "cancelled"


# Operators


@pytest.mark.parametrize("request_type", TYPES)
@pytest.mark.parametrize("state", ["requested", "trusted"])
def test_what_an_operator_ended_needs_a_new_request(alice: Caller, bob: Caller, request_type: Any, state: str) -> None:
    _, trust = ask(alice, request_type, "bobby")
    if state == "trusted":
        say(bob, "accept", trust["id"])

    operations.end_trust(trust_id=trust["id"])

    by_actor = request_type in ("yield", "receive")
    assert state_of(trust) == ("cancelled_by_originator" if by_actor else "cancelled_by_target")
    over = refusal(403, "An operator has ended this relationship, a new request is needed")
    for caller, event in [(None, None), (alice, "delete"), (bob, "decline"), (alice, "decline"), (bob, "delete")]:
        if caller is not None:
            assert say(caller, event, trust["id"])[0] == 200
        assert say(bob, "accept", trust["id"]) == over
    assert TrustChange.objects.filter(trust_id=trust["id"], event="end").get().actor is None
    _, new = ask(alice, request_type, "bobby")
    assert say(bob, "accept", new["id"])[1]["state"] == "trusted"


# The search

VALUE = 2


class Search:
    """
    Every constellation of trusts between three wallets that mona and xena reach from one in which mona manages alice.

    From each of them alice ends it, in two ways. After that neither controls her, whatever it accepts. Who
    controls whom is all that lets tokens of hers move: see `tests/transfers/test_model.py`.
    """

    def __init__(self, depth: Any) -> None:
        self.wallets = {name: wallets.create_wallet(name=name) for name in ("alice", "mona", "xena")}
        self.names = {wallet.pk: name for name, wallet in self.wallets.items()}
        self.depth, self.seen, self.checked, self.reached = depth, {}, 0, set()
        transfers.issue_tokens(wallet=self.wallets["alice"], count=VALUE)

    def run(self) -> None:
        trust = self.request("mona", "manage", "alice", None)
        operations.accept_trust(actor=self.wallets["alice"], trust_id=trust.id)
        self.visit(0)

    def request(self, who: Any, kind: Any, requestee: Any, requester: Any) -> Any:
        return operations.request_trust(
            actor=self.wallets[who], request_type=TrustRequestType(kind), requestee=requestee, requester=requester
        )

    def constellation(self) -> Any:
        names = self.names
        return frozenset(
            (names[actor], names[target], names[originator], kind, state, withdrawn)
            for actor, target, originator, kind, state, withdrawn in Trust.objects.values_list(
                "actor_id", "target_id", "originator_id", "request_type", "state", "withdrawn"
            )
        )

    def moves(self) -> Iterator[Any]:
        for who, kind, requester, requestee in (
            ("mona", "yield", "alice", "xena"), ("mona", "receive", "alice", "xena"),
            ("mona", "yield", "alice", "mona"),
            ("mona", "manage", "alice", "xena"), ("xena", "yield", "alice", "mona"), ("xena", "yield", "alice", "xena"),
            ("xena", "manage", None, "alice"), ("mona", "send", None, "alice"),
        ):  # fmt: skip
            yield lambda a=(who, kind, requestee, requester): self.request(*a)
        for trust_id in Trust.objects.order_by("number").values_list("pk", flat=True):
            for who, event in itertools.product(("mona", "xena"), ("accept", "decline", "delete")):
                yield lambda w=who, e=event, t=trust_id: getattr(operations, f"{e}_trust")(
                    actor=self.wallets[w], trust_id=t
                )

    def visit(self, depth: Any) -> None:
        constellation = self.constellation()
        if self.seen.get(constellation, self.depth + 1) <= depth:
            return
        if constellation not in self.seen:
            self.reached.update(name for name in ("mona", "xena") if self.controls(name))
            self.undone(self.check, self.dismiss_both)
            self.undone(self.check, self.end_control_by_hand)
        self.seen[constellation] = depth
        if depth == self.depth:
            return
        for move in list(self.moves()):
            self.undone(self.deeper, move, depth)

    def deeper(self, move: Any, depth: Any) -> None:
        move()
        self.visit(depth + 1)

    def undone(self, do: Any, *args: Any) -> None:
        try:
            with transaction.atomic():
                do(*args)
                transaction.set_rollback(True)
        except DomainError:
            pass

    def dismiss_both(self) -> None:
        alice = self.wallets["alice"]
        for name in ("mona", "xena"):
            operations.dismiss_manager(actor=alice, wallet_id=alice.pk, manager=name)
        assert not Trust.objects.filter(Q(actor=alice) | Q(target=alice), state__in=OPEN).exists()

    def end_control_by_hand(self) -> None:
        """End no more than what is in force and gives control; what was only requested stays."""
        alice = self.wallets["alice"]
        for trust_id in Trust.objects.filter(
            Q(target=alice, request_type="manage") | Q(actor=alice, request_type="yield"), state="trusted"
        ).values_list("pk", flat=True):
            operations.decline_trust(actor=alice, trust_id=trust_id)

    def check(self, end: Any) -> None:
        end()
        self.assert_safe(end.__name__)
        for trust_id in Trust.objects.order_by("number").values_list("pk", flat=True):
            for who in ("mona", "xena"):
                self.undone(self.attempt, who, trust_id)
        self.checked += 1

    def attempt(self, who: Any, trust_id: Any) -> None:
        operations.accept_trust(actor=self.wallets[who], trust_id=trust_id)
        self.assert_safe(f"{who} accepts")

    def assert_safe(self, what: Any) -> None:
        for name in ("mona", "xena"):
            if self.controls(name):
                raise AssertionError((what, name, self.constellation()))

    def controls(self, name: Any) -> Any:
        return queries.controls(actor_id=self.wallets[name].pk, wallet_id=self.wallets["alice"].pk)


@pytest.mark.django_db
def test_an_attackers_search_finds_no_constellation_that_outlives_the_dismissal() -> None:
    search = Search(depth=2)

    search.run()

    assert search.reached == {"mona", "xena"}, "the search finds what alice has to end"
    assert search.checked >= 20
    assert_sound()
