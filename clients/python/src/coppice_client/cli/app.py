"""The commands for logging in, and all others by name."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import click
from click.shell_completion import get_completion_class

from coppice_client import errors
from coppice_client.cli import (
    claim_commands,
    coin_commands,
    event_commands,
    payment_commands,
    proof_commands,
    store,
    token_commands,
)
from coppice_client.cli.output import Column, moment, note, print_fields, print_json
from coppice_client.cli.session import (
    Commands,
    NotLoggedIn,
    SecretiveCommand,
    Session,
    json_option,
    pass_session,
    read_secret,
    wallet_of,
)
from coppice_client.cli.token_commands import first, limit_option, show
from coppice_client.version import VERSION

_SESSIONS = (
    Column("ID", lambda row: row["id"], is_whole=True),
    Column("THIS", lambda row: "yes" if row["is_current"] else "no", is_whole=True),
    Column("API KEY", lambda row: row["api_key"]),
    Column("ADDRESS", lambda row: row["address"], is_whole=True),
    Column("LOGGED IN", lambda row: moment(row["created_at"]), is_whole=True),
    Column("EXPIRES", lambda row: moment(row["expires_at"]), is_whole=True, is_wide=True),
)
_LOCAL = {"localhost", "127.0.0.1", "::1"}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--profile",
    default="default",
    envvar="COPPICE_PROFILE",
    show_default=True,
    help="The name under which the login is kept.",
)
@click.version_option(VERSION, prog_name="coppice")
@click.pass_context
def coppice(context: click.Context, profile: str) -> None:
    """
    Send and receive tokens and coins with an installation of Coppice.

    Secrets are typed, or read from stdin or a file, and never taken from the command line. COPPICE_URL,
    COPPICE_API_KEY and COPPICE_TOKEN stand for a login.

    Exit status: 0 done, 1 refused, 2 wrong command line, 3 not logged in, 4 outcome unknown, 5 server not reached.
    """
    context.ensure_object(Session).profile = profile


@coppice.command(cls=SecretiveCommand, secret="A password")  # noqa: S106 - its name
@click.argument("wallet")
@click.option("--url", envvar="COPPICE_URL", help="The address of the installation. [default: that of the last login]")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the API key. Without it COPPICE_API_KEY or the key of the last login is used, or you are asked.",
)
@click.option(
    "--store",
    "where",
    type=click.Choice(["keyring", "file"]),
    help="Where to keep the token. [default: the keyring if there is one, else a file of mode 0600]",
)
@json_option
@pass_session
def login(session: Session, wallet: str, url: str | None, api_key_file: Path | None, where: str | None) -> None:
    """Log in as WALLET. Asks for the password, or reads it from stdin."""
    last = store.load(session.profile)
    url = url or (None if last is None else last.url)
    if url is None:
        raise click.UsageError("--url is required for the first login")
    in_keyring = where == "keyring" or (where is None and store.has_keyring())
    if in_keyring and not store.has_keyring():
        raise click.UsageError("There is no keyring: use --store file")
    api_key = _api_key(api_key_file, last if last is not None and last.url == url else None)
    password = read_secret("password")
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _LOCAL:
        note(f"Warning: {url} is not encrypted. Others on the network can read the password and the token.")
    with session.connect_to(store.Profile(url, api_key)) as client:
        try:
            token = client.login(wallet, password)
        except errors.Unauthorized as error:
            raise NotLoggedIn(str(error)) from None
    store.save(session.profile, store.Profile(url, api_key, token), in_keyring=in_keyring)
    kept = "the keyring" if in_keyring else str(store.place())
    if session.is_json:
        print_json({"wallet": wallet, "wallet_id": wallet_of(token), "url": url, "profile": session.profile})
    else:
        print_fields({"logged in as": wallet, "at": url, "token kept in": kept})


def _api_key(file: Path | None, last: store.Profile | None) -> str:
    if file is not None:
        return read_secret("API key", file)
    if found := os.environ.get("COPPICE_API_KEY"):
        return found
    if last is not None and last.api_key is not None:
        return last.api_key
    return read_secret("API key")


@coppice.command()
@pass_session
def logout(session: Session) -> None:
    """Forget the token, and end the session at the server."""
    profile = store.load(session.profile)
    if not store.delete(session.profile) or profile is None or profile.token is None:
        note("Not logged in.")
        return
    try:
        with session.connect_to(profile) as client:
            client.log_out()
    except errors.Unauthorized:
        note("Logged out. The session had ended.")
    except errors.CoppiceError as error:
        raise click.ClickException(
            f"The token is deleted here, but may still be valid until the password changes: {error}"
        ) from None
    else:
        note("Logged out.")


@coppice.command()
@limit_option
@json_option
@pass_session
def sessions(session: Session, limit: int) -> None:
    """List the logins of your wallet that are valid."""
    with session.client() as client:
        rows = first(client.sessions(page_size=min(limit + 1, 2000)), limit)
    show(session, rows, _SESSIONS, none="There is no session.")


@coppice.command(cls=SecretiveCommand, secret="A password")  # noqa: S106 - its name
@json_option
@pass_session
def password(session: Session) -> None:
    """
    Change the password of your wallet, and end its other sessions.

    Asks for the present password and the new one, or reads them from two lines of stdin.
    """
    with session.client() as client:
        done = client.change_password(read_secret("present password"), read_secret("new password"))
    if session.is_json:
        print_json(done)
    else:
        print_fields({"password": "changed", "other sessions ended": done["sessions_ended"]})


@coppice.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """
    Print the script that completes commands in a shell.

    For bash: eval "$(coppice completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(coppice, {}, "coppice", "_COPPICE_COMPLETE").source())


token_commands.add_to(coppice)
claim_commands.add_to(coppice)
coin_commands.add_to(coppice)
payment_commands.add_to(coppice)
coppice.add_command(proof_commands.verify_proof)
event_commands.add_to(coppice)
