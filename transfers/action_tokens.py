"""
Claim links: tokens for a person without a wallet.

The names are those of the public service's next edition, "action tokens". A link reserves tokens of its sender; anyone
who has its code claims them into a wallet, once. See `models.ActionToken` for why it is not a transfer.

The row of the link is locked before anything is decided, and the time is read after the lock: of a claim, a
cancellation and the expiry one happens, and the others find it done. Each is one statement of the ledger in one
transaction. Locks: link, then trust, then tokens by (lot, id).
"""

import hmac
import re
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from transfers import errors, ledger, queries
from transfers.action_token_lists import ActionTokenRow, action_token_visible_to, links_among, links_due
from transfers.ids import new_id
from transfers.link_terms import LinkTerms, OfferedLink
from transfers.models import ActionToken
from transfers.operations import TooFew, attempt
from transfers.states import ActionTokenState
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import queries as wallet_queries
from wallets import restricted_keys
from wallets.deadlocks import retry_on_deadlock
from wallets.models import Wallet

# 24 characters of base64url: over 143 random bits, since not all of them are used.
_CODE_BYTES: Final = 18
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{24}")
MAXIMUM_LINKS: Final = 1_000
# Maximum attempts when listed tokens become free between check and lock.
_ATTEMPTS: Final = 3
# The links and tokens of one batch that expires, at most, and the batches of one run.
_EXPIRED_AT_ONCE: Final = 100
_FREED_AT_ONCE: Final = 25_000
_BATCHES: Final = 100


class Wish(NamedTuple):
    """What a link has beside its tokens. Without `expires_at` it expires after `COPPICE_CLAIM_LINK_HOURS`."""

    recipient_email: str = ""
    email_must_match: bool = False
    message: str = ""
    expires_at: datetime | None = None


class NewLink(NamedTuple):
    """A link that was created. This is the only place that has its code."""

    id: UUID
    code: str
    expires_at: datetime
    token_count: int

    def __repr__(self) -> str:
        return f"NewLink(id={self.id!r})"


@retry_on_deadlock
def offer_bundles(
    *, actor: Wallet, sender: str | None, size: int, count: int = 1, wish: Wish | None = None
) -> list[NewLink]:
    """
    Create `count` links, each of `size` tokens of the ledger's choice.

    `sender` is a name or an id; None is the actor's wallet.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such sender
    :raises wallets.errors.WalletNotControlled: the actor does not control the sender
    :raises transfers.errors.ExpiryPassed: the expiry is not in the future
    :raises transfers.errors.LinkNeedsApproval: the sender demands an approval for such a transfer
    :raises transfers.errors.TooFewAvailable: the sender has fewer free tokens
    """
    codes = {new_id(): _new_code() for _ in range(count)}
    digests = [wallet_queries.digest(code) for code in codes.values()]
    with transaction.atomic(savepoint=False):
        terms = _terms(actor, sender, wish or Wish(), size=size)
        for wait in (False, True):
            with attempt():
                offered = ledger.offer_bundle(terms=terms, ids=list(codes), digests=digests, each=size, wait=wait)
                if offered:
                    restricted_keys.spend(*(link.token_count for link in offered))
                    return _created(offered, codes)
                raise TooFew
    raise errors.TooFewAvailable(size * count)


@retry_on_deadlock
def offer_tokens(*, actor: Wallet, sender: str | None, token_ids: Sequence[UUID], wish: Wish | None = None) -> NewLink:
    """
    Create a link of exactly these tokens. `sender` is a name or an id; None is the actor's wallet.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such sender
    :raises wallets.errors.WalletNotControlled: the actor does not control the sender, or the wallet of a token
    :raises wallets.errors.TokenNotFound: no such token
    :raises transfers.errors.ExpiryPassed: the expiry is not in the future
    :raises transfers.errors.LinkNeedsApproval: the sender demands an approval for such a transfer
    :raises transfers.errors.TokensOutsideSender: tokens are in other wallets
    :raises transfers.errors.TokensCommitted: other links reserve tokens
    :raises transfers.errors.TokensNotTransferable: transfers reserve tokens
    """
    codes = {new_id(): _new_code()}
    [(link_id, code)] = codes.items()
    with transaction.atomic(savepoint=False):
        terms = _terms(actor, sender, wish or Wish(), size=len(token_ids))
        for _ in range(_ATTEMPTS):
            with attempt():
                offered = ledger.offer_listed(
                    terms=terms, link_id=link_id, digest=wallet_queries.digest(code), token_ids=token_ids
                )
                if offered:
                    restricted_keys.spend(len(token_ids))
                    return _created(offered, codes)[0]
                _refuse_tokens(actor=actor, sender_id=terms.sender_id, token_ids=token_ids)
                raise TooFew
    raise errors.TooFewAvailable(len(token_ids))


