"""The command that checks a proof, without a login."""

import json
from pathlib import Path
from typing import Any

import click

from coppice_client import proofs
from coppice_client.cli.output import Column, note, print_json, print_rows
from coppice_client.cli.session import Session, json_option, pass_session

_PROVED = (
    Column("ROW", lambda each: each.table, is_whole=True),
    Column("BLOCK", lambda each: each.checkpoint["height"], is_number=True),
    Column("SEALED", lambda each: each.checkpoint["sealed_at"], is_whole=True),
    Column("CONTENT", lambda each: " ".join(f"{name}={value}" for name, value in each.row.items())),
)


@click.command("verify-proof")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", "keys", multiple=True, metavar="BASE64", help="A public key of the installation.")
@click.option(
    "--checkpoints",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Stored pages of /public/checkpoints.",
)
@json_option
@pass_session
def verify_proof(session: Session, file: Path, keys: tuple[str, ...], checkpoints: Path | None) -> None:
    """
    Check an answer of /tokens/ID/proof or /transfers/ID/proof, without asking the installation.

    It is compared with a public key or with checkpoints that you got earlier or from someone else.
    """
    if not keys and checkpoints is None:
        raise click.UsageError("Name what it is compared with: --key or --checkpoints.")
    try:
        kept = proofs.kept_in(checkpoints.read_text("utf-8")) if checkpoints else {}
        proved = proofs.verify(_document(file), public_keys=keys, kept=kept)
    except (proofs.ProofRefused, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    if session.is_json:
        print_json([{"table": each.table, "row": each.row, "height": each.checkpoint["height"]} for each in proved])
    else:
        print_rows(proved, _PROVED, none="It proves nothing: it has no rows.")
        note(f"{len(proved)} rows are sealed as shown.")


def _document(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise proofs.ProofRefused(f"{file} is not JSON.") from error
