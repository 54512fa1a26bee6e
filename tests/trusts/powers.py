"""
Every path on which a trust gives a power, as something that can be asked of a world.

A path is asked for each actor and wallet, and answers in one word or a set of names. What it should answer is said by
`Model` alone, from the list of the trusts in force.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import orjson
from django.db import connection, transaction
from django.utils import timezone

from config.api import cached_credentials
from lockers import account_ledger, export_queries, payment_requests, vault
from lockers import queries as locker_queries
from lockers.account_ledger import Posting
from lockers.models import Locker, LockerTask
from lockers.operations import break_coin, export, find, fix, health, import_files, put, take, transfer
from lockers.operations import payment_requests as payments
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, write_bin
from lockers.states import CoinState, FileType, LineType, LockerState, Step, TaskKind, TaskState
from tests.api.caller import Caller, logged_in
from tests.lockers.stock import stock_of_states
from tests.support.restricted_keys import with_key
from transfers import (
    action_token_lists,
    action_tokens,
    approvals,
    bulk,
    counters,
    events,
    list_counts,
    queries,
    token_lists,
    transfer_lists,
)
from transfers import errors as transfers_errors
from transfers import operations as transfers
from transfers.models import Transfer
from transfers.states import TransferEvent
from trusts import controlled_wallets
from trusts import operations as trusts
from trusts import queries as trust_queries
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets import queries as wallet_queries
from wallets.errors import DomainError
from wallets.models import Token, Wallet
from wallets.states import EventType
from webhooks import operations as webhooks
from webhooks import queries as webhook_queries
from webhooks.models import Webhook, WebhookDelivery
from webhooks.sender import deliveries
from webhooks.states import WebhookState

# The two wallets of the trust that is tried, a manager of each, a former manager of both, and a stranger.
SIDES: Final = ("alice", "bobby")
ACTORS: Final = ("alice", "bobby", "mona", "yves", "fred", "steve")
# Who is on the other side of what both wallets wait for.
COUNTERPART: Final = "rita"
UNIT: Final = 10**8
HOOK: Final = "https://shop.example/hook"


@dataclass(frozen=True)
class Model:
    """Who may do what now, from the trusts in force: (request type, actor, target)."""

    in_force: frozenset[tuple[str, str, str]]

    def controls(self, who: str, wallet: str) -> bool:
        return who == wallet or ("manage", who, wallet) in self.in_force or ("yield", wallet, who) in self.in_force

    def may_push(self, giver: str, receiver: str) -> bool:
        return ("send", giver, receiver) in self.in_force or ("receive", receiver, giver) in self.in_force

    def transfer(self, who: str, source: str, destination: str) -> str:
        if self.controls(who, source):
            is_free = self.controls(who, destination) or self.may_push(source, destination)
            return "completed" if is_free else "pending"
        return "requested" if self.controls(who, destination) else "refused"


@dataclass
class World:
    callers: dict[str, Caller]
    # Of each side: its contents and what it waits for, by name.
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    # The trust between the two sides.
    tried: UUID | None = None
    # Of each side: the trust that gives its manager control.
    management: dict[str, UUID] = field(default_factory=dict)
    # The code of a claim link of the counterpart.
    gift: str = ""

    def wallet(self, name: str) -> Wallet:
        wallet = self.callers[name].wallet
        assert wallet is not None
        return wallet


class Asked(NamedTuple):
    """One question: may `who` do it with `wallet`, or between `wallet` and `other`?"""

    world: World
    who: str
    wallet: str
    other: str

    @property
    def actor(self) -> Wallet:
        return self.world.wallet(self.who)

    @property
    def wallet_id(self) -> UUID:
        return self.world.wallet(self.wallet).pk

    def __getitem__(self, name: Any) -> Any:
        return self.world.things[self.wallet][name]

    def send(self, method: str, path: str, body: Any = None) -> str:
        response = self.world.callers[self.who].send(method, path, body)
        assert response.status_code in {200, 401, 403, 404}, response.content
        return "done" if response.status_code == 200 else "refused"


Expected = Callable[[Model, Asked], Any]


class Path(NamedTuple):
    name: str
    # Of the URL conf, as `tests.api.endpoints` writes them.
    endpoints: tuple[str, ...]
    ask: Callable[[Asked], Any]
    expected: Expected
    # Whether it changes something, and must be undone.
    writes: bool
    # Whether it is asked once for each actor, and not for both wallets.
    once: bool

    @property
    def is_between(self) -> bool:
        """Whether it also depends on the other wallet."""
        return self.expected in {as_transfer, as_coin_transfer}

    def answer(self, asked: Asked) -> Any:
        try:
            if not self.writes:
                return self.ask(asked)
            with undone():
                return self.ask(asked)
        except DomainError:
            return "refused"


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        # Like the transaction around a test: operations inside it may roll back by themselves.
        connection.atomic_blocks[-1]._from_testcase = True
        try:
            yield
        finally:
            transaction.set_rollback(True)


PATHS: Final[list[Path]] = []


def controller(model: Model, asked: Asked) -> str:
    return "done" if model.controls(asked.who, asked.wallet) else "refused"


def as_transfer(model: Model, asked: Asked) -> str:
    return model.transfer(asked.who, asked.wallet, asked.other)


def controlled(model: Model, asked: Asked) -> set[str]:
    return {name for name in asked.world.callers if model.controls(asked.who, name)}


def path(
    *endpoints: str, expected: Expected = controller, writes: bool = False, once: bool = False
) -> Callable[[Callable[[Asked], Any]], Callable[[Asked], Any]]:
    def keep(ask: Callable[[Asked], Any]) -> Callable[[Asked], Any]:
        def asked_in_one_word(asked: Asked) -> Any:
            answer = ask(asked)
            return answer if isinstance(answer, str | set) else "done"

        PATHS.append(Path(ask.__name__, endpoints, asked_in_one_word, expected, writes, once))
        return ask

    return keep


def listed(page: wallet_queries.JsonPage) -> list[Any]:
    found: list[Any] = orjson.loads(f"[{page.json}]")
    return found


# Moving tokens between the two.


@path("POST /transfers", expected=as_transfer, writes=True)
def send_a_bundle(asked: Asked) -> str:
    return transfers.send_bundle(actor=asked.actor, sender=asked.wallet, receiver=asked.other, size=1).state


@path("POST /transfers", expected=as_transfer, writes=True)
def send_a_bundle_with_cached_credentials(asked: Asked) -> str:
    caller = asked.world.callers[asked.who]
    guard = cached_credentials.Guard()
    guard.use(wallet_queries.credentials(api_key=caller.api_key or "", bearer=caller.bearer or ""))
    with guard.over(connection):
        row = transfers.send_bundle(actor=asked.actor, sender=asked.wallet, receiver=asked.other, size=1)
    assert guard.has_checked
    return row.state


@path("POST /transfers", expected=as_transfer, writes=True)
def send_listed_tokens(asked: Asked) -> str:
    return transfers.send_tokens(
        actor=asked.actor, sender=asked.wallet, receiver=asked.other, token_ids=[asked["token"]]
    ).state


@path("POST /wallets/batch-transfer", expected=as_transfer, writes=True)
def send_a_batch(asked: Asked) -> str:
    bulk.transfer_batch(actor=asked.actor, sender=asked.wallet, rows=[bulk.Row(2, asked.other, 1)])
    return Transfer.objects.latest("number").state


def to_a_new_wallet(model: Model, asked: Asked) -> str:
    # Who creates a wallet manages it.
    return "completed" if model.controls(asked.who, asked.wallet) else "requested"


@path("POST /wallets/batch-create-wallet", expected=to_a_new_wallet, writes=True)
def send_to_new_wallets_of_a_batch(asked: Asked) -> str:
    bulk.create_batch(actor=asked.actor, sender=asked.wallet, rows=[bulk.Row(2, "sapling", 1)])
    return Transfer.objects.latest("number").state


# Deciding on transfers with a third wallet.


@path("POST /transfers/{transfer_id}/accept", writes=True)
def accept_a_transfer(asked: Asked) -> None:
    transfers.accept(actor=asked.actor, transfer_id=asked["offered"])


@path("POST /transfers/{transfer_id}/decline", writes=True)
def decline_a_pending_transfer(asked: Asked) -> None:
    transfers.decline(actor=asked.actor, transfer_id=asked["offered"])


@path("DELETE /transfers/{transfer_id}", writes=True)
def delete_a_pending_transfer(asked: Asked) -> None:
    transfers.delete(actor=asked.actor, transfer_id=asked["offering"])


@path("POST /transfers/{transfer_id}/fulfill", writes=True)
def fulfill_a_requested_transfer(asked: Asked) -> None:
    transfers.fulfill(actor=asked.actor, transfer_id=asked["asked"])


@path("POST /transfers/{transfer_id}/fulfill", writes=True)
def fulfill_a_requested_transfer_with_chosen_tokens(asked: Asked) -> None:
    transfers.fulfill(actor=asked.actor, transfer_id=asked["asked"], token_ids=[asked["token"]])


@path("POST /transfers/{transfer_id}/decline", writes=True)
def decline_a_requested_transfer(asked: Asked) -> None:
    transfers.decline(actor=asked.actor, transfer_id=asked["asked"])


@path("DELETE /transfers/{transfer_id}", writes=True)
def delete_a_requested_transfer(asked: Asked) -> None:
    transfers.delete(actor=asked.actor, transfer_id=asked["asking"])


# Seeing transfers. Who began one goes on seeing it.


def or_began_it(model: Model, asked: Asked) -> str:
    return "done" if model.controls(asked.who, asked.wallet) or asked.who == "fred" else "refused"


@path("GET /transfers/{transfer_id}")
def see_a_transfer_into_the_wallet(asked: Asked) -> None:
    queries.transfer_visible_to(actor_id=asked.actor.pk, transfer_id=asked["offered"])


@path("GET /transfers/{transfer_id}", expected=or_began_it)
def see_a_transfer_out_of_the_wallet(asked: Asked) -> None:
    queries.transfer_visible_to(actor_id=asked.actor.pk, transfer_id=asked["offering"])


@path("GET /transfers/{transfer_id}")
def be_offered_to_accept_a_transfer(asked: Asked) -> str:
    return _offered(asked, "offered", TransferEvent.ACCEPT)


@path("GET /transfers/{transfer_id}")
def be_offered_to_delete_a_transfer(asked: Asked) -> str:
    return _offered(asked, "offering", TransferEvent.DELETE)


def _offered(asked: Asked, which: str, event: TransferEvent) -> str:
    row = queries.transfer_visible_to(actor_id=asked.actor.pk, transfer_id=asked[which])
    return "done" if event in queries.available_actions(actor_id=asked.actor.pk, row=row) else "refused"


@path("GET /transfers/{transfer_id}/tokens", expected=or_began_it)
def see_the_tokens_of_a_transfer(asked: Asked) -> None:
    token_lists.tokens_of_transfer(actor_id=asked.actor.pk, transfer_id=asked["offering"], limit=9)


@path("GET /transfers/{transfer_id}/proof", expected=or_began_it)
def prove_a_transfer(asked: Asked) -> str:
    return asked.send("GET", f"/transfers/{asked['offering']}/proof")


def its_sides(model: Model, asked: Asked) -> set[str]:
    return {side for side in SIDES if model.controls(asked.who, side)}


def its_sides_and_what_it_began(model: Model, asked: Asked) -> set[str]:
    """The sides of which something is seen, and those of which something is seen that fred began."""
    sides = its_sides(model, asked)
    return sides | {f"{side}, by fred" for side in (SIDES if asked.who == "fred" else sides)}


def _sides_of(rows: list[Any]) -> set[str]:
    return {
        f"{side}, by fred" if row["originating_wallet"] == "fred" else side
        for row in rows
        for side in SIDES
        if side in {row["source_wallet"], row["destination_wallet"]}
    }


@path("GET /transfers", expected=its_sides_and_what_it_began, once=True)
def list_pending_transfers(asked: Asked) -> set[str]:
    return _sides_of(
        listed(
            transfer_lists.transfers_visible_to(
                actor_id=asked.actor.pk, selection=transfer_lists.TransferSelection(state="pending"), limit=99
            )
        )
    )


@path("GET /transfers", expected=its_sides_and_what_it_began, once=True)
def list_the_nearest_transfers(asked: Asked) -> set[str]:
    return _sides_of(listed(transfer_lists.transfers_visible_to(actor_id=asked.actor.pk, limit=99)))


@path("GET /transfers", expected=its_sides_and_what_it_began, writes=True, once=True)
def list_and_count_transfers(asked: Asked) -> set[str]:
    """By time, and as kept for the wallets that it controls now."""
    assert list_counts.roll_up()
    newest_first = transfer_lists.TransferSelection(sort_by="created_at", is_descending=True)
    page = transfer_lists.transfers_visible_to(actor_id=asked.actor.pk, limit=99, selection=newest_first, counts=True)
    assert page.total == len(listed(page))
    return _sides_of(listed(page))


def the_side_and_what_it_began(model: Model, asked: Asked) -> set[str]:
    return its_sides_and_what_it_began(model, asked) & {asked.wallet, f"{asked.wallet}, by fred"}


@path("GET /transfers", expected=the_side_and_what_it_began)
def list_transfers_of_the_wallet(asked: Asked) -> set[str]:
    return _sides_of(
        listed(
            transfer_lists.transfers_visible_to(
                actor_id=asked.actor.pk, selection=transfer_lists.TransferSelection(wallet=asked.wallet), limit=99
            )
        )
    )


@path("GET /wallets/{wallet_id}/pending-transfers")
def sum_up_pending_transfers(asked: Asked) -> None:
    queries.pending_sums(actor_id=asked.actor.pk, wallet_id=asked.wallet_id)


# Approvals. What the wallet itself made awaits one.


def held(asked: Asked) -> UUID:
    Wallet.objects.filter(pk=asked.wallet_id).update(approval_above=0)
    owner = asked.world.wallet(asked.wallet)
    made = transfers.send_bundle(actor=owner, sender=asked.wallet, receiver=COUNTERPART, size=1, credential_id=uuid4())
    return made.id


@path("POST /transfers/{transfer_id}/approve", writes=True)
def approve_a_transfer(asked: Asked) -> None:
    approvals.approve(actor=asked.actor, credential_id=uuid4(), transfer_id=held(asked))


@path("POST /transfers/{transfer_id}/refuse", writes=True)
def refuse_a_transfer(asked: Asked) -> None:
    approvals.refuse(actor=asked.actor, transfer_id=held(asked))


@path("GET /wallets/{wallet_id}/approval")
def see_what_needs_an_approval(asked: Asked) -> None:
    approvals.standing(actor=asked.actor, wallet_id=asked.wallet_id)


@path("PUT /wallets/{wallet_id}/approval", writes=True)
def demand_approvals(asked: Asked) -> None:
    approvals.demand(actor=asked.actor, credential_id=uuid4(), wallet_id=asked.wallet_id, wanted=queries.Demand(5))


# Claim links. The code of a link is the permission to claim; control is asked of the wallet that receives.


@path("POST /action-tokens", "POST /action-tokens/batch", writes=True)
def make_a_claim_link(asked: Asked) -> None:
    action_tokens.offer_bundles(actor=asked.actor, sender=asked.wallet, size=1)


@path("POST /action-tokens", writes=True)
def make_a_claim_link_of_named_tokens(asked: Asked) -> None:
    action_tokens.offer_tokens(actor=asked.actor, sender=asked.wallet, token_ids=[asked["token"]])


@path("POST /action-tokens/redeem", writes=True)
def claim_into_the_wallet(asked: Asked) -> None:
    action_tokens.redeem(actor=asked.actor, code=asked.world.gift, wallet=asked.wallet)


@path("GET /action-tokens/{action_token_id}")
def see_a_claim_link(asked: Asked) -> None:
    action_token_lists.action_token_visible_to(actor_id=asked.actor.pk, action_token_id=asked["link"])


@path("DELETE /action-tokens/{action_token_id}", writes=True)
def cancel_a_claim_link(asked: Asked) -> None:
    action_tokens.cancel(actor=asked.actor, action_token_id=asked["link"])


@path("GET /action-tokens", expected=its_sides, once=True)
def list_claim_links(asked: Asked) -> set[str]:
    page = action_token_lists.action_tokens_visible_to(actor_id=asked.actor.pk, limit=99, offset=0)
    return {row.sender for row in page.rows} - {COUNTERPART}


# Refused but for the wallet itself: the token is not the sender's.
@path("POST /action-tokens", writes=True)
def name_a_token_of_the_wallet_in_a_link_of_ones_own(asked: Asked) -> None:
    try:
        action_tokens.offer_tokens(actor=asked.actor, sender=None, token_ids=[asked["token"]])
    except transfers_errors.TokensOutsideSender:
        # Told only to who controls the wallet.
        return


# Webhooks. The last three are of one whose URL the actor has set.


@path("POST /webhooks", writes=True)
def create_a_webhook(asked: Asked) -> None:
    webhooks.create(actor=asked.actor, url=HOOK, wallet=asked.wallet)


@path("GET /webhooks", expected=its_sides, once=True)
def list_webhooks(asked: Asked) -> set[str]:
    return {
        row.wallet.name for row in webhook_queries.webhooks_visible_to(actor_id=asked.actor.pk, wallet=None, limit=9)
    }


@path("GET /webhooks")
def list_webhooks_of_the_wallet(asked: Asked) -> None:
    webhook_queries.webhooks_visible_to(actor_id=asked.actor.pk, wallet=asked.wallet, limit=9)


@path("GET /webhooks/{webhook_id}", "GET /webhooks/{webhook_id}/deliveries")
def see_a_webhook(asked: Asked) -> None:
    webhook_queries.webhook_visible_to(actor_id=asked.actor.pk, webhook_id=asked["webhook"])


@path("PATCH /webhooks/{webhook_id}", writes=True)
def change_a_webhook(asked: Asked) -> None:
    webhooks.change(actor=asked.actor, webhook_id=asked["webhook"], url=HOOK)


@path("DELETE /webhooks/{webhook_id}", writes=True)
def delete_a_webhook(asked: Asked) -> None:
    webhooks.delete(actor=asked.actor, webhook_id=asked["webhook"])


@path("POST /webhooks/{webhook_id}/rotate-secret", writes=True)
def rotate_the_secret_of_a_webhook(asked: Asked) -> None:
    webhooks.rotate_secret(actor=asked.actor, webhook_id=asked["webhook"])


@path("POST /webhooks/{webhook_id}/test", writes=True)
def test_a_webhook(asked: Asked) -> None:
    webhooks.send_test(actor=asked.actor, webhook_id=asked["webhook"])


@path("POST /webhooks/{webhook_id}/deliveries/{delivery_id}/resend", writes=True)
def resend_a_delivery(asked: Asked) -> None:
    webhooks.resend(actor=asked.actor, webhook_id=asked["webhook"], delivery_id=asked["delivery"])


@path(writes=True)
def keep_a_webhook_enabled(asked: Asked) -> str:
    webhook = _webhook_set_by_the_actor(asked)
    webhooks.disable_without_control()
    webhook.refresh_from_db()
    if webhook.state == WebhookState.DISABLED:
        # An operator cannot enable it either.
        webhooks.enable(webhook)
    return "done"


@path(writes=True)
def be_sent_events(asked: Asked) -> str:
    webhook = _webhook_set_by_the_actor(asked)
    before = webhook.deliveries.count()
    wallets.record_events([(asked.wallet_id, EventType.LOGIN, {})])
    webhooks.fan_out()
    return "done" if webhook.deliveries.count() > before else "refused"


@path(writes=True)
def be_sent_what_is_due(asked: Asked) -> str:
    delivery = webhooks.test(_webhook_set_by_the_actor(asked))
    # Due before the transaction of the test began.
    WebhookDelivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now() - timedelta(hours=1))
    claims = deliveries.claim(healthy=9, failing=9)
    return "done" if delivery.pk in {claim.delivery_id for claim in claims} else "refused"


def _webhook_set_by_the_actor(asked: Asked) -> Webhook:
    Webhook.objects.filter(pk=asked["webhook"]).update(owner=asked.actor)
    return Webhook.objects.get(pk=asked["webhook"])


# Wallets, tokens, events.


@path("GET /wallets/{wallet_id}")
def see_the_wallet(asked: Asked) -> str:
    return asked.send("GET", f"/wallets/{asked.wallet_id}")


@path("GET /wallets/{wallet_id}/balance")
def see_the_balance_of_the_wallet(asked: Asked) -> str:
    return asked.send("GET", f"/wallets/{asked.wallet_id}/balance")


@path("GET /wallets/{wallet_id}/statement")
def see_the_statement_of_the_wallet(asked: Asked) -> str:
    return asked.send("GET", f"/wallets/{asked.wallet_id}/statement")


@path("POST /keys", writes=True)
def see_tokens_with_a_key_for_the_wallet(asked: Asked) -> None:
    program = with_key(asked.world.callers[asked.who], "tokens:read", wallets=[asked.wallet])
    assert program.get(f"/tokens?limit=9&wallet={asked.wallet}").status_code == 200
    assert program.get(f"/tokens?limit=9&wallet={COUNTERPART}").status_code == 403


@path("PATCH /wallets/{wallet_id}", writes=True)
def describe_the_wallet(asked: Asked) -> str:
    return asked.send("PATCH", f"/wallets/{asked.wallet_id}", {"about": "planted in spring"})


@path("PATCH /wallets/{wallet_id}", writes=True)
def describe_the_wallet_by_a_form(asked: Asked) -> None:
    trusts.illustrate_wallet(
        actor=asked.actor, wallet_id=asked.wallet_id, uploads={}, address="", about="planted in spring"
    )


@path("GET /tokens")
def list_tokens(asked: Asked) -> str:
    return asked.send("GET", f"/tokens?limit=9&wallet={asked.wallet}")


@path("GET /tokens/{token_id}")
def see_a_token(asked: Asked) -> str:
    return asked.send("GET", f"/tokens/{asked['token']}")


@path("GET /tokens/{token_id}/proof")
def prove_the_history_of_a_token(asked: Asked) -> str:
    return asked.send("GET", f"/tokens/{asked['token']}/proof")


@path("GET /tokens/{token_id}/transactions")
def see_the_history_of_a_token(asked: Asked) -> None:
    token_id = asked["token"]
    token_lists.token_history(actor_id=asked.actor.pk, token_id=token_id, as_sent=str(token_id), limit=9)


@path("GET /wallets", expected=controlled, once=True)
def list_wallets(asked: Asked) -> set[str]:
    return {each["name"] for each in listed(counters.wallets_page(actor_id=asked.actor.pk, limit=99))}


@path("GET /wallets", expected=controlled, once=True)
def list_wallets_behind_the_first_page(asked: Asked) -> set[str]:
    after = [False, "2000-01-01T00:00:00Z", str(UUID(int=0))]
    return {each["name"] for each in listed(counters.wallets_page(actor_id=asked.actor.pk, limit=99, after=after))}


@path("GET /wallets", expected=controlled, once=True)
def list_wallets_in_another_order(asked: Asked) -> set[str]:
    selection = controlled_wallets.WalletSelection(controlled_wallets.WalletOrder.NAME, has_name=True)
    page = counters.wallets_page(actor_id=asked.actor.pk, limit=99, selection=selection, has_total=True)
    names = {each["name"] for each in listed(page)}
    newest_first = controlled_wallets.WalletSelection(controlled_wallets.WalletOrder.CREATED_AT, is_descending=True)
    page = counters.wallets_page(actor_id=asked.actor.pk, limit=99, selection=newest_first, has_total=True)
    assert {each["name"] for each in listed(page)} == names
    assert page.total == len(names)
    return names


@path("GET /events")
def list_events_of_the_wallet(asked: Asked) -> None:
    events.page_of(events.wallets_of(actor_id=asked.actor.pk, wallet=asked.wallet), limit=9)


@path("GET /events", expected=controlled, once=True)
def list_events(asked: Asked) -> set[str]:
    names = {asked.world.wallet(name).pk: name for name in asked.world.callers}
    rows, _ = events.page_of(events.wallets_of(actor_id=asked.actor.pk, wallet=None), limit=999)
    return {names[row.wallet_id] for row in rows}


# Trusts with a third wallet.


@path("GET /trust_relationships/{trust_relationship_id}")
def see_a_trust_that_asks_the_wallet(asked: Asked) -> str:
    return asked.send("GET", f"/trust_relationships/{asked['incoming']}")


@path("GET /trust_relationships/{trust_relationship_id}", expected=or_began_it)
def see_a_trust_that_the_wallet_asked_for(asked: Asked) -> None:
    trust_queries.trust_visible_to(actor_id=asked.actor.pk, trust_id=asked["outgoing"])


def a_side(model: Model, asked: Asked) -> str:
    if asked.world.tried is None:
        return "there is none"
    return "done" if any(model.controls(asked.who, side) for side in SIDES) else "refused"


@path("GET /trust_relationships/{trust_relationship_id}", expected=a_side, once=True)
def see_the_trust_between_the_two(asked: Asked) -> str:
    if asked.world.tried is None:
        return "there is none"
    trust_queries.trust_visible_to(actor_id=asked.actor.pk, trust_id=asked.world.tried)
    return "done"


@path("GET /trust_relationships", expected=its_sides_and_what_it_began, once=True)
def list_trusts(asked: Asked) -> set[str]:
    rows = asked.world.callers[asked.who].get("/trust_relationships?limit=99").json()["trust_relationships"]
    names = {asked.world.things[side]["incoming"]: side for side in SIDES}
    names |= {asked.world.things[side]["outgoing"]: f"{side}, by fred" for side in SIDES}
    listed = {UUID(row["id"]) for row in rows}
    return {names[trust_id] for trust_id in listed & set(names)}


@path("GET /trust_relationships", expected=its_sides_and_what_it_began, once=True)
def list_trusts_in_another_order(asked: Asked) -> set[str]:
    rows = asked.world.callers[asked.who].get("/wallet/v2/trust_relationships").json()["trust_relationships"]
    names = {asked.world.things[side]["incoming"]: side for side in SIDES}
    names |= {asked.world.things[side]["outgoing"]: f"{side}, by fred" for side in SIDES}
    return {names[UUID(row["id"])] for row in rows if UUID(row["id"]) in names}


@path("GET /wallets/{wallet_id}/trust_relationships")
def list_trusts_of_the_wallet_in_another_order(asked: Asked) -> str:
    return asked.send("GET", f"/wallets/{asked.wallet_id}/trust_relationships?limit=9&sort_by=state")


@path("GET /wallets/{wallet_id}/trust_relationships")
def list_trusts_of_the_wallet(asked: Asked) -> str:
    return asked.send("GET", f"/wallets/{asked.wallet_id}/trust_relationships?limit=9")


@path("POST /trust_relationships", writes=True)
def ask_for_a_trust_in_its_name(asked: Asked) -> None:
    trusts.request_trust(
        actor=asked.actor, request_type=TrustRequestType.MANAGE, requestee="zora", requester=asked.wallet
    )


@path("POST /trust_relationships", writes=True)
def ask_for_a_trust_in_its_name_as_the_later_version_does(asked: Asked) -> None:
    trusts.request_trust(
        actor=asked.actor,
        request_type=TrustRequestType.MANAGE,
        requestee="zora",
        requester=asked.wallet,
        within_management=False,
    )


@path("POST /trust_relationships/{trust_relationship_id}/accept", writes=True)
def accept_a_trust(asked: Asked) -> None:
    trusts.accept_trust(actor=asked.actor, trust_id=asked["incoming"])


@path("POST /trust_relationships/{trust_relationship_id}/accept", writes=True)
def accept_a_manager(asked: Asked) -> None:
    trusts.accept_trust(actor=asked.actor, trust_id=asked["managing"])


@path("POST /trust_relationships/{trust_relationship_id}/decline", writes=True)
def decline_a_trust(asked: Asked) -> None:
    trusts.decline_trust(actor=asked.actor, trust_id=asked["incoming"])


@path("DELETE /trust_relationships/{trust_relationship_id}", writes=True)
def delete_a_trust(asked: Asked) -> None:
    trusts.delete_trust(actor=asked.actor, trust_id=asked["outgoing"])


@path("POST /wallets/{wallet_id}/dismiss", writes=True)
def dismiss_a_manager(asked: Asked) -> None:
    trusts.dismiss_manager(actor=asked.actor, wallet_id=asked.wallet_id, manager="zora")


# Coins.


def as_coin_transfer(model: Model, asked: Asked) -> str:
    # Coins do not wait for consent.
    return "done" if as_transfer(model, asked) == "completed" else "refused"


@path("POST /api/v1/transfer", expected=as_coin_transfer, writes=True)
def transfer_coins(asked: Asked) -> None:
    transfer.start(actor=asked.actor, source=asked.wallet, destination=asked.other, units=UNIT)


@path("POST /api/v1/locker", "POST /api/transactions/locker/upload", writes=True)
def put_coins_into_a_locker(asked: Asked) -> None:
    put.start(actor=asked.actor, name=asked.wallet, units=UNIT)


@path("POST /api/transactions/locker/put-one-coin", writes=True)
def put_one_coin_into_a_locker(asked: Asked) -> None:
    put.start_one_coin(actor=asked.actor, name=asked.wallet, denomination=0)


@path("POST /api/v1/locker/take", "POST /api/v1/locker/{code}", "POST /api/transactions/locker/download", writes=True)
def take_out_of_a_locker(asked: Asked) -> None:
    take.start(actor=asked.actor, name=asked.wallet, code="A-CODE-THAT-IS-LONG-ENOUGH")


@path("POST /api/v1/import", writes=True)
def import_coins(asked: Asked) -> None:
    record = CoinRecord(WireCoin(0, 4711), ans=vault.fresh_numbers())
    import_files.start(actor=asked.actor, name=asked.wallet, uploads=[("one.bin", write_bin([record]))])


@path("POST /api/v1/find", writes=True)
def find_coins(asked: Asked) -> None:
    find.start(actor=asked.actor, name=asked.wallet)


@path("POST /api/v1/fix", writes=True)
def fix_coins(asked: Asked) -> None:
    fix.start(actor=asked.actor, name=asked.wallet)


@path("POST /api/v1/health", writes=True)
def check_coins(asked: Asked) -> None:
    health.start(actor=asked.actor, name=asked.wallet)


@path("POST /api/v1/break", writes=True)
def break_a_coin(asked: Asked) -> None:
    break_coin.start(actor=asked.actor, name=asked.wallet, denomination=0)


@path("POST /api/v1/export", writes=True)
def export_coins(asked: Asked) -> None:
    export.start(actor=asked.actor, name=asked.wallet, units=UNIT, file_type=FileType.BIN)


@path("GET /api/v1/exports/{export_id}")
def see_an_export(asked: Asked) -> None:
    export_queries.export_visible_to(actor=asked.actor, export_id=asked["export"])


@path("GET /api/v1/exports/{export_id}/file", writes=True)
def fetch_an_export(asked: Asked) -> None:
    export.fetch(actor=asked.actor, export_id=asked["export"])


@path("POST /api/v1/exports/{export_id}/confirm", writes=True)
def confirm_an_export(asked: Asked) -> None:
    export.confirm(actor=asked.actor, export_id=asked["export"])


@path("POST /api/v1/exports/{export_id}/recall", writes=True)
def recall_an_export(asked: Asked) -> None:
    export.recall(actor=asked.actor, export_id=asked["export"])


@path("GET /api/v1/exports", expected=its_sides, once=True)
def list_exports(asked: Asked) -> set[str]:
    return {row.export.wallet.name for row in export_queries.exports_page(actor=asked.actor, limit=9)}


@path("POST /api/v1/payment-requests", writes=True)
def ask_to_be_paid(asked: Asked) -> None:
    payments.create(actor=asked.actor, name=asked.wallet, units=UNIT, description="a tree")


@path("GET /api/v1/payment-requests", expected=its_sides, once=True)
def list_payment_requests(asked: Asked) -> set[str]:
    rows = payment_requests.page(actor=asked.actor, filters=payment_requests.Filters(), limit=9)
    return {row.request.wallet.name for row in rows} - {COUNTERPART}


@path("GET /api/v1/payment-requests")
def list_payment_requests_of_the_wallet(asked: Asked) -> None:
    payment_requests.page(actor=asked.actor, filters=payment_requests.Filters(wallet=asked.wallet), limit=9)


@path("GET /api/v1/payment-requests/{payment_request_id}")
def see_the_payments_of_a_request(asked: Asked) -> str:
    seen = payment_requests.view_for(actor=asked.actor, request_id=asked["payment request"])
    return "refused" if seen.payments is None else "done"


@path("DELETE /api/v1/payment-requests/{payment_request_id}", writes=True)
def cancel_a_payment_request(asked: Asked) -> None:
    payments.cancel(actor=asked.actor, request_id=asked["payment request"])


@path("POST /api/v1/payment-requests/{payment_request_id}/pay", writes=True)
def pay_from_the_wallet(asked: Asked) -> None:
    payments.pay(actor=asked.actor, request_id=asked["asked to pay"], name=asked.wallet)


@path("GET /api/v1/lockers", expected=its_sides, once=True)
def list_lockers(asked: Asked) -> set[str]:
    return {row.locker.wallet.name for row in locker_queries.lockers_page(actor=asked.actor, limit=9)}


@path("POST /api/v1/lockers/{locker_id}/code")
def read_the_code_of_a_locker(asked: Asked) -> None:
    locker_queries.locker_code(actor=asked.actor, locker_id=asked["locker"])


@path("GET /api/v1/task/{task_id}", "GET /api/system/tasks")
def see_a_task(asked: Asked) -> None:
    locker_queries.task_visible_to(actor=asked.actor, task_id=asked["task"])


@path("GET /api/v1/receipts/{receipt_id}")
def see_a_receipt(asked: Asked) -> None:
    locker_queries.receipt_visible_to(actor=asked.actor, receipt_id=asked["receipt"])


@path("GET /api/v1/transactions/{name}/{receipt_id}")
def see_a_receipt_of_the_wallet(asked: Asked) -> None:
    locker_queries.receipt_visible_to(actor=asked.actor, receipt_id=asked["receipt"], name=asked.wallet)


@path("GET /api/v1/wallets", expected=controlled, once=True)
def list_wallets_with_coins(asked: Asked) -> set[str]:
    return {wallet.name for wallet in locker_queries.wallets_of(actor=asked.actor)}


@path("GET /api/v1/wallets/{name}", "GET /api/v1/wallets/{name}/statement", "GET /api/wallets/balance")
def see_the_coins_of_the_wallet(asked: Asked) -> None:
    locker_queries.wallet_of(actor=asked.actor, name=asked.wallet)


# The world.


def agreed(asking: Wallet, kind: str, asked: Wallet) -> UUID:
    row = trusts.request_trust(actor=asking, request_type=TrustRequestType(kind), requestee=asked.name)
    return trusts.accept_trust(actor=asked, trust_id=row.id).id


def build(api_key: str) -> tuple[World, Model]:
    """The two wallets, that have no trust with each other, and all that can be asked for about them."""
    callers = {name: logged_in(name, api_key) for name in (*ACTORS, COUNTERPART, "zora")}
    world = World(callers)
    rita, fred = world.wallet(COUNTERPART), world.wallet("fred")
    transfers.issue_tokens(wallet=rita, count=7)
    world.gift = action_tokens.offer_bundles(actor=rita, sender=None, size=1)[0].code
    for number, side in enumerate(SIDES):
        wallet = world.wallet(side)
        transfers.issue_tokens(wallet=wallet, count=7)
        former = agreed(fred, "manage", wallet)
        things: dict[str, Any] = {
            "offered": transfers.send_bundle(actor=rita, sender=rita.name, receiver=side, size=1).id,
            "offering": transfers.send_bundle(actor=fred, sender=side, receiver=rita.name, size=1).id,
            "asked": transfers.send_bundle(actor=rita, sender=side, receiver=rita.name, size=1).id,
            "asking": transfers.send_bundle(actor=wallet, sender=rita.name, receiver=side, size=1).id,
            "link": action_tokens.offer_bundles(actor=wallet, sender=None, size=1)[0].id,
            "token": Token.objects.filter(wallet=wallet, transfer_pending_id=None).first().pk,
            "incoming": trusts.request_trust(actor=rita, request_type=TrustRequestType.SEND, requestee=side).id,
            "outgoing": trusts.request_trust(
                actor=fred, request_type=TrustRequestType.SEND, requester=side, requestee=rita.name
            ).id,
            "managing": trusts.request_trust(
                actor=world.wallet("zora"), request_type=TrustRequestType.MANAGE, requestee=side
            ).id,
            **_webhook_of(wallet),
            "payment request": _asks(wallet),
            "asked to pay": _asks(rita),
            **_coins_of(wallet, first=10 * number + 1),
        }
        trusts.decline_trust(actor=wallet, trust_id=former)
        world.things[side] = things
    world.management = {
        "alice": agreed(world.wallet("mona"), "manage", world.wallet("alice")),
        "bobby": agreed(world.wallet("bobby"), "yield", world.wallet("yves")),
    }
    return world, Model(frozenset({("manage", "mona", "alice"), ("yield", "bobby", "yves")}))


def _webhook_of(wallet: Wallet) -> dict[str, Any]:
    webhook = webhooks.create(actor=wallet, url=HOOK).webhook
    return {"webhook": webhook.pk, "delivery": webhooks.send_test(actor=wallet, webhook_id=webhook.pk).pk}


def _asks(payee: Wallet) -> UUID:
    return payments.create(actor=payee, name=None, units=UNIT, description="a tree").pk


def _coins_of(wallet: Wallet, *, first: int) -> dict[str, Any]:
    locker = Locker(wallet=wallet, amount=UNIT, state=LockerState.FILLED)
    locker.code = vault.seal_locker_code(f"A-CODE-OF-{wallet.name}", locker_id=locker.pk)
    locker.save(force_insert=True)
    states = [CoinState.BANK] * 3 + [CoinState.FRACKED, CoinState.LIMBO, CoinState.LOCKED]
    stock_of_states(wallet, *states, first=first, locker=locker)
    now = timezone.now()
    task = LockerTask.objects.create(
        kind=TaskKind.PUT,
        wallet=wallet,
        actor=wallet,
        state=TaskState.COMPLETED,
        step=Step.DONE,
        progress=100,
        locker=locker,
        receipt_id=uuid4().hex,
        deadline=now,
        finished_at=now,
        result={"total_stored": UNIT, "total_failed": 0},
    )
    account_ledger.post(task_id=task.pk, postings=[Posting(wallet.pk, 4 * UNIT, LineType.IMPORTED)])
    exported = export.start(actor=wallet, name=wallet.name, units=UNIT, file_type=FileType.BIN)
    return {"task": task.pk, "receipt": task.receipt_id, "locker": locker.pk, "export": exported.task.pk}
