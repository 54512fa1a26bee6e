"""Commands for claim links: tokens for a person without a wallet."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import click

from coppice_client.cli.output import Column, moment, note, print_fields, print_json
from coppice_client.cli.session import SecretiveCommand, Session, json_option, key_option, pass_session, read_secret
from coppice_client.cli.times import Time
from coppice_client.cli.token_commands import limit_option, show
from coppice_client.types import ActionToken, Transfer, token_count

_LINKS: Final = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("STATE", lambda row: row["state"], is_whole=True),
    Column("TOKENS", lambda row: row["token_count"], is_number=True),
    Column("EXPIRES", lambda row: moment(row["expires_at"]), is_whole=True),
    Column("MESSAGE", lambda row: row["message"] or "", is_wide=True),
)


@click.group()
def claim() -> None:
    """Give tokens to a person without a wallet, by a link, or claim them."""


@claim.command()
@click.argument("count", type=click.IntRange(min=1), required=False)
@click.option("--from", "sender", metavar="WALLET", help="A wallet that you manage. [default: your own]")
@click.option("--token-id", "tokens", multiple=True, metavar="ID", help="This token; may be given several times.")
@click.option("--message", metavar="TEXT", help="The page of the link shows it.")
@click.option("--email", metavar="ADDRESS", help="For whom it is. No mail is sent.")
@click.option("--email-must-match", is_flag=True, default=None, help="The claimant must type that address.")
@click.option("--expires-at", type=Time(is_ahead=True), help="2026-11-30T08:00, 24h, 7d. [default: as the server says]")
@key_option
@json_option
@pass_session
def create(
    session: Session,
    /,
    count: int | None,
    tokens: tuple[str, ...],
    idempotency_key: str | None,
    expires_at: datetime | None,
    **wish: Any,
) -> None:
    """
    Create a link of COUNT tokens, or of the tokens named with --token-id.

    Anyone who has the link may claim them, once. It is not shown again.
    """
    if (count is None) == (not tokens):
        raise click.UsageError("Either COUNT or --token-id is required")
    what = list(tokens) if count is None else count
    with session.client() as client:
        key = session.changes(idempotency_key)
        link = client.create_claim_link(what, expires_at=expires_at, idempotency_key=key, **wish)
    if session.is_json:
        print_json(link)
        return
    print_fields(
        {
            "claim link": link["id"],
            "tokens": link["token_count"],
            "expires": moment(link["expires_at"]),
            "link": link["url"],
        }
    )


@claim.command("list")
@click.option("--state", type=click.Choice(("active", "redeemed", "cancelled")), help="Those in this state.")
@limit_option
@json_option
@pass_session
def list_links(session: Session, state: Literal["active", "redeemed", "cancelled"] | None, limit: int) -> None:
    """List the claim links of your wallets, the newest first."""
    with session.client() as client:
        rows = client.claim_links(state=state, limit=min(limit + 1, 2000))["action_tokens"]
    if len(rows) > limit:
        note(f"There are more than {limit}: see --limit.")
    show(session, rows[:limit], _LINKS, none="There are no such claim links.")


def _show_link(session: Session, row: ActionToken) -> None:
    if session.is_json:
        print_json(row)
        return
    print_fields({"claim link": row["id"], "state": row["state"], "tokens": row["token_count"]})


@claim.command()
@click.argument("claim_link", metavar="ID")
@key_option
@json_option
@pass_session
def cancel(session: Session, claim_link: str, idempotency_key: str | None) -> None:
    """Cancel an active claim link."""
    with session.client() as client:
        row = client.cancel_claim_link(claim_link, idempotency_key=session.changes(idempotency_key))
    _show_link(session, row)


@claim.command(cls=SecretiveCommand, secret="The code of a claim link")  # noqa: S106 - its name
@click.option("--link-file", type=click.Path(path_type=Path), help="A file with the link.")
@click.option("--wallet", metavar="WALLET", help="The wallet that gets the tokens. [default: your own]")
@click.option("--email", metavar="ADDRESS", help="Your address, if the link asks for it.")
@key_option
@json_option
@pass_session
def redeem(
    session: Session, link_file: Path | None, wallet: str | None, email: str | None, idempotency_key: str | None
) -> None:
    """Claim the tokens of a link. Asks for the link, or its code, or reads it from stdin."""
    code = read_secret("link", link_file).strip().rpartition("#")[2]
    with session.client() as client:
        key = session.changes(idempotency_key)
        claimed = client.redeem_claim_link(code, wallet=wallet, email=email, idempotency_key=key)
    _show_claimed(session, claimed)


def _show_claimed(session: Session, transfer: Transfer) -> None:
    if session.is_json:
        print_json(transfer)
        return
    print_fields(
        {
            "transfer": transfer["id"],
            "tokens": token_count(transfer),
            "from": transfer["source_wallet"],
            "to": transfer["destination_wallet"],
        }
    )


def add_to(group: click.Group) -> None:
    group.add_command(claim)
