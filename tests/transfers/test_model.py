"""
Random actors do random things, and a small model of wallets, trusts and transfers must agree with every answer.

The model knows nothing of SQL: a wallet is a set of tokens, a trust is a row of a list. Who controls which wallet now
decides what anybody may do. After each step it must hold the same tokens as the ledger, and the audit finds nothing.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.transfers.books import assert_sound
from transfers import errors, operations
from transfers.models import Movement, Transfer
from trusts import errors as trust_errors
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import errors as wallet_errors
from wallets.models import Token, Wallet

NAMES = ["alice", "bobby", "carol", "sapling"]
TOKENS_EACH = 4


@dataclass
class ModelTransfer:
    source: str
    destination: str
    size: int
    named: frozenset[UUID] | None
    state: str
    reserved: set[UUID] = field(default_factory=set)


@dataclass
class ModelTrust:
    actor: str
    target: str
    originator: str
    kind: str
    state: str
    withdrawn: bool = False
    accepted_by: str | None = None
    was_ended_by_operator: bool = False

    @property
    def is_open(self) -> Any:
        return self.state in ("requested", "trusted")

    @property
    def management(self) -> Any:
        """Who would manage whom."""
        return {"manage": (self.actor, self.target), "yield": (self.target, self.actor)}.get(self.kind)


class Refused(Exception):
    """The model refuses; holds the class of the error that the ledger must raise."""


class Model:
    def __init__(self) -> None:
        self.tokens: dict[str, set[UUID]] = {name: set() for name in NAMES}
        self.transfers: dict[UUID, ModelTransfer] = {}
        self.trusts: dict[UUID, ModelTrust] = {}
        self.moves: dict[UUID, list[str]] = {}

    def trusted(self, kind: Any, actor: Any, target: Any) -> Any:
        wanted = (kind, actor, target, "trusted")
        return any((each.kind, each.actor, each.target, each.state) == wanted for each in self.trusts.values())

    def controls(self, actor: Any, wallet: Any) -> Any:
        return actor == wallet or self.trusted("manage", actor, wallet) or self.trusted("yield", wallet, actor)

    def may_push(self, sender: Any, receiver: Any) -> Any:
        return self.trusted("send", sender, receiver) or self.trusted("receive", receiver, sender)

    def dismiss(self, wallet: Any, manager: Any) -> Any:
        """End what the manager set up in the wallet, and what those set up who lose their control by that."""
        dismissed, ended = [manager], {}
        for name in dismissed:
            found = {trust_id: trust for trust_id, trust in self.trusts.items() if self.is_set_up(trust, wallet, name)}
            managers = {each.management[0] for each in found.values() if each.management and each.state == "trusted"}
            for trust in found.values():
                by_actor = trust.actor == wallet
                trust.state = "cancelled_by_originator" if by_actor else "cancelled_by_target"
                trust.withdrawn = trust.withdrawn or by_actor
            ended |= found
            dismissed += [
                each
                for each in sorted(managers)
                if each not in [wallet, *dismissed] and not self.controls(each, wallet)
            ]
        return ended

    def is_set_up(self, trust: Any, wallet: Any, manager: Any) -> Any:
        if wallet not in (trust.actor, trust.target):
            return False
        if (trust.kind, trust.actor, trust.target, trust.withdrawn) == ("yield", wallet, manager, False):
            return True
        accepted_by = trust.accepted_by if trust.state == "trusted" and trust.target == wallet else None
        gives = (manager, wallet) == trust.management
        return trust.is_open and (gives or manager in (trust.originator, accepted_by))

    def reserved(self) -> Any:
        return set().union(*(transfer.reserved for transfer in self.transfers.values()))

    def free(self, wallet: Any) -> Any:
        return self.tokens[wallet] - self.reserved()

    def verdict(self, actor: Any, sender: Any, receiver: Any) -> Any:
        if sender == receiver:
            raise Refused(errors.SameWallet)
        if self.controls(actor, sender):
            at_once = self.controls(actor, receiver) or self.may_push(sender, receiver)
            return "completed" if at_once else "pending"
        if self.controls(actor, receiver):
            return "requested"
        raise Refused(errors.NeitherWalletControlled)

    def why_not(self, sender: Any, listed: Any) -> None:
        for token in listed:
            if token not in self.tokens[sender]:
                raise Refused(errors.TokenElsewhere)
            if token in self.reserved():
                raise Refused(errors.TokenReserved)

    def move(self, transfer: Any, moved: Any) -> None:
        assert moved <= self.tokens[transfer.source]
        self.tokens[transfer.source] -= moved
        self.tokens[transfer.destination] |= moved
        for token in moved:
            self.moves[token].append(transfer.destination)


@pytest.mark.django_db
def test_random_actors_and_a_small_model_agree() -> None:
    run_state_machine_as_test(
        Actors,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            # The same steps on every run: a failure in a branch is one of that branch.
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


WALLETS = st.sampled_from(NAMES)
KINDS = st.sampled_from(["send", "receive", "manage", "yield"])


class Actors(RuleBasedStateMachine):
    @initialize()
    def people(self) -> None:
        self.model = Model()
        suffix = f"{Wallet.objects.count():06}"
        self.wallets = {name: Wallet.objects.create(name=name + suffix, name_key=name + suffix) for name in NAMES}
        self.names = {wallet.pk: name for name, wallet in self.wallets.items()}
        # Ids in a known order, so that the same draws lead to the same steps.
        ids = (UUID(int=number) for number in itertools.count(Wallet.objects.count() * TOKENS_EACH))
        for name, wallet in self.wallets.items():
            token_ids = list(itertools.islice(ids, TOKENS_EACH))
            operations.issue_tokens(wallet=wallet, capture_ids=token_ids, token_ids=token_ids)
            self.model.tokens[name] = set(wallet.tokens.values_list("pk", flat=True))
            for token in self.model.tokens[name]:
                self.model.moves[token] = [name]
        # From the beginning one manages another, so that more is done in the name of others.
        manage = trusts.request_trust(
            actor=self.wallets["alice"], request_type=TrustRequestType.MANAGE, requestee=self.wallets["sapling"].name
        )
        trusts.accept_trust(actor=self.wallets["sapling"], trust_id=manage.id)
        self.model.trusts[manage.id] = ModelTrust(
            "alice", "sapling", "alice", "manage", "trusted", accepted_by="sapling"
        )
        self.everything = sorted(set().union(*self.model.tokens.values()))

    def check(self, expected: Any, act: Any) -> Any:
        """Act, and compare: either both refuse for the same reason, or neither does."""
        try:
            wanted = expected()
        except Refused as refused:
            with pytest.raises(refused.args[0]):
                act()
            return None, None
        return wanted, act()

    def who(self, name: Any) -> Any:
        return self.wallets[name]

    @rule(actor=WALLETS, sender=WALLETS, receiver=WALLETS, size=st.integers(1, 6))
    def send_bundle(self, actor: Any, sender: Any, receiver: Any, size: Any) -> None:
        def expected() -> Any:
            state = self.model.verdict(actor, sender, receiver)
            if len(self.model.free(sender)) < size:
                raise Refused(errors.InsufficientTokens)
            return state

        state, row = self.check(
            expected,
            lambda: operations.send_bundle(
                actor=self.who(actor), sender=self.who(sender).name, receiver=str(self.who(receiver).pk), size=size
            ),
        )
        if row is not None:
            self.sent(row, state, ModelTransfer(sender, receiver, size, None, state))

    @rule(actor=WALLETS, sender=WALLETS, receiver=WALLETS, data=st.data())
    def send_tokens(self, actor: Any, sender: Any, receiver: Any, data: Any) -> None:
        mine = sorted(self.model.tokens[sender]) or self.everything
        pool = data.draw(st.sampled_from([mine, mine, mine, self.everything]))
        listed = data.draw(st.lists(st.sampled_from(pool), max_size=3, unique=True))

        def expected() -> Any:
            state = self.model.verdict(actor, sender, receiver)
            self.model.why_not(sender, listed)
            return state

        state, row = self.check(
            expected,
            lambda: operations.send_tokens(
                actor=self.who(actor), sender=str(self.who(sender).pk), receiver=self.who(receiver).name,
                token_ids=listed,
            ),
        )  # fmt: skip
        if row is not None:
            self.sent(row, state, ModelTransfer(sender, receiver, len(listed), frozenset(listed), state))

    def sent(self, row: Any, state: Any, transfer: Any) -> None:
        assert row.state == state
        self.model.transfers[row.id] = transfer
        if state == "completed":
            self.model.move(transfer, self.moved_by(row, transfer))
        elif state == "pending":
            transfer.reserved = set(Token.objects.filter(transfer_pending_id=row.id).values_list("pk", flat=True))
            # Which tokens a bundle gets is the ledger's choice, that they were free and how many is not.
            assert len(transfer.reserved) == transfer.size
            assert transfer.named is None or transfer.reserved == transfer.named
            assert transfer.reserved <= self.model.tokens[transfer.source]

    def moved_by(self, row: Any, transfer: Any) -> Any:
        moved = set(Movement.objects.filter(transfer__id=row.id).values_list("token_id", flat=True))
        assert len(moved) == transfer.size
        assert transfer.named is None or moved == transfer.named
        assert not moved & self.model.reserved() - transfer.reserved
        return moved

    @rule(actor=WALLETS, event=st.sampled_from(["accept", "fulfill", "decline", "delete"]), data=st.data())
    def decide(self, actor: Any, event: Any, data: Any) -> None:
        if not self.model.transfers:
            return
        transfer_id = data.draw(st.sampled_from(list(self.model.transfers)))
        transfer = self.model.transfers[transfer_id]
        decider = {
            ("pending", "accept"): transfer.destination,
            ("pending", "decline"): transfer.destination,
            ("pending", "delete"): transfer.source,
            ("requested", "fulfill"): transfer.source,
            ("requested", "decline"): transfer.source,
            ("requested", "delete"): transfer.destination,
        }.get((transfer.state, event))

        def expected() -> Any:
            if event == "fulfill" and not self.model.controls(actor, transfer.source):
                raise Refused(errors.NotYoursToDecide)
            if decider is None:
                raise Refused(
                    {"accept": errors.TransferNotPending, "fulfill": errors.TransferNotRequested}.get(
                        event, errors.TransferNotOpen
                    )
                )
            if not self.model.controls(actor, decider):
                raise Refused(errors.NotYoursToDecide)
            if event == "fulfill":
                free = self.model.free(transfer.source)
                if len(free) < transfer.size or (transfer.named is not None and not transfer.named <= free):
                    raise Refused(errors.InsufficientTokens)
            return "completed" if event in ("accept", "fulfill") else "cancelled"

        state, row = self.check(
            expected, lambda: getattr(operations, event)(actor=self.who(actor), transfer_id=transfer_id)
        )
        if row is None:
            return
        assert row.state == state
        if state == "completed":
            moved = self.moved_by(row, transfer)
            assert event == "fulfill" or moved == transfer.reserved
            self.model.move(transfer, moved)
        transfer.state, transfer.reserved = state, set()

    @rule(actor=WALLETS, asked=WALLETS, kind=KINDS, data=st.data())
    def request_trust(self, actor: Any, asked: Any, kind: Any, data: Any) -> None:
        managed = [name for name in NAMES if name != actor and self.model.controls(actor, name)]
        self.ask(actor, data.draw(st.sampled_from([actor, *managed * 3] * 3 + NAMES)), asked, kind)

    @rule(asked=WALLETS, kind=KINDS, event=st.sampled_from(["decline", "delete"]))
    def ask_in_the_name_of_a_wallet_that_ends_it(self, asked: Any, kind: Any, event: Any) -> None:
        """The request stays open, and is accepted after its originator has lost control of its actor."""
        for actor, wallet in itertools.permutations(NAMES, 2):
            if wallet != asked and self.model.controls(actor, wallet):
                trust_id = self.ask(actor, wallet, asked, kind)
                self.end_control_of(wallet, event)
                if trust_id is not None:
                    self.accept(asked, trust_id)

    def ask(self, actor: Any, asking: Any, asked: Any, kind: Any) -> Any:
        def expected() -> str:
            if not self.model.controls(actor, asking):
                raise Refused(trust_errors.RequesterNotControlled)
            if asking == asked:
                raise Refused(trust_errors.TrustWithOneself)
            for trust in self.model.trusts.values():
                same = (trust.actor, trust.target) == (asking, asked) and trust.kind == kind
                opposite = (trust.actor, trust.target) == (asked, asking) and trust.kind != kind
                if trust.is_open and (same or opposite):
                    raise Refused(trust_errors.TrustAlreadyExists)
            return "requested"

        state, row = self.check(
            expected,
            lambda: trusts.request_trust(
                actor=self.who(actor), request_type=TrustRequestType(kind), requestee=self.who(asked).name,
                requester=self.who(asking).name,
            ),
        )  # fmt: skip
        if row is None:
            return None
        self.model.trusts[row.id] = ModelTrust(asking, asked, actor, kind, state)
        return row.id

    def any_trust(self, data: Any) -> Any:
        return data.draw(st.sampled_from(list(self.model.trusts)))

    @precondition(lambda self: self.model.trusts)
    @rule(data=st.data(), willing=st.booleans())
    def accept_trust(self, data: Any, willing: Any) -> None:
        trust_id = self.any_trust(data)
        self.accept(self.model.trusts[trust_id].target if willing else data.draw(WALLETS), trust_id)

    def accept(self, actor: Any, trust_id: Any) -> None:
        trust = self.model.trusts[trust_id]

        def expected() -> str:
            if not self.model.controls(actor, trust.target):
                raise Refused(trust_errors.TrustNotAnswerable)
            if trust.state == "trusted":
                return "trusted"
            if trust.was_ended_by_operator:
                raise Refused(trust_errors.EndedByOperator)
            if trust.kind in ("yield", "receive") and trust.withdrawn:
                raise Refused(trust_errors.ConsentWithdrawn)
            if not self.model.controls(trust.originator, trust.actor):
                raise Refused(trust_errors.OriginatorWithoutControl)
            if trust.management and self.model.controls(*reversed(trust.management)):
                raise Refused(trust_errors.ManagementCircle)
            meaning = (trust.actor, trust.target, trust.kind)
            if not trust.is_open and any(
                other.is_open and (other.actor, other.target, other.kind) == meaning
                for other in self.model.trusts.values()
            ):
                raise Refused(trust_errors.TrustAlreadyExists)
            return "trusted"

        was = trust.state
        state, row = self.check(expected, lambda: trusts.accept_trust(actor=self.who(actor), trust_id=trust_id))
        if row is not None:
            assert row.state == state
            if was != "trusted":
                trust.state, trust.withdrawn, trust.accepted_by = "trusted", False, actor

    @precondition(lambda self: self.model.trusts)
    @rule(actor=WALLETS, event=st.sampled_from(["decline", "delete"]), data=st.data())
    def end_trust(self, actor: Any, event: Any, data: Any) -> None:
        self.end(actor, event, self.any_trust(data))

    @precondition(lambda self: self.model.trusts)
    @rule(wallet=WALLETS, event=st.sampled_from(["decline", "delete"]))
    def end_all_control(self, wallet: Any, event: Any) -> None:
        self.end_control_of(wallet, event)

    def end_control_of(self, wallet: Any, event: Any) -> None:
        for trust_id, trust in self.model.trusts.items():
            if trust.state == "trusted" and trust.management and trust.management[1] == wallet:
                self.end(wallet, event, trust_id)
        assert [name for name in NAMES if self.model.controls(name, wallet)] == [wallet]

    def end(self, actor: Any, event: Any, trust_id: Any) -> None:
        trust = self.model.trusts[trust_id]

        def expected() -> Any:
            of_actor, of_target = (self.model.controls(actor, side) for side in (trust.actor, trust.target))
            if not of_actor and not of_target:
                raise Refused(
                    trust_errors.TrustNotCancellable if event == "delete" else trust_errors.TrustNotAnswerable
                )
            deletes = actor == trust.actor or (of_actor and (event == "delete" or not of_target))
            return "cancelled_by_originator" if deletes else "cancelled_by_target"

        state, row = self.check(
            expected, lambda: getattr(trusts, f"{event}_trust")(actor=self.who(actor), trust_id=trust_id)
        )
        if row is not None:
            assert row.state == state
            trust.state, trust.withdrawn = state, trust.withdrawn or state == "cancelled_by_originator"

    @precondition(lambda self: self.model.trusts)
    @rule(actor=WALLETS, wallet=WALLETS, manager=WALLETS)
    def dismiss_manager(self, actor: Any, wallet: Any, manager: Any) -> None:
        def expected() -> None:
            if not self.model.controls(actor, wallet):
                raise Refused(wallet_errors.WalletNotControlled)
            if wallet == manager:
                raise Refused(trust_errors.DismissalOfOneself)

        _, rows = self.check(
            expected,
            lambda: trusts.dismiss_manager(
                actor=self.who(actor), wallet_id=self.who(wallet).pk, manager=self.who(manager).name
            ),
        )
        if rows is not None:
            ended = self.model.dismiss(wallet, manager)
            assert {row.id: row.state for row in rows} == {trust_id: trust.state for trust_id, trust in ended.items()}
            assert not self.model.controls(manager, wallet)

    @precondition(lambda self: self.model.trusts)
    @rule(data=st.data())
    def end_trust_as_operator(self, data: Any) -> None:
        trust_id = self.any_trust(data)
        trust = self.model.trusts[trust_id]

        def expected() -> Any:
            if not trust.is_open:
                raise Refused(trust_errors.TrustNotOpen)
            return "cancelled_by_originator" if trust.kind in ("receive", "yield") else "cancelled_by_target"

        state, row = self.check(expected, lambda: trusts.end_trust(trust_id=trust_id))
        if row is not None:
            assert row.state == state
            trust.state, trust.withdrawn, trust.was_ended_by_operator = state, True, True

    @invariant()
    def the_ledger_holds_what_the_model_holds(self) -> None:
        held = {name: set() for name in NAMES}
        reserved = set()
        for token in Token.objects.filter(pk__in=self.everything):
            held[self.names[token.wallet_id]].add(token.pk)
            if token.transfer_pending_id is not None:
                reserved.add(token.pk)
        assert held == self.model.tokens
        assert reserved == self.model.reserved()

    def teardown(self) -> None:
        if not hasattr(self, "everything"):
            return
        histories = {token: [] for token in self.everything}
        for movement in Movement.objects.filter(token_id__in=self.everything).order_by("number"):
            histories[movement.token_id].append(self.names[movement.destination_id])
        assert histories == self.model.moves
        states = dict(Transfer.objects.filter(pk__in=self.model.transfers).values_list("pk", "state"))
        assert states == {transfer_id: transfer.state for transfer_id, transfer in self.model.transfers.items()}
        trust_states = dict(Trust.objects.filter(pk__in=self.model.trusts).values_list("pk", "state"))
        assert trust_states == {trust_id: trust.state for trust_id, trust in self.model.trusts.items()}
        assert_sound()
