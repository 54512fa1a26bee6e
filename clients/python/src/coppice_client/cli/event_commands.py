"""Commands for events and webhooks."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import httpx2

from coppice_client import errors
from coppice_client.cli.output import moment, note, plain
from coppice_client.cli.session import F, Session, json_option, pass_session
from coppice_client.cli.times import Time
from coppice_client.client import Client
from coppice_client.types import Event
from coppice_client.webhooks import message_of, new_secret, signed_headers

# Seconds in which a receiver has to answer: it may stand at a breakpoint.
_PATIENCE: Final = 60.0


def _filters(command: F) -> F:
    for option in (
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this type; can be repeated."),
        click.option("--wallet", metavar="WALLET", help="Of this wallet. [default: of all your wallets]"),
    ):
        command = option(command)
    return command


def _follow(client: Client, *, wallet: str | None, since: datetime | None, interval: float) -> Iterator[Event]:
    return client.follow_events(wallet=wallet, since=since, interval=interval, on_trouble=_say_trouble)


def _say_trouble(error: errors.CoppiceError) -> None:
    note(f"{error}; trying again.")


_INTERVAL: Final = click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two questions to the server.",
)


@click.command()
@_filters
@click.option("--since", type=Time(), metavar="TIME", help="From this time on, or a period such as 7d. [default: 24h]")
@click.option("--follow", is_flag=True, help="Wait for more, without end. Without --since: from now on.")
@_INTERVAL
@json_option
@pass_session
def events(
    session: Session, wallet: str | None, types: tuple[str, ...], since: datetime | None, follow: bool, interval: float
) -> None:
    """List what happened to your wallets, the oldest first. With --json each line is an event."""
    with session.client() as client:
        if follow:
            found = _follow(client, wallet=wallet, since=since, interval=interval)
        else:
            found = client.events(wallet=wallet, since=since or datetime.now(UTC) - timedelta(days=1))
        for event in found:
            if not types or event["type"] in types:
                _print_event(session, event)


def _print_event(session: Session, event: Event) -> None:
    if session.is_json:
        click.echo(json.dumps(event))
        return
    parts = [moment(event["created_at"]), plain(event["type"]), plain(_summary(event["payload"]))]
    if sys.stdout.isatty():
        click.echo("  ".join(part for part in parts if part))
    else:
        click.echo("\t".join([*parts, event["id"]]))


def _summary(payload: Mapping[str, Any]) -> str:
    """Return the payload of an event in a few words."""
    if {"walletSender", "walletReceiver"} <= set(payload):
        count = payload.get("bundle") or len(payload.get("tokenTransferred") or ())
        sides = f"{payload['walletSender']} → {payload['walletReceiver']}"
        return f"{sides}, {count} tokens, {payload.get('transferState')}"
    if {"requesterWallet", "requesteeWallet"} <= set(payload):
        return f"{payload['requesterWallet']} → {payload['requesteeWallet']}, {payload.get('trustRequestType')}"
    return ", ".join(f"{name} {value}" for name, value in payload.items() if isinstance(value, str | int))


@click.group()
def webhooks() -> None:
    """Try webhooks on this machine."""


@webhooks.command()
@click.argument("url")
@_filters
@click.option("--since", type=Time(), metavar="TIME", help="Events from this time on first. [default: from now on]")
@_INTERVAL
@json_option
@pass_session
def listen(
    session: Session, url: str, wallet: str | None, types: tuple[str, ...], since: datetime | None, interval: float
) -> None:
    """
    Forward events to URL, such as http://localhost:3000/hook, signed as in Standard Webhooks.

    The secret is new each time, or that of COPPICE_WEBHOOK_SECRET. A delivery that fails is not repeated.
    """
    secret = os.environ.get("COPPICE_WEBHOOK_SECRET") or new_secret()
    try:
        signed_headers("", b"", secret)
        target = httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL) as error:
        raise click.UsageError(str(error)) from None
    if target.scheme not in {"http", "https"} or not target.host:
        raise click.UsageError("URL must begin with http:// or https://")
    with session.client() as client, httpx2.Client(timeout=_PATIENCE, follow_redirects=False) as receiver:
        found = _follow(client, wallet=wallet, since=since, interval=interval)
        note(f"Events are forwarded to {url}. Secret of the signatures: {secret}")
        for event in found:
            if not types or event["type"] in types:
                _print_delivery(session, event, _deliver(receiver, url, event, secret))


def _deliver(receiver: httpx2.Client, url: str, event: Event, secret: str) -> str:
    """Send an event. Return the status of the answer, or what went wrong."""
    body = message_of(event)
    try:
        answer = receiver.post(url, content=body, headers=signed_headers(event["id"], body, secret))
    except httpx2.RequestError as error:
        return type(error).__name__
    return str(answer.status_code)


def _print_delivery(session: Session, event: Event, result: str) -> None:
    if session.is_json:
        click.echo(json.dumps({"id": event["id"], "type": event["type"], "result": result}))
    else:
        separator = "  " if sys.stdout.isatty() else "\t"
        click.echo(separator.join([moment(event["created_at"]), result, plain(event["type"]), event["id"]]))


def add_to(group: click.Group) -> None:
    group.add_command(events)
    group.add_command(webhooks)
