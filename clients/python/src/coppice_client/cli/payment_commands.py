"""Commands for payment requests."""

import re
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from coppice_client.cli.output import Column, moment, note, print_fields, print_json, print_qr
from coppice_client.cli.output import coins as shown
from coppice_client.cli.session import (
    REFUSED,
    SecretiveCommand,
    Session,
    Unfinished,
    json_option,
    key_option,
    pass_session,
    read_secret,
)
from coppice_client.cli.times import Time
from coppice_client.cli.token_commands import first, limit_option, show
from coppice_client.client import Client
from coppice_client.types import PAYMENT_REQUEST_STATES, Payment, PaymentRequest, PaymentRequestState

_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_POLL_SECONDS: Final = 1.0
# Longer than a take of a few coins; a longer one goes on.
_PATIENCE_SECONDS: Final = 120.0
_REQUESTS: Final = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("WALLET", lambda row: row["wallet"]),
    Column("STATE", lambda row: row["state"], is_whole=True),
    Column("AMOUNT", lambda row: shown(row["amount"]), is_number=True),
    Column("PAID", lambda row: shown(row["paid"]), is_number=True),
    Column("FOR", lambda row: row["description"]),
    Column("REFERENCE", lambda row: row.get("reference", ""), is_wide=True),
    Column("EXPIRES", lambda row: moment(row["expires_at"]), is_whole=True, is_wide=True),
)


def _identity(_: click.Context, __: click.Parameter, text: str) -> str:
    """Return the id of a payment request, which may be given as its link."""
    found = _ID.search(text)
    if found is None:
        raise click.BadParameter("It is neither the id of a payment request nor its link")
    return found[0]


_REQUEST: Final = click.argument("payment_request", metavar="REQUEST", callback=_identity)


def _show_request(session: Session, request: PaymentRequest) -> None:
    if session.is_json:
        print_json(request)
        return
    print_fields(
        {
            "id": request["id"],
            "state": request["state"],
            "payee": request["wallet"],
            "for": request["description"],
            "amount": shown(request["amount"]),
            "paid": shown(request["paid"]),
            "pending": shown(request["pending"]) if request["pending"] else None,
            "outstanding": shown(request["outstanding"]),
            "paid in": "parts" if request["mode"] == "partial" else None,
            "reference": request.get("reference"),
            "expires": moment(request["expires_at"]),
            "closed": moment(request["closed_at"]),
            "link": request["url"],
        }
    )


@click.group("payment-request")
def payment_request() -> None:
    """Ask to be paid coins, and pay. REQUEST is the id of a payment request or its link."""


@payment_request.command()
@click.argument("amount")
@click.option("--description", "-d", required=True, metavar="TEXT", help="What the payment is for. The payer reads it.")
@click.option("--wallet", metavar="WALLET", help="The wallet that is paid. [default: your own]")
@click.option("--partial", is_flag=True, help="It may be paid in parts.")
@click.option("--reference", metavar="TEXT", help="Such as an order number. The payer does not see it.")
@click.option(
    "--expires-at", type=Time(is_ahead=True), help="When it can no longer be paid: 2026-11-30T08:00, 24h, 7d."
)
@click.option("--qr/--no-qr", default=None, help="Show the link as a QR code. [default: on a terminal]")
@key_option
@json_option
@pass_session
def create(
    session: Session, /, amount: str, partial: bool, qr: bool | None, idempotency_key: str | None, **asked: Any
) -> None:
    """Ask to be paid AMOUNT coins, and print the link for the payer."""
    with session.client() as client:
        made = client.create_payment_request(
            amount,
            mode="partial" if partial else None,
            idempotency_key=session.changes(idempotency_key),
            **asked,
        )
    _show_request(session, made)
    if not session.is_json and (sys.stdout.isatty() if qr is None else qr):
        print_qr(made["url"])


@payment_request.command("list")
@click.option("--state", type=click.Choice(PAYMENT_REQUEST_STATES), help="Those in this state.")
@click.option("--wallet", metavar="WALLET", help="Those of this wallet.")
@click.option("--reference", metavar="TEXT", help="Those with exactly this reference.")
@limit_option
@json_option
@pass_session
def list_requests(
    session: Session, state: PaymentRequestState | None, wallet: str | None, reference: str | None, limit: int
) -> None:
    """List the payment requests of your wallets, the newest first."""
    with session.client() as client:
        found = client.payment_requests(state=state, wallet=wallet, reference=reference, page_size=min(limit + 1, 2000))
        rows = first(found, limit)
    show(session, rows, _REQUESTS, none="There are no such payment requests.")


@payment_request.command("show")
@_REQUEST
@json_option
@pass_session
def show_request(session: Session, payment_request: str) -> None:
    """Show a payment request: what is asked, and what is paid so far."""
    with session.client() as client:
        found = client.payment_request(payment_request)
    _show_request(session, found)


@payment_request.command(cls=SecretiveCommand, secret="A transmit code")  # noqa: S106 - its name
@_REQUEST
@click.option("--amount", help="A part of what is outstanding. [default: all of it]")
@click.option("--wallet", metavar="WALLET", help="The wallet that pays. [default: your own]")
@click.option("--locker", is_flag=True, help="Pay with a transmit code, which is asked for or read from stdin.")
@click.option(
    "--code-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Pay with the transmit code in a file.",
)
@key_option
@json_option
@pass_session
def pay(
    session: Session,
    payment_request: str,
    amount: str | None,
    wallet: str | None,
    locker: bool,
    code_file: Path | None,
    idempotency_key: str | None,
) -> None:
    """
    Pay a payment request with your coins, or with a transmit code from anywhere.

    All coins of the locker of a code go to the payee. A locker with another amount than is asked for is left as it is.
    """
    by_code = locker or code_file is not None
    if by_code and (amount or wallet):
        raise click.UsageError("--amount and --wallet are for payments without a code")
    code = read_secret("transmit code", code_file) if by_code else ""
    with session.client() as client:
        key = session.changes(idempotency_key)
        if by_code:
            begun = client.pay_with_code(payment_request, code, idempotency_key=key)
        else:
            begun = client.pay(payment_request, amount=amount, wallet=wallet, idempotency_key=key)
        done = _settled(client, begun)
    if done["state"] == "pending":
        raise Unfinished(f"Payment {done['id']} has not ended yet: {done['message']}")
    if session.is_json:
        print_json(done)
    else:
        print_fields(
            {
                "payment": done["id"],
                "state": done["state"],
                "paid": shown(done["amount"]),
                "late": "yes" if done["is_late"] else None,
                "message": done["message"],
            }
        )
    if done["state"] == "failed":
        click.get_current_context().exit(REFUSED)


def _settled(client: Client, payment: Payment) -> Payment:
    """Ask for a payment until it has ended, for two minutes."""
    end = time.monotonic() + _PATIENCE_SECONDS
    if payment["state"] == "pending":
        note("The payment is being processed.")
    while payment["state"] == "pending" and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        payment = client.payment(payment["payment_request_id"], payment["id"])
    return payment


@payment_request.command()
@_REQUEST
@key_option
@json_option
@pass_session
def cancel(session: Session, payment_request: str, idempotency_key: str | None) -> None:
    """Cancel a payment request of yours. What was paid stays yours."""
    with session.client() as client:
        done = client.cancel_payment_request(payment_request, idempotency_key=session.changes(idempotency_key))
    _show_request(session, done)


def add_to(group: click.Group) -> None:
    group.add_command(payment_request)
