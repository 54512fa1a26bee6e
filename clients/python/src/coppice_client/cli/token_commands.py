"""Commands for wallets, transfers and trust relationships."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeVar, get_args

import click

from coppice_client.cli.output import Column, moment, note, print_fields, print_json, print_rows
from coppice_client.cli.session import F, Session, json_option, key_option, pass_session
from coppice_client.cli.times import Time
from coppice_client.client import Client
from coppice_client.types import (
    TRUST_REQUEST_TYPES,
    Transfer,
    TransferState,
    Trust,
    TrustRequestType,
    TrustState,
    token_count,
)

T = TypeVar("T")

_WALLETS: Final = (
    Column("WALLET", lambda row: row["name"]),
    Column("TOKENS", lambda row: row["tokens_in_wallet"], is_number=True),
    Column("AVAILABLE", lambda row: row["tokens_available"], is_number=True),
    Column("PENDING", lambda row: row["tokens_pending"], is_number=True),
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("CREATED", lambda row: moment(row["created_at"]), is_whole=True, is_wide=True),
)
_TRANSFERS: Final = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("STATE", lambda row: row["state"], is_whole=True),
    Column("TOKENS", token_count, is_number=True),
    Column("FROM", lambda row: row["source_wallet"]),
    Column("TO", lambda row: row["destination_wallet"]),
    Column("CREATED", lambda row: moment(row["created_at"]), is_whole=True, is_wide=True),
)
_TRUSTS: Final = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("TYPE", lambda row: row["request_type"], is_whole=True),
    Column("STATE", lambda row: row["state"]),
    Column("FROM", lambda row: row["actor_wallet"]),
    Column("TO", lambda row: row["target_wallet"]),
    Column("CREATED", lambda row: moment(row["created_at"]), is_whole=True, is_wide=True),
)
_INBOX: Final = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("ANSWER WITH", lambda row: row["answer"], is_whole=True),
    Column("FROM", lambda row: row["from"]),
    Column("TO", lambda row: row["to"]),
    Column("WHAT", lambda row: row["what"]),
    Column("CREATED", lambda row: moment(row["created_at"]), is_whole=True, is_wide=True),
)


def limit_option(command: F) -> F:
    return click.option(
        "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The number of rows at most."
    )(command)


def first(rows: Iterable[T], limit: int) -> list[T]:
    """Return up to `limit` rows, and say on stderr if there are more."""
    read = iter(rows)
    found = list(islice(read, limit))
    if len(found) == limit and next(read, None) is not None:
        note(f"There are more than {limit}: see --limit.")
    return found


def show(session: Session, rows: list[Any], columns: tuple[Column, ...], *, none: str) -> None:
    if session.is_json:
        print_json(rows)
    else:
        print_rows(rows, columns, none=none)


@click.command()
@click.option("--name", help="Those whose name contains this text.")
@limit_option
@json_option
@pass_session
def wallets(session: Session, name: str | None, limit: int) -> None:
    """List your wallet and those that it manages."""
    with session.client() as client:
        rows = first(client.wallets(name=name, page_size=min(limit + 1, 2000)), limit)
    show(session, rows, _WALLETS, none="There are no such wallets.")


# --- Transfers --------------------------------------------------------------------------------------------------------


def _show_transfer(session: Session, transfer: Transfer) -> None:
    if session.is_json:
        print_json(transfer)
        return
    print_fields(
        {
            "transfer": transfer["id"],
            "state": transfer["state"],
            "tokens": token_count(transfer),
            "from": transfer["source_wallet"],
            "to": transfer["destination_wallet"],
            "closed": moment(transfer["closed_at"]),
            "reference": transfer.get("reference"),
            "metadata": "; ".join(f"{key}={value}" for key, value in transfer.get("metadata", {}).items()),
            "expires": moment(transfer.get("expires_at")),
        }
    )


def _as_metadata(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    metadata = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        metadata[key] = value
    return metadata or None


def metadata_option(words: str) -> Callable[[F], F]:
    return click.option("--metadata", multiple=True, metavar="KEY=VALUE", callback=_as_metadata, help=words)


def terms_options(command: F) -> F:
    """Add the options that a new transfer may have, by the names of their parameters of `Client.send`."""
    for option in (
        click.option(
            "--expires-at",
            type=Time(is_ahead=True),
            help="When it fails if it is still open: 2026-11-30T08:00, 24h, 7d.",
        ),
        metadata_option("A text for those who see the transfer; may be given several times."),
        click.option(
            "--unique-reference",
            is_flag=True,
            default=None,
            help="Refuse it if you asked for another one with the same reference and this option.",
        ),
        click.option("--reference", metavar="TEXT", help="Such as an order number."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("count", type=click.IntRange(min=1), required=False)
@click.option("--to", "receiver", required=True, metavar="WALLET", help="Who gets the tokens.")
@click.option("--from", "sender", metavar="WALLET", help="A wallet that you manage. [default: your own]")
@click.option("--token", "tokens", multiple=True, metavar="ID", help="This token; may be given several times.")
@terms_options
@key_option
@json_option
@pass_session
def send(
    session: Session,
    /,
    count: int | None,
    receiver: str,
    sender: str | None,
    tokens: tuple[str, ...],
    idempotency_key: str | None,
    **terms: Any,
) -> None:
    """
    Send COUNT tokens, or the tokens named with --token.

    The transfer is `completed` if the receiver trusts the sender, and else `pending` until the receiver accepts.
    """
    if (count is None) == (not tokens):
        raise click.UsageError("Either COUNT or --token is required")
    what = list(tokens) if count is None else count
    with session.client() as client:
        key = session.changes(idempotency_key)
        sent = client.send(what, sender=sender or session.wallet(), receiver=receiver, idempotency_key=key, **terms)
    _show_transfer(session, sent)


@click.command()
@click.argument("count", type=click.IntRange(min=1))
@click.option("--from", "sender", required=True, metavar="WALLET", help="Who is asked for the tokens.")
@click.option("--to", "receiver", metavar="WALLET", help="A wallet that you manage. [default: your own]")
@terms_options
@key_option
@json_option
@pass_session
def request(
    session: Session, /, count: int, sender: str, receiver: str | None, idempotency_key: str | None, **terms: Any
) -> None:
    """Ask another wallet for COUNT tokens."""
    with session.client() as client:
        key = session.changes(idempotency_key)
        asked = client.send(count, sender=sender, receiver=receiver or session.wallet(), idempotency_key=key, **terms)
    _show_transfer(session, asked)


@click.command()
@click.option("--state", type=click.Choice(get_args(TransferState)), help="Those in this state.")
@click.option("--reference", metavar="TEXT", help="Those with exactly this reference.")
@metadata_option("Those whose metadata has this value; may be given several times.")
@limit_option
@json_option
@pass_session
def transfers(
    session: Session, state: TransferState | None, reference: str | None, metadata: dict[str, str] | None, limit: int
) -> None:
    """List transfers of your wallets, the oldest first."""
    with session.client() as client:
        found = client.transfers(state=state, reference=reference, metadata=metadata, page_size=min(limit + 1, 2000))
        rows = first(found, limit)
    show(session, rows, _TRANSFERS, none="There are no such transfers.")


@click.command()
@limit_option
@json_option
@pass_session
def inbox(session: Session, limit: int) -> None:
    """List what waits for your answer."""
    with session.client() as client:
        rows = first(_waiting(client), limit)
    show(session, rows, _INBOX, none="Nothing waits for your answer.")


def _waiting(client: Client) -> Iterable[dict[str, Any]]:
    mine = {wallet["name"] for wallet in client.wallets(page_size=2000)}
    for transfer in client.transfers(state="pending"):
        if transfer["destination_wallet"] in mine:
            yield _as_waiting(transfer, f"sends {_tokens(transfer)}")
    for transfer in client.transfers(state="requested"):
        if transfer["source_wallet"] in mine:
            yield _as_waiting(transfer, f"asks for {_tokens(transfer)}")
    for trust in client.trusts(state="requested"):
        if trust["target_wallet"] in mine:
            yield {
                "kind": "trust_relationship",
                "answer": "trust accept",
                "id": trust["id"],
                "from": trust["actor_wallet"],
                "to": trust["target_wallet"],
                "what": trust["request_type"],
                "created_at": trust["created_at"],
            }


def _tokens(transfer: Transfer) -> str:
    count = token_count(transfer)
    return f"{count} token{'' if count == 1 else 's'}"


def _as_waiting(transfer: Transfer, what: str) -> dict[str, Any]:
    return {
        "kind": "transfer",
        "answer": "accept",
        "id": transfer["id"],
        "from": transfer["source_wallet"],
        "to": transfer["destination_wallet"],
        "what": what,
        "created_at": transfer["created_at"],
    }


@click.command()
@click.argument("transfer_id", metavar="TRANSFER")
@key_option
@json_option
@pass_session
def accept(session: Session, transfer_id: str, idempotency_key: str | None) -> None:
    """Accept a pending transfer, or fulfill a requested one."""
    with session.client() as client:
        key = session.changes(idempotency_key)
        transfer = client.transfer(transfer_id)
        if transfer["state"] == "requested":
            transfer = client.fulfill(transfer_id, idempotency_key=key)
        elif transfer["state"] != "completed" or idempotency_key is None:
            transfer = client.accept(transfer_id, idempotency_key=key)
        # Else the attempt that is repeated had its effect.
    _show_transfer(session, transfer)


@click.command()
@click.argument("transfer_id", metavar="TRANSFER")
@key_option
@json_option
@pass_session
def decline(session: Session, transfer_id: str, idempotency_key: str | None) -> None:
    """Decline a transfer that waits for your answer."""
    with session.client() as client:
        declined = client.decline(transfer_id, idempotency_key=session.changes(idempotency_key))
    _show_transfer(session, declined)


@click.command()
@click.argument("transfer_id", metavar="TRANSFER")
@key_option
@json_option
@pass_session
def cancel(session: Session, transfer_id: str, idempotency_key: str | None) -> None:
    """Cancel an open transfer that you began."""
    with session.client() as client:
        cancelled = client.cancel(transfer_id, idempotency_key=session.changes(idempotency_key))
    _show_transfer(session, cancelled)


# --- Trust relationships ----------------------------------------------------------------------------------------------


@click.group()
def trust() -> None:
    """Say who may send without asking, and who manages whom."""


def _show_trust(session: Session, row: Trust) -> None:
    if session.is_json:
        print_json(row)
        return
    print_fields(
        {
            "trust": row["id"],
            "type": row["request_type"],
            "state": row["state"],
            "from": row["actor_wallet"],
            "to": row["target_wallet"],
        }
    )


@trust.command("list")
@click.option("--state", type=click.Choice(get_args(TrustState)), help="Those in this state.")
@limit_option
@json_option
@pass_session
def list_trusts(session: Session, state: TrustState | None, limit: int) -> None:
    """List trust relationships of your wallets."""
    with session.client() as client:
        rows = first(client.trusts(state=state, page_size=min(limit + 1, 2000)), limit)
    show(session, rows, _TRUSTS, none="There are no such trust relationships.")


@trust.command("request")
@click.argument("request_type", metavar="TYPE", type=click.Choice(TRUST_REQUEST_TYPES))
@click.argument("wallet")
@click.option("--for", "requester", metavar="WALLET", help="A wallet that you manage. [default: your own]")
@key_option
@json_option
@pass_session
def request_trust(
    session: Session, request_type: TrustRequestType, wallet: str, requester: str | None, idempotency_key: str | None
) -> None:
    """
    Ask WALLET for a trust relationship.

    TYPE is `send` (you may send to it), `receive` (it may send to you), `manage` (you control it) or `yield` (it
    controls you).
    """
    with session.client() as client:
        key = session.changes(idempotency_key)
        asked = client.request_trust(request_type, wallet, requester=requester, idempotency_key=key)
    _show_trust(session, asked)


def _answer_to_trust(name: str, call: Callable[..., Callable[..., Trust]], words: str) -> click.Command:
    @key_option
    @json_option
    @pass_session
    def command(session: Session, trust_id: str, idempotency_key: str | None) -> None:
        with session.client() as client:
            row = call(client)(trust_id, idempotency_key=session.changes(idempotency_key))
        _show_trust(session, row)

    argument = click.Argument(["trust_id"], metavar="TRUST")
    built = click.command(name, help=words)(command)
    built.params.insert(0, argument)
    return built


trust.add_command(_answer_to_trust("accept", lambda client: client.accept_trust, "Accept what a wallet asked you for."))
trust.add_command(
    _answer_to_trust("decline", lambda client: client.decline_trust, "Decline or end what a wallet asked you for.")
)
trust.add_command(_answer_to_trust("end", lambda client: client.end_trust, "End a trust relationship, as either side."))


def add_to(group: click.Group) -> None:
    for command in (wallets, send, request, transfers, inbox, accept, decline, cancel, trust):
        group.add_command(command)
