"""What the commands share: the profile, the client, secrets that are asked for, and the end of a failed command."""

import base64
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from coppice_client import errors
from coppice_client.cli import store
from coppice_client.cli.output import note, plain
from coppice_client.client import Client
from coppice_client.exchange import Retries, idempotency_key

# Exit statuses. 2 is click's for a wrong command line.
REFUSED: Final = 1
NOT_LOGGED_IN: Final = 3
UNKNOWN: Final = 4
UNAVAILABLE: Final = 5
INTERRUPTED: Final = 130

# About four seconds, unless the server names a longer time.
_connect: Final = partial(Client, retries=Retries(pauses=(0.2, 0.5, 1, 2)))

F = TypeVar("F", bound=Callable[..., Any])


class NotLoggedIn(click.ClickException):
    """There are no credentials."""

    exit_code = NOT_LOGGED_IN


class Unfinished(click.ClickException):
    """A part of the command is done; repeated with its idempotency key, it does the rest."""

    exit_code = UNKNOWN


@dataclass
class Session:
    """One run of the command. `connect` makes the client."""

    connect: Callable[..., Client] = _connect
    profile: str = "default"
    is_json: bool = False
    # The idempotency key of the command, if it changes something.
    key: str | None = None

    def client(self) -> Client:
        """
        Return a client with the credentials of the environment or of the profile.

        :raises NotLoggedIn: there are none
        """
        found = self.credentials()
        if found is None or found.token is None:
            raise NotLoggedIn("Not logged in: use `coppice login WALLET --url https://…`")
        return self.connect_to(found)

    def connect_to(self, profile: store.Profile) -> Client:
        try:
            return self.connect(profile.url, api_key=profile.api_key, token=profile.token)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def credentials(self) -> store.Profile | None:
        """Return the credentials of the environment, if it has an address and a token, or else the profile."""
        url, token = os.environ.get("COPPICE_URL"), os.environ.get("COPPICE_TOKEN")
        if url and token:
            return store.Profile(url, os.environ.get("COPPICE_API_KEY"), token)
        return store.load(self.profile)

    def wallet(self) -> str:
        """Return the id of the wallet that is logged in."""
        found = self.credentials()
        return wallet_of(found.token if found is not None and found.token is not None else "")

    def changes(self, given: str | None) -> str:
        """Return the idempotency key of this command: the one that was given, or a new one."""
        try:
            self.key = idempotency_key(given)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        return self.key


def wallet_of(token: str) -> str:
    """Return the wallet's id of a bearer token, which has the shape of a JSON Web Token."""
    try:
        payload = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["id"])
    except (IndexError, KeyError, ValueError):
        raise click.UsageError("The bearer token names no wallet: say which one is meant") from None


pass_session = click.make_pass_decorator(Session, ensure=True)


def _remember_json(context: click.Context, _: click.Parameter, is_json: bool) -> bool:
    context.ensure_object(Session).is_json = is_json
    return is_json


def json_option(command: F) -> F:
    """Add `--json`, which `Session.is_json` has then."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_remember_json, help="Print JSON, for programs."
    )(command)


def key_option(command: F) -> F:
    """Add `--idempotency-key`."""
    return click.option(
        "--idempotency-key",
        metavar="KEY",
        help="Repeat a command whose outcome is unknown: it has one effect.",
    )(command)


class SecretiveCommand(click.Command):
    """A command that takes a secret, but not from its command line, and that repeats no word of it in an error."""

    def __init__(self, *args: Any, secret: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.secret = secret
        self.allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError(
                f"{self.secret} is not taken from the command line, which other users of the machine can read. "
                "Type it when asked, or pass it on stdin.",
                ctx,
            )
        return rest


def read_secret(what: str, file: Path | None = None) -> str:
    """
    Return a secret from a file, from the keyboard, or else from the first line of stdin.

    :raises click.UsageError: there is none
    """
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise click.UsageError(f"The file of the {what} cannot be read") from None
    elif sys.stdin.isatty():
        text = str(click.prompt(what[0].upper() + what[1:], hide_input=True, err=True))
    else:
        try:
            text = sys.stdin.readline()
        except UnicodeDecodeError:
            raise click.UsageError(f"The {what} on stdin is not UTF-8") from None
    text = text.strip("\r\n")
    if not text:
        raise click.UsageError(f"The {what} is empty: pass it on stdin, or use a terminal")
    return text


class Commands(click.Group):
    """The top of the command: it turns errors into a sentence and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        session = ctx.ensure_object(Session)
        try:
            return super().invoke(ctx)
        except errors.CoppiceError as error:
            ctx.exit(_report(session, error))
        except OSError as error:
            # A pipe that was closed is none: click ends quietly.
            if isinstance(error, BrokenPipeError):
                raise
            # Else Python would try once more at its end, and fail.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"Error: The output cannot be written: {error.strerror}.{_advice(session)}", err=True)
            ctx.exit(REFUSED if session.key is None else UNKNOWN)
        except (KeyboardInterrupt, click.Abort):
            note(f"Interrupted.{_advice(session)}")
            ctx.exit(INTERRUPTED)


def _advice(session: Session) -> str:
    return (
        "" if session.key is None else f" To learn the outcome, repeat the command with --idempotency-key {session.key}"
    )


def _report(session: Session, error: errors.CoppiceError) -> int:
    """Say on stderr what is wrong, and return the exit status."""
    message, status, code, request_id = str(error), REFUSED, None, None
    match error:
        case errors.OutcomeUnknown():
            status = UNKNOWN
            message = f"{error.reason}. Whether the command took effect is unknown.{_advice(session)}"
        case errors.Unavailable():
            status = UNAVAILABLE
            message = f"{error}.{_advice(session)}"
        case errors.TaskTimeout():
            status = UNKNOWN
            message = f"{error}.{_advice(session)}"
        case errors.ApiError():
            code, request_id = error.code, error.request_id
            if isinstance(error, errors.Unauthorized):
                status = NOT_LOGGED_IN
                message = f"{error}. To log in again: coppice login"
            elif isinstance(error, errors.ServerError) and request_id:
                message = f"{error}. Its operator needs this number: {request_id}"
    if session.is_json:
        body = {
            "message": message,
            "status": getattr(error, "status", None),
            "code": code,
            "request_id": request_id,
            "idempotency_key": session.key,
        }
        if isinstance(error, errors.TaskFailed):
            body["task"] = error.task
        click.echo(json.dumps({"error": body}), err=True)
    else:
        click.echo(f"Error: {plain(message)}", err=True)
    return status
