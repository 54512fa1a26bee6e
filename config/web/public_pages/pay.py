"""
The page of a payment request, `/pay/<id>`: what is asked, and forms that pay it.

The id is in the path, unlike the code of a claim link: it lets its holder pay, and take nothing. It is random, so that
requests cannot be found by trying, and the page works without a script. A form has the id of the payment that it makes:
sent twice it pays once, and the page shows that payment then.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import segno
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import get_script_prefix
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from config.api.cloudcoin import payment_serializers
from config.api.cloudcoin.fields import Amount
from config.api.errors import Invalid
from config.api.pools import Pool, answered_on
from config.web import replica_pages
from config.web.addresses import client_address, network_of
from config.web.public_pages import base
from lockers import errors, payment_requests
from lockers.operations import new_task
from lockers.operations import payment_requests as operations
from lockers.raida.coins import format_amount
from lockers.states import PAYABLE, PaymentState, TaskKind
from wallets import names
from wallets.errors import DomainError

_UNKNOWN: Final = "There is no such payment request. Check that the link is complete."
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@require_http_methods(["GET", "HEAD", "POST"])
def find(request: HttpRequest) -> HttpResponse:
    """Show the form for the link of a payment request, or open that of the sent form."""
    found = _ID.search(request.POST.get("link", ""))
    if found is not None:
        return _to(found[0])
    refused = {"refusal": _UNKNOWN} if request.method == "POST" else {}
    title = {"title": "Open a payment request"}
    return base.page(request, "public/pay_find.html", title | refused, status=404 if refused else 200)


@require_http_methods(["GET", "HEAD"])
def show(request: HttpRequest, request_id: str) -> HttpResponse:
    """Show a payment request, and with `?payment=` what has become of that payment."""
    if "payment" in request.GET:
        # The visitor's own, which was begun a moment ago.
        return _page(request, request_id)
    return replica_pages.answered(request, lambda: _page(request, request_id))  # type: ignore[return-value]


@base.secrets_in_form
@answered_on(Pool.PASSWORDS)
@require_POST
def pay_from_wallet(request: HttpRequest, request_id: str) -> HttpResponse:
    """Pay from the wallet whose name and password the form has."""
    identity, payment_id = names.parse_uuid(request_id), names.parse_uuid(request.POST.get("payment", ""))
    if identity is None or payment_id is None:
        return _unknown(request)
    typed = request.POST.get("amount", "").strip()
    sent = {"wallet": request.POST.get("wallet", ""), "amount": typed, "payment_id": payment_id}
    try:
        units = Amount().read("amount", typed) if typed else None
        new_task.check_lockers_are_on()
        payment_requests.public_view(identity)
        operations.pay(
            actor=base.log_in(request),
            request_id=identity,
            units=units,
            payment_id=payment_id,
            has_typed_password=True,
        )
    except errors.PaymentRequestNotFound:
        return _unknown(request)
    except Invalid as error:
        refusal = base.Refusal(f"{error.message.replace(chr(34), '')}.", error.status_code, {})
        return _page(request, request_id, refusal=refusal, sent=sent)
    except base.LoginRefused as error:
        return _page(request, request_id, refusal=error.refusal, sent=sent)
    except DomainError as error:
        return _page(request, request_id, refusal=base.refusal_of(request, error), sent=sent)
    return _to(identity, payment_id)


@base.secrets_in_form
@sensitive_variables("code")
@require_POST
def pay_with_code(request: HttpRequest, request_id: str) -> HttpResponse:
    """Pay with the transmit code that the form has, without a login."""
    identity, payment_id = names.parse_uuid(request_id), names.parse_uuid(request.POST.get("payment", ""))
    code = request.POST.get("transmit_code", "").strip()
    if identity is None or payment_id is None:
        return _unknown(request)
    try:
        operations.pay_with_code(
            actor=None,
            request_id=identity,
            code=code[:1000],
            address=network_of(client_address(request)),
            payment_id=payment_id,
        )
    except errors.PaymentRequestNotFound:
        return _unknown(request)
    except DomainError as error:
        return _page(request, request_id, refusal=base.refusal_of(request, error), sent={"payment_id": payment_id})
    return _to(identity, payment_id)


def _to(identity: object, payment_id: UUID | None = None) -> HttpResponse:
    query = "" if payment_id is None else f"?payment={payment_id}"
    response = HttpResponseRedirect(resolve_url(f"{get_script_prefix()}pay/{identity}{query}"), status=303)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _unknown(request: HttpRequest) -> HttpResponse:
    title = {"title": "Open a payment request", "refusal": _UNKNOWN}
    return base.page(request, "public/pay_find.html", title, status=404)


def _page(
    request: HttpRequest,
    request_id: str,
    *,
    refusal: base.Refusal | None = None,
    sent: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Return the page of a payment request; with what a refused form had, but its secrets."""
    identity = names.parse_uuid(request_id)
    try:
        if identity is None:
            raise errors.PaymentRequestNotFound
        seen = payment_requests.public_view(identity)
    except errors.PaymentRequestNotFound:
        return _unknown(request)
    payment = _payment(identity, request.GET.get("payment", ""))
    is_pending = payment is not None and payment["state"] == PaymentState.PENDING
    link, payee = payment_serializers.link(request, identity), names.shown(seen.request.wallet.name)
    context: dict[str, Any] = {
        # A new id for each form that was not sent yet.
        "payment_id": uuid4(),
        **(sent or {}),
        "title": f"Pay {payee}" if seen.state in PAYABLE else "Payment request",
        "seen": seen,
        "row": seen.request,
        "payee": payee,
        "is_payable": seen.state in PAYABLE,
        "left": format_amount(max(seen.outstanding - seen.pending, 0)),
        "link": link,
        "here": f"{get_script_prefix()}pay/{identity}",
        "qr": _qr(link),
        "payment": payment,
        "is_pending": is_pending,
    }
    if refusal is None:
        # Until a pending payment has ended; without a script.
        headers = {"Refresh": "3"} if is_pending else {}
        return base.page(request, "public/pay.html", context, headers=headers)
    context |= {"refusal": refusal.sentence}
    return base.page(request, "public/pay.html", context, status=refusal.status, headers=refusal.headers)


def _payment(request_id: UUID, text: str) -> dict[str, Any] | None:
    """Return what the page shows of the payment that its query names, if it is one of this request."""
    payment_id = names.parse_uuid(text)
    if payment_id is None:
        return None
    try:
        row = payment_requests.payment_of(request_id=request_id, payment_id=payment_id)
    except errors.PaymentNotFound:
        return None
    return {
        "state": row.state,
        "units": row.units,
        "is_late": row.is_late,
        "by_code": row.task.kind == TaskKind.TAKE,
        "message": payment_serializers.message_of(row),
    }


def _qr(link: str) -> SafeString:
    code = segno.make(link, error="m", micro=False)
    drawn = code.svg_inline(scale=1, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None)
    # The SVG consists of numbers only; it does not contain the encoded text.
    return mark_safe(drawn)  # noqa: S308
