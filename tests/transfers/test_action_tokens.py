"""Claim links: what they reserve, who may do what with them, and what lists, events and counts know of them."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from tests.api.caller import Caller
from tests.transfers.books import assert_sound, books, held_by, let_link_expire
from transfers import action_token_lists, action_tokens, counters, errors, list_counts, operations, queries
from transfers.action_tokens import Wish
from transfers.models import ActionToken, Movement, Transfer
from trusts import operations as trusts
from wallets import errors as wallet_errors
from wallets.models import Event, Token, Wallet


def links() -> list[Any]:
    return list(ActionToken.objects.order_by("id").values())


def counts(wallet: Wallet) -> tuple[int, int]:
    """Return the tokens of a wallet, and those that are reserved."""
    found = counters.token_counts([wallet.pk])[wallet.pk]
    return found.total, found.pending


def offered(caller: Caller, size: int = 2, **wish: Any) -> action_tokens.NewLink:
    [link] = action_tokens.offer_bundles(actor=caller.wallet, sender=None, size=size, wish=Wish(**wish))
    return link


def test_a_link_reserves_its_tokens_and_stores_a_digest_of_its_code(alice: Caller) -> None:
    events = Event.objects.count()
    link = offered(alice, 2, message="for you")

    row = ActionToken.objects.get()
    assert (row.pk, row.token_count, row.state, row.message) == (link.id, 2, "active", "for you")
    assert len(link.code) == 24
    assert link.code.encode() not in bytes(row.digest)
    assert link.code not in repr(link)
    assert row.expires_at - row.created_at == timedelta(days=7)
    assert Token.objects.filter(transfer_pending_id=link.id, wallet=alice.wallet).count() == 2
    assert counts(alice.wallet) == (5, 2)
    # No list, no event, no transfer.
    assert not Transfer.objects.exists()
    assert Event.objects.count() == events
    assert_sound()


def test_each_code_and_each_id_opens_its_own_link(alice: Caller, bob: Caller) -> None:
    """Among several of one wallet and of others, in whatever order they were made."""
    operations.issue_tokens(wallet=bob.wallet, count=5)
    made = [(caller, size, offered(caller, size)) for caller, size in ((alice, 1), (bob, 1), (alice, 2), (bob, 3))]

    for caller, size, link in made:
        row = action_token_lists.described(code=link.code)
        assert (row.id, row.sender_id, row.token_count) == (link.id, caller.wallet.pk, size)
        assert action_token_lists.action_token_visible_to(actor_id=caller.wallet.pk, action_token_id=link.id) == row
        other = (bob if caller is alice else alice).wallet
        with pytest.raises(errors.ActionTokenNotFound):
            action_token_lists.action_token_visible_to(actor_id=other.pk, action_token_id=link.id)
        # Of ids by which tokens are reserved, those of links.
        assert action_token_lists.links_among([link.id, uuid4()]) == {link.id}
    taken = action_tokens.redeem(actor=bob.wallet, code=made[2][2].code)
    assert taken.id == made[2][2].id
    assert {row["id"] for row in links() if row["state"] == "redeemed"} == {made[2][2].id}


def test_a_claim_moves_the_tokens_by_a_transfer_with_the_id_of_the_link(alice: Caller, bob: Caller) -> None:
    link = offered(alice, 2)
    list_counts.roll_up()
    row = action_tokens.redeem(actor=bob.wallet, code=link.code)

    transfer = Transfer.objects.get()
    assert (row.id, row.state) == (link.id, "completed")
    assert (transfer.source_id, transfer.destination_id, transfer.originator_id) == (
        alice.wallet.pk, bob.wallet.pk, bob.wallet.pk,
    )  # fmt: skip
    assert sorted(transfer.parameters["tokens"]) == [str(each) for each in held_by(bob.wallet)]
    assert (counts(alice.wallet), counts(bob.wallet)) == ((3, 0), (2, 0))
    assert Movement.objects.filter(transfer=transfer).count() == 2
    assert ActionToken.objects.get().state == "redeemed"
    assert action_token_lists.described(code=link.code).redeemed_at == transfer.created_at
    list_counts.roll_up()
    assert_sound()


def test_both_sides_get_one_event_that_names_the_giver(alice: Caller, bob: Caller) -> None:
    link = offered(alice, 1)
    action_tokens.redeem(actor=bob.wallet, code=link.code)

    for caller in (alice, bob):
        found = [
            each["payload"]
            for each in caller.get("/events?limit=100").json()["events"]
            if each["type"] == "transfer_completed"
        ]
        assert [(each["walletSender"], each["walletReceiver"]) for each in found] == [("alice", "bobby")]
    [moved] = bob.get(f"/tokens/{held_by(bob.wallet)[0]}/transactions?limit=10").json()["history"]
    assert (moved["sender_wallet"], moved["receiver_wallet"]) == ("alice", "bobby")


def test_a_manager_makes_and_cancels_links_of_its_wallet_and_claims_into_it(
    alice: Caller, bob: Caller, sapling: Wallet
) -> None:
    [link] = action_tokens.offer_bundles(actor=alice.wallet, sender="sapling", size=1)
    assert ActionToken.objects.get().sender_id == sapling.pk
    assert action_tokens.cancel(actor=alice.wallet, action_token_id=link.id).state == "cancelled"
    assert counts(sapling) == (3, 0)

    [gift] = action_tokens.offer_bundles(actor=bob_with(bob, 1), sender=None, size=1)
    row = action_tokens.redeem(actor=alice.wallet, code=gift.code, wallet="sapling")
    transfer = Transfer.objects.get(pk=row.id)
    assert (transfer.destination_id, transfer.originator_id) == (sapling.pk, alice.wallet.pk)
    assert counts(sapling) == (4, 0)
    assert_sound()


def bob_with(bob: Caller, count: int) -> Wallet:
    operations.issue_tokens(wallet=bob.wallet, count=count)
    return bob.wallet


def test_named_tokens_are_those_that_are_claimed(alice: Caller, bob: Caller) -> None:
    chosen = held_by(alice.wallet)[1:3]
    link = action_tokens.offer_tokens(actor=alice.wallet, sender=None, token_ids=chosen)
    action_tokens.redeem(actor=bob.wallet, code=link.code)

    assert held_by(bob.wallet) == chosen
    assert_sound()


def test_a_reserved_token_is_free_for_nothing_else(alice: Caller, bob: Caller) -> None:
    chosen = held_by(alice.wallet)
    action_tokens.offer_tokens(actor=alice.wallet, sender=None, token_ids=chosen[:4])
    before = books(), links()

    refused: list[tuple[type[Exception], Callable[[], Any]]] = [
        (errors.TooFewAvailable, lambda: offered(alice, 2)),
        (errors.TokensCommitted, lambda: named(alice, chosen[3:])),
        (errors.InsufficientTokens, lambda: sent(alice, size=2)),
        (errors.TokenReserved, lambda: sent(alice, token_ids=chosen[:1])),
    ]
    for kind, act in refused:
        with pytest.raises(kind):
            act()
    assert (books(), links()) == before


def named(caller: Caller, token_ids: list[UUID]) -> Any:
    return action_tokens.offer_tokens(actor=caller.wallet, sender=None, token_ids=token_ids)


def sent(caller: Caller, size: int = 0, token_ids: Any = None) -> Any:
    if token_ids:
        return operations.send_tokens(actor=caller.wallet, sender="alice", receiver="bobby", token_ids=token_ids)
    return operations.send_bundle(actor=caller.wallet, sender="alice", receiver="bobby", size=size)


def test_tokens_that_cannot_be_named(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    strange = held_by(bob_with(bob, 1))
    pending = sent(alice, size=1).id
    taken = list(Token.objects.filter(transfer_pending_id=pending).values_list("pk", flat=True))
    before = books(), links()

    for token_ids, kind in (
        ([uuid4()], wallet_errors.TokenNotFound),
        (strange, wallet_errors.WalletNotControlled),
        (held_by(sapling)[:1], errors.TokensOutsideSender),
        (taken, errors.TokensNotTransferable),
    ):
        with pytest.raises(kind):
            named(alice, token_ids)
    assert (books(), links()) == before


def test_who_does_not_control_the_wallet_may_neither_make_nor_see_nor_cancel(alice: Caller, bob: Caller) -> None:
    link = offered(alice)
    before = books(), links()
    with pytest.raises(wallet_errors.WalletNotControlled):
        action_tokens.offer_bundles(actor=bob.wallet, sender="alice", size=1)
    with pytest.raises(errors.ActionTokenNotFound):
        action_tokens.cancel(actor=bob.wallet, action_token_id=link.id)
    with pytest.raises(errors.ActionTokenNotFound):
        action_token_lists.action_token_visible_to(actor_id=bob.wallet.pk, action_token_id=link.id)
    with pytest.raises(wallet_errors.WalletNotControlled):
        action_tokens.redeem(actor=bob.wallet, code=link.code, wallet="alice")
    assert (books(), links()) == before


def test_who_controls_counts_now(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    [link] = action_tokens.offer_bundles(actor=alice.wallet, sender="sapling", size=1)
    trusts.dismiss_manager(actor=sapling, wallet_id=sapling.pk, manager="alice")

    with pytest.raises(errors.ActionTokenNotFound):
        action_tokens.cancel(actor=alice.wallet, action_token_id=link.id)
    assert action_tokens.cancel(actor=sapling, action_token_id=link.id).state == "cancelled"


def test_the_sender_cannot_claim_its_own_link(alice: Caller) -> None:
    link = offered(alice)
    before = books(), links()
    with pytest.raises(errors.SameWallet):
        action_tokens.redeem(actor=alice.wallet, code=link.code)
    assert (books(), links()) == before


@pytest.mark.parametrize(
    ("end", "state", "refusal"),
    [
        (lambda alice, bob, link: action_tokens.redeem(actor=bob.wallet, code=link.code), "redeemed",
         errors.ActionTokenRedeemed),
        (lambda alice, bob, link: action_tokens.cancel(actor=alice.wallet, action_token_id=link.id), "cancelled",
         errors.ActionTokenCancelled),
        (lambda alice, bob, link: let_link_expire(link.id), "expired", errors.ActionTokenExpired),
    ],
    ids=["redeemed", "cancelled", "expired"],
)  # fmt: skip
def test_a_closed_link_stays_closed(alice: Caller, bob: Caller, end: Any, state: Any, refusal: Any) -> None:
    link = offered(alice)
    end(alice, bob, link)

    # A link that was closed before its time stays what it was when its time has passed.
    for later in (lambda: None, lambda: let_link_expire(link.id)):
        later()
        before = books(), links()
        assert action_token_lists.described(code=link.code).state == state
        with pytest.raises(refusal):
            action_tokens.redeem(actor=bob.wallet, code=link.code)
        with pytest.raises(errors.ActionTokenNotActive, match=state):
            action_tokens.cancel(actor=alice.wallet, action_token_id=link.id)
        assert (books(), links()) == before


def test_a_code_neither_begins_nor_ends_with_a_sign(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a spreadsheet `-` begins a formula, and programs leave either sign out of a link that ends with it."""
    codes = iter([f"-{'a' * 23}", f"_{'a' * 23}", f"{'a' * 23}-", f"{'a' * 23}_", f"a-{'a' * 20}_a"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda size: next(codes))

    [link] = action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1)

    assert link.code == f"a-{'a' * 20}_a"


