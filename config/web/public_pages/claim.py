"""
The page `/claim`, which opens a claim link.

The code is in the fragment of the link, which browsers do not send. A script puts it into a form; without scripts the
visitor pastes the link. From then on the code is in the bodies of forms. The visitor claims into a wallet, with its
name and password in the form of the claim, or into a new one with a password chosen there.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from config.api import claim_limits
from config.api.errors import RequestRefused
from config.api.pools import Pool, answered_on
from config.web.addresses import client_address
from config.web.public_pages import base, new_wallets
from transfers import action_token_lists, action_tokens, errors, queries
from transfers.action_token_lists import ActionTokenRow
from transfers.states import ActionTokenState
from wallets import errors as wallet_errors
from wallets import names, operations, passwords
from wallets.errors import DomainError
from wallets.models import Wallet

# What is before the code in a link to this page.
_LINK: Final = re.compile(r"\S*?/claim/?#")
_OPEN: Final = "Open a link"
_UNKNOWN: Final = "No link has this code. Check that it is complete."
_ENDED: Final = {
    ActionTokenState.REDEEMED: "These trees have been claimed already.",
    ActionTokenState.CANCELLED: "This link was cancelled. Ask the sender for a new one.",
    ActionTokenState.EXPIRED: "This link has expired. Ask the sender for a new one.",
}
# The domain's own words are for programs.
WORDS: Final[dict[type[DomainError], str]] = {
    errors.ActionTokenForAnother: "This link is for another e-mail address.",
    errors.SameWallet: "The sender cannot claim the trees. Choose another wallet.",
    wallet_errors.InvalidCredentials: base.WRONG_LOGIN,
    wallet_errors.WalletNameTaken: "Another wallet has this name. Choose another one.",
    wallet_errors.WalletNameLength: "The name of a wallet has 3 to 254 characters.",
    wallet_errors.MisleadingWalletName: "A wallet cannot have this name. Choose another one.",
    wallet_errors.InvalidWalletName: "The name of a wallet has no blanks.",
}


class _Opened(NamedTuple):
    """A link that the visitor has opened, and its code."""

    code: str
    link: ActionTokenRow


@base.secrets_in_form
@require_http_methods(["GET", "HEAD", "POST"])
def open_link(request: HttpRequest) -> HttpResponse:
    """Show the form for the code of a link, or the link whose code was sent."""
    if request.method != "POST":
        return base.page(request, "public/claim.html", {"title": _OPEN})
    return _with_link(request, lambda opened: _page(request, opened))


@answered_on(Pool.PASSWORDS)
@base.secrets_in_form
@require_POST
def claim_into_wallet(request: HttpRequest) -> HttpResponse:
    """Claim the tokens of a link into the wallet whose name and password the form has."""

    def act(opened: _Opened) -> HttpResponse:
        wallet = base.log_in(request)
        try:
            with transaction.atomic():
                operations.hold_password(wallet)
                _redeem(request, wallet, opened)
        except errors.ActionTokenRedeemed:
            # The same form sent twice: the first claim was the visitor's own.
            if not queries.is_transfer_to(transfer_id=opened.link.id, wallet_id=wallet.pk):
                raise
        return _claimed(request, wallet, opened, is_new=False)

    return _claiming(request, act, existing=request.POST.get("wallet", ""))


@answered_on(Pool.PASSWORDS)
@base.secrets_in_form
@require_POST
def claim_into_new_wallet(request: HttpRequest) -> HttpResponse:
    """Create a wallet with a password chosen by the visitor, and claim the tokens of a link into it, or do neither."""

    def act(opened: _Opened) -> HttpResponse:
        name, password = request.POST.get("wallet", "").strip(), request.POST.get("password", "")
        if (refusal := unfit(name, password, request.POST.get("again", ""))) is not None:
            return _page(request, opened, refusal, status=422, new=name)
        new_wallets.admit(request)
        with transaction.atomic():
            wallet = operations.create_wallet(name=name, password=password)
            _redeem(request, wallet, opened)
        return _claimed(request, wallet, opened, is_new=True)

    return _claiming(request, act, new=request.POST.get("wallet", ""))


@sensitive_variables("password", "again")
def unfit(name: str, password: str, again: str) -> str | None:
    """Return why the password of a new wallet is refused, or None. The rules are those of `POST /auth/password`."""
    length = len(passwords.composed(password))
    if not passwords.MINIMUM_CHOSEN_LENGTH <= length <= passwords.MAXIMUM_LENGTH or "\0" in password:
        return f"A password has {passwords.MINIMUM_CHOSEN_LENGTH} to {passwords.MAXIMUM_LENGTH} characters."
    if names.name_key(password) == names.name_key(name):
        return "A password is not the name of the wallet."
    if passwords.composed(again) != passwords.composed(password):
        return "The two passwords differ."
    return None


def _redeem(request: HttpRequest, wallet: Wallet, opened: _Opened) -> None:
    with claim_limits.claiming(address=client_address(request), code=opened.code):
        action_tokens.redeem(actor=wallet, code=opened.code, email=request.POST.get("email", ""))


def _with_link(request: HttpRequest, act: Callable[[_Opened], HttpResponse]) -> HttpResponse:
    """Act on the link whose code the form has, or show why there is none."""
    code = code_in(request.POST.get("code", ""))
    try:
        with claim_limits.claiming(address=client_address(request), code=code):
            link = action_token_lists.described(code=code)
    except errors.ActionTokenNotVerified as error:
        refusal = base.refusal_of(request, error)
        context = {"title": _OPEN, "refusal": _UNKNOWN}
        return base.page(request, "public/claim.html", context, status=refusal.status)
    except RequestRefused as error:
        context = {"title": _OPEN, "refusal": f"{error.message}."}
        return base.page(request, "public/claim.html", context, status=error.status_code, headers=error.headers)
    return act(_Opened(code, link))


def _claiming(request: HttpRequest, act: Callable[[_Opened], HttpResponse], **typed: str) -> HttpResponse:
    """Act on an active link; a refusal shows the link again, with what the visitor typed but passwords."""

    def guarded(opened: _Opened) -> HttpResponse:
        try:
            return act(opened)
        except base.LoginRefused as error:
            sentence, status, headers = error.refusal
        except RequestRefused as error:
            sentence, status, headers = f"{error.message}.", error.status_code, error.headers
        except DomainError as error:
            _, status, headers = base.refusal_of(request, error)
            sentence = next((WORDS[kind] for kind in type(error).__mro__ if kind in WORDS), "")
        # As it is now: another visitor may have been faster.
        now = opened._replace(link=action_token_lists.described(code=opened.code))
        return _page(request, now, sentence, status=status, headers=headers, **typed)

    return _with_link(request, guarded)


def code_in(text: str) -> str:
    """
    Return the code in what the visitor pasted: a whole link, or the code alone.

    The code of a locker may hold a `#`, that of a claim link none.
    """
    text = text.strip()
    if (link := _LINK.match(text)) is not None:
        return text[link.end() :]
    behind = text.rpartition("#")[2]
    return behind if action_tokens.has_form_of_code(behind) else text


def _page(
    request: HttpRequest, opened: _Opened, refusal: str = "", *, status: int = 200, headers: Any = None, **typed: str
) -> HttpResponse:
    link = opened.link
    ended = _ENDED.get(ActionTokenState(link.state), "")
    context = {
        "title": "These trees are for you" if link.token_count > 1 else "This tree is for you",
        "refusal": "" if ended else refusal,
        "ended": ended,
        "link": link._replace(sender=names.shown(link.sender)),
        "trees": _trees(link),
        "them": "them" if link.token_count > 1 else "it",
        "until": _moment(link.expires_at),
        "code": opened.code,
        "email": request.POST.get("email", ""),
        **typed,
    }
    if ended:
        context["title"] = "This link is closed"
    return base.page(request, "public/claim_link.html", context, status=status, headers=headers)


def _claimed(request: HttpRequest, wallet: Wallet, opened: _Opened, *, is_new: bool) -> HttpResponse:
    context = {
        "title": "Thank you",
        "trees": _trees(opened.link),
        "are": "are" if opened.link.token_count > 1 else "is",
        "sender": names.shown(opened.link.sender),
        "wallet": names.shown(wallet.name),
        "is_new": is_new,
    }
    return base.page(request, "public/claimed.html", context)


def _trees(link: ActionTokenRow) -> str:
    return "1 tree" if link.token_count == 1 else f"{link.token_count:,} trees"


def _moment(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
