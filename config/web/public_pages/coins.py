"""
The pages below `/claim/coins`, which take the coins of a locker into a wallet.

The visitor logs in with the form that begins the task; there is no look into the locker before. Each look asks 25
servers, so a stranger who could look without a wallet could make the servers work, and guess codes from many addresses.
The task is the ordinary take of the wallet, with its limits of wrong codes and of open tasks.

Two signed tickets in hidden fields take the place of a session. One names the task that a form will begin, so that a
form that is sent twice begins one task. The other names the task whose progress a page shows, for an hour.
"""

from typing import Any, Final
from uuid import UUID, uuid4

from django.core import signing
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import get_script_prefix
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from config.api.cloudcoin.task_serializers import DOING
from config.api.pools import Pool, answered_on
from config.web.addresses import client_address, network_of
from config.web.public_pages import base, claim, new_wallets
from config.web.security_headers import PUBLIC_POLICY
from lockers import queries
from lockers.coin_outcomes import amount_verb, coins_text
from lockers.models import LockerTask
from lockers.operations import take
from lockers.raida import codes
from lockers.raida.errors import InvalidCode
from lockers.states import TaskState
from transfers import action_tokens
from wallets import names
from wallets import operations as wallets
from wallets.errors import DomainError
from wallets.models import Wallet

_OFFER: Final = "Take the coins of a locker"
_LONGEST_CODE: Final = 1000
_TICKET_SECONDS: Final = 3600
_BEGINS: Final = "public_pages.coins.begins"
_SHOWS: Final = "public_pages.coins.shows"
_EXPIRED: Final = (
    "This page has expired. A task that it began goes on without it: the coins are in the wallet when it has ended."
)
_USED: Final = "This form has begun a task already. Send it once more to begin another."


@base.secrets_in_form
@require_http_methods(["GET", "HEAD", "POST"])
def open_code(request: HttpRequest) -> HttpResponse:
    """Show the form for a code; or what the sent code opens: a claim link by its form, otherwise a locker."""
    code = claim.code_in(request.POST.get("code", ""))
    if request.method == "POST" and _may_open_a_locker(code):
        return offer(request, code)
    return claim.open_link(request)


def _may_open_a_locker(code: str) -> bool:
    if action_tokens.has_form_of_code(code) or len(code) > _LONGEST_CODE:
        return False
    try:
        return bool(codes.verbatim(code))
    except InvalidCode:
        return False


@sensitive_variables("code")
def offer(request: HttpRequest, code: str, *, ticket: str = "", refusal: base.Refusal | None = None) -> HttpResponse:
    """Return the forms that begin to take the coins of the locker with this transmit code."""
    typed = request.POST.get("wallet", "")
    context = {
        "title": _OFFER,
        "code": code,
        "ticket": ticket or _signed(uuid4(), _BEGINS),
        "new" if "new" in request.POST else "existing": typed,
        "refusal": refusal and refusal.sentence,
    }
    status, headers = (200, None) if refusal is None else (refusal.status, refusal.headers)
    return base.page(request, "public/coins.html", context, status=status, headers=headers)


@answered_on(Pool.PASSWORDS)
@base.secrets_in_form
@require_http_methods(["GET", "HEAD", "POST"])
def begin(request: HttpRequest) -> HttpResponse:
    """Log the visitor in, or make the new wallet, begin the take, and show its progress."""
    if request.method != "POST":
        return redirect(f"{get_script_prefix()}claim")
    code, ticket = request.POST.get("code", "").strip(), request.POST.get("ticket", "")
    if not ticket:
        return offer(request, code)
    task_id = _read(ticket, _BEGINS)
    if task_id is None:
        return offer(request, code, refusal=base.Refusal(_EXPIRED, 410, {}))
    try:
        task = _begun(request, code, task_id)
    except base.LoginRefused as error:
        return offer(request, code, ticket=ticket, refusal=error.refusal)
    except DomainError as error:
        return offer(request, code, ticket=ticket, refusal=_in_words(base.refusal_of(request, error), error))
    if task is None:
        return offer(request, code, refusal=base.Refusal(_USED, 409, {}))
    return _progress(request, task)