def test_an_unknown_code_is_refused(alice: Caller) -> None:
    offered(alice)
    for code in ("", "x" * 24, "\0", "\ud800"):
        with pytest.raises(errors.ActionTokenNotVerified):
            action_tokens.redeem(actor=alice.wallet, code=code)


def test_the_sweep_expires_what_is_due_and_frees_the_tokens(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_tokens, "_EXPIRED_AT_ONCE", 2)
    made = action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1, count=4)
    for link in made[:3]:
        let_link_expire(link.id)

    assert action_tokens.expire_due() == 3
    assert action_tokens.expire_due() == 0
    assert sorted(ActionToken.objects.values_list("state", flat=True)) == ["active", "expired", "expired", "expired"]
    assert counts(alice.wallet) == (5, 1)
    assert_sound()


def test_a_sweep_leaves_links_that_were_closed_since_it_looked(alice: Caller, bob: Caller) -> None:
    redeemed, cancelled, active = action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1, count=3)
    action_tokens.redeem(actor=bob.wallet, code=redeemed.code)
    action_tokens.cancel(actor=alice.wallet, action_token_id=cancelled.id)
    before = {row["id"]: row for row in links()}

    assert action_tokens.expire(action_token_ids=list(before)) == 1

    after = {row["id"]: row for row in links()}
    assert after.pop(active.id)["state"] == "expired"
    assert after == {key: row for key, row in before.items() if key != active.id}
    assert_sound()