def has_form_of_code(text: str) -> bool:
    """Return whether a text may be the code of a link; the transmit codes that the service makes are shorter."""
    return _CODE.fullmatch(text) is not None


def _new_code() -> str:
    """
    Return a random code that neither begins nor ends with `-` or `_`.

    A spreadsheet takes a cell that begins with a hyphen for a formula, and many programs leave either out of a link
    that ends with it.
    """
    while (code := secrets.token_urlsafe(_CODE_BYTES)).strip("-_") != code:
        pass
    return code


def _terms(actor: Wallet, sender: str | None, wish: Wish, *, size: int) -> LinkTerms:
    """
    Resolve the sender, and lock what lets the actor act for it until the transaction ends.

    `size` are the tokens of one link. The receiver of each is one to which the sender may never have sent.
    """
    wallet = actor if sender is None else wallet_queries.wallet_by_name_or_id(sender)
    _authorise(actor, wallet.pk)
    demand = queries.demand_of(wallet_id=wallet.pk)
    if demand.new_receivers or (demand.above is not None and size > demand.above):
        raise errors.LinkNeedsApproval
    if wish.expires_at is not None and wish.expires_at <= queries.now():
        raise errors.ExpiryPassed
    return LinkTerms(
        originator_id=actor.pk,
        sender_id=wallet.pk,
        recipient_email=wish.recipient_email,
        email_must_match=wish.email_must_match,
        message=wish.message,
        expires_at=wish.expires_at,
        lifetime=timedelta(hours=settings.CLAIM_LINK_HOURS),
    )


def _authorise(actor: Wallet, wallet_id: UUID) -> None:
    if not trust_queries.controls_until_commit(actor_id=actor.pk, wallet_id=wallet_id):
        raise wallet_errors.WalletNotControlled("Wallet does not belong to the logged in wallet")


def _created(offered: Sequence[OfferedLink], codes: dict[UUID, str]) -> list[NewLink]:
    by_id = {each.id: each for each in offered}
    return [NewLink(each, code, by_id[each].expires_at, by_id[each].token_count) for each, code in codes.items()]


def _refuse_tokens(*, actor: Wallet, sender_id: UUID, token_ids: Sequence[UUID]) -> None:
    """Raise for unknown tokens, else for tokens elsewhere, else for reserved ones; return if all are free."""
    found = queries.locate_tokens(token_ids=token_ids)
    for token_id in token_ids:
        if token_id not in found:
            raise wallet_errors.TokenNotFound(f"can not found token by id:{token_id}")
    elsewhere = [token_id for token_id in token_ids if found[token_id][0] != sender_id]
    for holder_id in {found[token_id][0] for token_id in elsewhere}:
        if not trust_queries.controls(actor_id=actor.pk, wallet_id=holder_id):
            raise wallet_errors.WalletNotControlled("Have no permission to visit this token")
    if elsewhere:
        raise errors.TokensOutsideSender(elsewhere)
    reserved = {token_id: reserved_by for token_id in token_ids if (reserved_by := found[token_id][1]) is not None}
    links = links_among(list(reserved.values()))
    if committed := [token_id for token_id, reserved_by in reserved.items() if reserved_by in links]:
        raise errors.TokensCommitted(committed)
    if reserved:
        raise errors.TokensNotTransferable(list(reserved))


