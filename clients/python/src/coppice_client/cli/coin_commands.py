"""Commands for lockers and coins."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from coppice_client import calls, errors
from coppice_client.cli import store
from coppice_client.cli.output import (
    Column,
    moment,
    note,
    print_fields,
    print_json,
    print_qr,
    print_rows,
    progress,
)
from coppice_client.cli.output import (
    coins as shown,
)
from coppice_client.cli.session import (
    F,
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
from coppice_client.types import FILE_TYPES, FileType, StartedTask, Task

_LOCKERS: Final = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("WALLET", lambda row: row["wallet"]),
    Column("STATE", lambda row: row["state"], is_whole=True),
    Column("AMOUNT", lambda row: shown(row["amount"]), is_number=True),
    Column("LEFT", lambda row: shown(row["remaining"]), is_number=True),
    Column("CREATED", lambda row: moment(row["created"]), is_whole=True, is_wide=True),
    Column("TAG", lambda row: row["tag"], is_wide=True),
)
_BALANCES: Final = (
    Column("WALLET", lambda row: row["name"]),
    Column("BALANCE", lambda row: shown(row["balance"]), is_number=True),
    Column("COINS", lambda row: sum(row["denominations"].values()), is_number=True),
)
_FILES: Final = (
    Column("FILE", lambda row: row["name"]),
    Column("ACCEPTED", lambda row: row["accepted"], is_number=True),
    Column("REFUSED", lambda row: row["refused"], is_number=True),
    Column("NOTE", lambda row: row.get("reason") or row.get("note", "")),
)
_PATH: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def _wallet_option(words: str) -> Callable[[F], F]:
    return click.option("--wallet", default=calls.OWN, metavar="WALLET", help=f"{words} [default: your own]")


_TAG: Final = click.option("--tag", help="A text for the statement.")


def _ended(client: Client, begun: StartedTask, what: str) -> Task:
    """Wait for the end of a task, and show how far it is."""
    if begun.get("warning"):
        note(f"Warning: {begun['warning']}")
    with progress(what) as on_progress:
        return client.wait(begun["id"], on_progress=on_progress)


@click.group()
def locker() -> None:
    """Put coins into lockers, look into them, and take coins out."""


@locker.command(cls=SecretiveCommand, secret="A transmit code")  # noqa: S106 - its name
@click.argument("amount")
@_wallet_option("The wallet of the coins.")
@_TAG
@click.option("--code-file", type=_PATH, help="A file with a transmit code of yours. Without it one is made.")
@click.option(
    "--expires",
    "expires_at",
    type=Time(is_ahead=True),
    help="When the coins that are still in the locker are taken back: a time, or a period such as 24h. At least 5"
    " minutes ahead.",
)
@click.option("--qr/--no-qr", default=None, help="Show the code as a QR code. [default: on a terminal]")
@key_option
@json_option
@pass_session
def put(
    session: Session,
    amount: str,
    wallet: str,
    tag: str | None,
    code_file: Path | None,
    expires_at: datetime | None,
    qr: bool | None,
    idempotency_key: str | None,
) -> None:
    """
    Put coins worth AMOUNT into a locker, and print its transmit code.

    Anyone who has the code can take the coins: send it as you would send cash.
    """
    chosen = None if code_file is None else read_secret("transmit code", code_file)
    with session.client() as client:
        begun = client.put(
            amount,
            wallet=wallet,
            tag=tag,
            transmit_code=chosen,
            expires_at=expires_at,
            idempotency_key=session.changes(idempotency_key),
        )
        task = _ended(client, begun, "Storing the coins")
        data = task["data"]
        if "transmit_code" not in data:
            # It was shown for the first time a while ago.
            data |= client.locker_code(data["locker_id"])
    if session.is_json:
        print_json(task)
        return
    print_fields(
        {
            "transmit code": data["transmit_code"],
            "stored": shown(data["total_stored"]),
            "failed": shown(data["total_failed"]) if data["total_failed"] else None,
            "unknown": shown(data["total_unknown"]) if data.get("total_unknown") else None,
            "expires": moment(data["expiry"]["expires_at"]) if "expiry" in data else None,
            "receipt": data["receipt_id"],
        }
    )
    if sys.stdout.isatty() if qr is None else qr:
        print_qr(data["transmit_code"])


@locker.command(cls=SecretiveCommand, secret="A transmit code")  # noqa: S106 - its name
@click.option("--code-file", type=_PATH, help="A file with the transmit code.")
@json_option
@pass_session
def peek(session: Session, code_file: Path | None) -> None:
    """Look into a locker. Asks for the transmit code, or reads it from stdin."""
    code = read_secret("transmit code", code_file)
    with session.client() as client:
        task = _ended(client, client.peek(code), "Looking into the locker")
    if session.is_json:
        print_json(task)
        return
    data = task["data"]
    print_fields({"total": shown(data["total"]), "coins": len(data["coins"]), **_code_used(data)})


@locker.command(cls=SecretiveCommand, secret="A transmit code")  # noqa: S106 - its name
@click.option("--code-file", type=_PATH, help="A file with the transmit code.")
@_wallet_option("The wallet that gets the coins.")
@_TAG
@key_option
@json_option
@pass_session
def take(session: Session, code_file: Path | None, wallet: str, tag: str | None, idempotency_key: str | None) -> None:
    """Take the coins out of a locker. Asks for the transmit code, or reads it from stdin."""
    code = read_secret("transmit code", code_file)
    with session.client() as client:
        begun = client.take(code, wallet=wallet, tag=tag, idempotency_key=session.changes(idempotency_key))
        task = _ended(client, begun, "Taking the coins")
    if session.is_json:
        print_json(task)
        return
    data = task["data"]
    sums = {name: shown(data.get(f"total_{name}")) for name in ("unknown", "failed", "left")}
    print_fields({"taken": shown(data["total"]), **sums, "receipt": data["receipt_id"], **_code_used(data)})


def _code_used(data: dict[str, Any]) -> dict[str, object]:
    return {"transmit code used": data.get("transmit_code_used")}


@locker.command("list")
@limit_option
@json_option
@pass_session
def list_lockers(session: Session, limit: int) -> None:
    """List the lockers that you filled, the newest first."""
    with session.client() as client:
        rows = first(client.lockers(page_size=min(limit + 1, 2000)), limit)
    show(session, rows, _LOCKERS, none="There are no lockers.")


@locker.command()
@click.argument("locker_id", metavar="LOCKER")
@click.option("--qr/--no-qr", default=None, help="Show the code as a QR code. [default: on a terminal]")
@json_option
@pass_session
def code(session: Session, locker_id: str, qr: bool | None) -> None:
    """Print the transmit code of a locker that you filled. LOCKER is its id."""
    with session.client() as client:
        found = client.locker_code(locker_id)
    if session.is_json:
        print_json(found)
        return
    print_fields({"transmit code": found["transmit_code"]})
    if sys.stdout.isatty() if qr is None else qr:
        print_qr(found["transmit_code"])


# --- Coins ------------------------------------------------------------------------------------------------------------


@click.group()
def coins() -> None:
    """Show coins, and move them from and into files."""


@coins.command()
@json_option
@pass_session
def balance(session: Session) -> None:
    """Show the coins of your wallets."""
    with session.client() as client:
        rows = client.coin_wallets()
    show(session, rows, _BALANCES, none="There are no wallets.")


@coins.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_PATH)
@_wallet_option("The wallet that gets the coins.")
@_TAG
@key_option
@json_option
@pass_session
def import_coins(
    session: Session, files: tuple[Path, ...], wallet: str, tag: str | None, idempotency_key: str | None
) -> None:
    """Import files of coins. Afterwards the files are worthless: the coins have new secrets."""
    try:
        contents = [(path.name, path.read_bytes()) for path in files]
    except OSError as error:
        raise click.UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
    with session.client() as client:
        key = session.changes(idempotency_key)
        begun = client.import_coins(contents, wallet=wallet, tag=tag, idempotency_key=key)
        task = _ended(client, begun, "Importing the coins")
    if session.is_json:
        print_json(task)
        return
    data = task["data"]
    print_rows(data["files"], _FILES, none="No file held a coin.")
    left = shown(data["total_left"]) if data.get("total_left") else None
    print_fields({"imported": shown(data["total"]), "left": left, "receipt": data["receipt_id"]})


@coins.command("export")
@click.argument("amount", required=False)
@click.option("--all", "is_all", is_flag=True, help="All coins that are free.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new file, which you alone may read.")
@click.option("--type", "kind", type=click.Choice(FILE_TYPES), default="bin", show_default=True, help="Its format.")
@_wallet_option("The wallet of the coins.")
@_TAG
@key_option
@json_option
@pass_session
def export_coins(
    session: Session,
    amount: str | None,
    is_all: bool,
    out: Path,
    kind: FileType,
    wallet: str,
    tag: str | None,
    idempotency_key: str | None,
) -> None:
    """
    Move coins worth AMOUNT into a file. Anyone who has the file can import the coins.

    The server keeps the file until it is written to the disk here. After an interruption the command can be repeated
    with the same idempotency key.
    """
    if (amount is None) != is_all:
        raise click.UsageError("Either AMOUNT or --all is required")
    if out.exists():
        raise click.UsageError(f"{out} exists")
    if not out.parent.is_dir():
        raise click.UsageError(f"{out.parent} is no directory")
    with session.client() as client:
        key = session.changes(idempotency_key)
        task: StartedTask | Task
        task = client.export_coins(amount, type=kind, wallet=wallet, tag=tag, idempotency_key=key)
        if task["status"] == "running":
            task = _ended(client, task, "Breaking a coin")
        content = client.export_file(task["id"])
        try:
            store.write_secret(out, content)
        except OSError as error:
            raise Unfinished(
                f"{out} cannot be written: {error.strerror}. The server keeps the file: "
                f"repeat the command with another --out and --idempotency-key {key}"
            ) from None
        is_confirmed = True
        try:
            client.confirm_export(task["id"])
        except errors.CoppiceError as error:
            # The file is there, and the server only keeps it for longer.
            is_confirmed = False
            note(f"The file is written, but the server does not know it: {error}")
    data = task["data"]
    if session.is_json:
        print_json({"id": task["id"], **data, "out": str(out), "confirmed": is_confirmed})
        return
    print_fields({"exported": shown(data["total"]), "coins": data["coins"], "file": out, "receipt": data["receipt_id"]})


def add_to(group: click.Group) -> None:
    group.add_command(locker)
    group.add_command(coins)