def test_an_address_that_must_match(alice: Caller, bob: Caller) -> None:
    link = offered(alice, 1, recipient_email="Ann@Example.org", email_must_match=True)
    before = books(), links()
    for wrong in ("", "bob@example.org", "ann@example.or"):
        with pytest.raises(errors.ActionTokenForAnother):
            action_tokens.redeem(actor=bob.wallet, code=link.code, email=wrong)
    assert (books(), links()) == before

    assert action_tokens.redeem(actor=bob.wallet, code=link.code, email=" ann@example.ORG ").state == "completed"


def test_an_address_is_informational_otherwise(alice: Caller, bob: Caller) -> None:
    link = offered(alice, 1, recipient_email="ann@example.org")

    assert action_tokens.redeem(actor=bob.wallet, code=link.code, email="bob@example.org").state == "completed"


def test_a_batch_has_links_of_different_tokens(alice: Caller, bob: Caller) -> None:
    made = action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=2, count=2)

    assert len({link.code for link in made}) == 2
    assert [link.token_count for link in made] == [2, 2]
    assert [Token.objects.filter(transfer_pending_id=link.id).count() for link in made] == [2, 2]
    with pytest.raises(errors.TooFewAvailable, match="Wallet does not have 2 tokens available"):
        action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1, count=2)
    assert ActionToken.objects.count() == 2
    assert_sound()