@retry_on_deadlock
@sensitive_variables("code")
def redeem(*, actor: Wallet, code: str, wallet: str | None = None, email: str = "") -> queries.TransferRow:
    """
    Claim the tokens of a link into a wallet that the actor controls, and return the completed transfer.

    `wallet` is a name or an id; None is the actor's wallet. `email` is compared if the link asks for it.

    :raises transfers.errors.ActionTokenNotVerified: no link has the code
    :raises transfers.errors.ActionTokenExpired: its time has passed
    :raises transfers.errors.ActionTokenCancelled: its sender cancelled it
    :raises transfers.errors.ActionTokenRedeemed: it was claimed already
    :raises transfers.errors.ActionTokenForAnother: it asks for another e-mail address
    :raises transfers.errors.SameWallet: the wallet is its sender
    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control the wallet
    """
    target = actor if wallet is None else wallet_queries.wallet_by_name_or_id(wallet)
    with transaction.atomic(savepoint=False):
        link = _lock(digest=wallet_queries.digest(code))
        if link is None:
            raise errors.ActionTokenNotVerified
        _refuse_closed(link)
        if link.email_must_match and not is_same_address(email, link.recipient_email):
            raise errors.ActionTokenForAnother
        _authorise(actor, target.pk)
        if target.pk == link.sender_id:
            raise errors.SameWallet
        if not ledger.redeem(link_id=link.pk, actor_id=actor.pk, destination_id=target.pk, size=link.token_count):
            raise AssertionError(f"claim link {link.pk} does not hold what it reserved")
        restricted_keys.spend(link.token_count)
        return queries.transfer_as_created(transfer_id=link.pk)


def is_same_address(given: str, wanted: str) -> bool:
    """Return whether two e-mail addresses are the same but for case and outer white space, in constant time."""
    forms = [unicodedata.normalize("NFKC", each.strip()).casefold().encode() for each in (given, wanted)]
    return hmac.compare_digest(*forms)


@retry_on_deadlock
def cancel(*, actor: Wallet, action_token_id: UUID) -> ActionTokenRow:
    """
    Cancel an active link whose sender the actor controls, free its tokens, and return it.

    :raises transfers.errors.ActionTokenNotFound: no such link, or the actor does not control its sender
    :raises transfers.errors.ActionTokenNotActive: it is closed, or has expired
    """
    with transaction.atomic(savepoint=False):
        link = _lock(pk=action_token_id)
        if link is None or not trust_queries.controls_until_commit(actor_id=actor.pk, wallet_id=link.sender_id):
            raise errors.ActionTokenNotFound
        cancel_locked(link, actor_id=actor.pk)
        return action_token_visible_to(actor_id=actor.pk, action_token_id=action_token_id)


def cancel_locked(link: ActionToken, *, actor_id: UUID | None) -> None:
    """
    Cancel a link that the caller has locked and authorised. `actor_id` is None if an operator cancels it.

    :raises transfers.errors.ActionTokenNotActive: it is closed, or has expired
    """
    state = _state(link)
    if state is not ActionTokenState.ACTIVE:
        raise errors.ActionTokenNotActive(state.value)
    if not ledger.withdraw(link_ids=[link.pk], actor_id=actor_id, state=ActionTokenState.CANCELLED):
        raise AssertionError(f"claim link {link.pk} is not what was locked")


def _lock(**which: object) -> ActionToken | None:
    return ActionToken.objects.select_for_update(no_key=True).filter(**which).first()


def _state(link: ActionToken) -> ActionTokenState:
    """Return the state of a locked link. One whose time has passed is expired, even if the sweep has not closed it."""
    state = ActionTokenState(link.state)
    # The time is read after the lock: an event that waited for it until the expiry comes too late.
    if state is ActionTokenState.ACTIVE and link.expires_at <= queries.now():
        return ActionTokenState.EXPIRED
    return state


def _refuse_closed(link: ActionToken) -> None:
    match _state(link):
        case ActionTokenState.EXPIRED:
            raise errors.ActionTokenExpired
        case ActionTokenState.CANCELLED:
            raise errors.ActionTokenCancelled
        case ActionTokenState.REDEEMED:
            raise errors.ActionTokenRedeemed


@retry_on_deadlock
def expire(*, action_token_ids: Sequence[UUID]) -> int:
    """
    Expire active links: their tokens are free again. Return how many.

    One transaction for all. Those that are closed already, or that another transaction is deciding on, are left out.
    """
    with transaction.atomic(savepoint=False):
        return len(ledger.withdraw(link_ids=action_token_ids, actor_id=None, state=ActionTokenState.EXPIRED))


def expire_due() -> int:
    """
    Expire the links whose time has passed, in batches of one transaction each, and return how many.

    If it is interrupted, whole batches are done, and the next call does the rest.
    """
    done = 0
    for _ in range(_BATCHES):
        due = links_due(links=_EXPIRED_AT_ONCE, tokens=_FREED_AT_ONCE)
        expired = expire(action_token_ids=due) if due else 0
        done += expired
        if not expired:
            break
    return done