def _in_words(refusal: base.Refusal, error: DomainError) -> base.Refusal:
    words = next((claim.WORDS[kind] for kind in type(error).__mro__ if kind in claim.WORDS), refusal.sentence)
    return refusal._replace(sentence=words if words.endswith(".") else f"{words}.")


def _begun(request: HttpRequest, code: str, task_id: UUID) -> LockerTask | None:
    """Return the task with this id, begun now or by the same form before; None if another wallet has it."""
    if "new" in request.POST:
        return _begun_for_new(request, code, task_id)
    wallet = base.log_in(request)
    task = queries.take_with_id(task_id)
    if task is None:
        try:
            with transaction.atomic():
                wallets.hold_password(wallet)
                return _start(request, wallet, code, task_id)
        except IntegrityError:
            # The same form arrived twice at once.
            task = queries.take_with_id(task_id)
            if task is None:
                raise
    return task if task is not None and task.wallet_id == wallet.pk else None


def _begun_for_new(request: HttpRequest, code: str, task_id: UUID) -> LockerTask | None:
    """As `_begun`, for a wallet that is created in the same transaction."""
    name, password = request.POST.get("wallet", "").strip(), request.POST.get("password", "")
    if queries.take_with_id(task_id) is not None:
        # Its wallet has the password of the form by now.
        found = base.log_in(request)
        task = queries.take_with_id(task_id)
        return task if task is not None and task.wallet_id == found.pk else None
    if (unfit := claim.unfit(name, password, request.POST.get("again", ""))) is not None:
        raise base.LoginRefused(base.Refusal(unfit, 422, {}))
    new_wallets.admit(request)
    with transaction.atomic():
        wallet = wallets.create_wallet(name=name, password=password)
        return _start(request, wallet, code, task_id)


def _start(request: HttpRequest, wallet: Wallet, code: str, task_id: UUID) -> LockerTask:
    name, address = str(wallet.pk), network_of(client_address(request))
    return take.start(actor=wallet, name=name, code=code, address=address, task_id=task_id).task


@base.secrets_in_form
@require_http_methods(["GET", "HEAD", "POST"])
def progress(request: HttpRequest) -> HttpResponse:
    """Show the progress of the task that the ticket of the form names, as a page or as JSON for its script."""
    if request.method != "POST":
        return redirect(f"{get_script_prefix()}claim")
    task_id = _read(request.POST.get("ticket", ""), _SHOWS)
    task = None if task_id is None else queries.take_with_id(task_id)
    if task is None:
        return base.page(request, "public/coins_progress.html", {"title": _OFFER, "refusal": _EXPIRED}, status=410)
    # Of the script. Another `Accept` is not parsed: Django raises for some.
    if request.headers.get("Accept") == "application/json":
        return JsonResponse(_state_of(task))
    return _progress(request, task)


def _progress(request: HttpRequest, task: LockerTask) -> HttpResponse:
    context = {
        "title": _OFFER,
        **_state_of(task),
        "ticket": _signed(task.pk, _SHOWS),
        "name": names.shown(task.wallet.name),
    }
    policy = {"Content-Security-Policy": f"{PUBLIC_POLICY}; connect-src 'self'"}
    return base.page(request, "public/coins_progress.html", context, headers=policy)


def _state_of(task: LockerTask) -> dict[str, Any]:
    return {
        "state": task.state,
        "progress": task.progress,
        "is_over": task.state != TaskState.RUNNING,
        # The style of the sentence.
        "verdict": "bad" if task.state == TaskState.ERROR else "good",
        "sentence": _sentence(task),
    }


def _sentence(task: LockerTask) -> str:
    """Return what the task does or did, with the amounts in words."""
    if task.state == TaskState.RUNNING:
        return task.message or f"{DOING[task.step]}."
    taken = int(task.result.get("total", 0))
    if not taken:
        return task.message
    arrived = f"{coins_text(taken)} {amount_verb(taken)} in the wallet {names.shown(task.wallet.name)} now."
    return arrived if task.message == "Taken." else f"{arrived} {task.message}"


def _signed(task_id: UUID, purpose: str) -> str:
    return signing.dumps(str(task_id), salt=purpose)


def _read(ticket: str, purpose: str) -> UUID | None:
    try:
        return UUID(signing.loads(ticket, salt=purpose, max_age=_TICKET_SECONDS))
    except signing.BadSignature:
        return None