def test_an_expiry_in_the_past_is_refused(alice: Caller) -> None:
    with pytest.raises(errors.ExpiryPassed):
        offered(alice, expires_at=queries.now() - timedelta(seconds=1))
    assert not ActionToken.objects.exists()


def test_the_list_has_the_links_of_all_wallets_that_the_actor_controls(
    alice: Caller, bob: Caller, sapling: Wallet
) -> None:
    own = offered(alice)
    [managed] = action_tokens.offer_bundles(actor=alice.wallet, sender="sapling", size=1)
    action_tokens.offer_bundles(actor=bob_with(bob, 1), sender=None, size=1)
    action_tokens.cancel(actor=alice.wallet, action_token_id=own.id)

    def listed(**selection: Any) -> list[UUID]:
        page = action_token_lists.action_tokens_visible_to(
            actor_id=alice.wallet.pk, **{"limit": 10, "offset": 0, **selection}
        )
        assert page.total == (1 if "state" in selection else 2)
        return [row.id for row in page.rows]

    assert listed() == [managed.id, own.id]
    assert listed(limit=1, offset=1) == [own.id]
    assert listed(state="active") == [managed.id]
    assert listed(state="cancelled") == [own.id]


def test_the_database_keeps_links(alice: Caller, bob: Caller) -> None:
    link = offered(alice)
    for statement in (
        "UPDATE transfers_actiontoken SET token_count = 1",
        "UPDATE transfers_actiontoken SET message = 'other'",
        "UPDATE transfers_actiontoken SET state = 'active'",
        "DELETE FROM transfers_actiontoken",
        f"UPDATE wallets_token SET transfer_pending_id = '{uuid4()}' WHERE transfer_pending_id IS NULL",
    ):
        with pytest.raises(Exception, match=re.compile("claim link")), transaction.atomic(), connection.cursor() as cur:
            cur.execute(statement)
    action_tokens.redeem(actor=bob.wallet, code=link.code)
    with pytest.raises(Exception, match="closed once"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE transfers_actiontoken SET closed_at = now()")


def test_the_links_that_expire_first_are_due_with_no_more_tokens_than_are_freed_at_once(
    alice: Caller, bob: Caller
) -> None:
    made = [offered(alice, size).id for size in (1, 2, 1)]
    closed = offered(alice, 1)
    action_tokens.cancel(actor=alice.wallet, action_token_id=closed.id)
    offered(alice, 1)
    # The last is the first to expire.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for place, link_id in enumerate([*made, closed.id], start=1):
            cursor.execute(
                "UPDATE transfers_actiontoken SET expires_at = now() - %s * interval '1 hour' WHERE id = %s",
                [place, link_id],
            )
    due = made[::-1]

    for links, tokens, number in (
        (10, 10, 3),
        (2, 10, 2),
        (1, 10, 1),
        (10, 0, 1),
        (10, 1, 1),
        (10, 2, 1),
        (10, 3, 2),
        (10, 4, 3),
    ):
        assert action_token_lists.links_due(links=links, tokens=tokens) == due[:number], (links, tokens)
