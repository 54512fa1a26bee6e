"""`manage.py up`: run the whole system on this machine until Ctrl-C."""

import json
import os
import shlex
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.text import Text

from config.dev.console import PhaseDisplay
from config.dev.interruptions import Interrupted
from config.dev.processes import StartError
from config.dev.supervisor import System


class Command(BaseCommand):
    help = "Start PostgreSQL, Valkey, the local RAIDA network, worker, beat and web server, and run until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="default: $PORT, or the first free port from 8000")
        parser.add_argument("--raida-port", type=int, help="the first of 25 ports; default: those of the last start")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(
            run(
                Console(highlight=False),
                port=options["port"] or port_from_environment(),
                raida_port=options["raida_port"],
            )
        )


def port_from_environment() -> int | None:
    """:raises StartError: PORT is not a port number"""
    text = os.environ.get("PORT", "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StartError("PORT must be a number from 1 to 65535.")
    return int(text)


def run(console: Console, *, port: int | None, raida_port: int | None) -> int:
    """Run the system until it is interrupted, and return the exit status."""
    with PhaseDisplay(console) as display:
        try:
            with System(port=port, raida_port=raida_port, demo=True, progress=display.show) as system:
                show_addresses(console, system)
                system.watch()
        except Interrupted as interrupted:
            console.print("\nThe system has been stopped.")
            # Ctrl-C is the usual end of this command.
            return 0 if interrupted.is_from_the_keyboard else interrupted.exit_status
        except StartError as error:
            console.print(Text(f"\n{error}", style="red"), soft_wrap=True)
            return 1
    return 0


def show_addresses(console: Console, system: System) -> None:
    """Print the URLs, and the demo's logins as `export` lines with the names of docs/partners.md."""
    base = system.base_url
    console.print()
    for name, address in (("API", f"{base}/docs/"), ("admin", f"{base}/admin/"), ("health", f"{base}/readyz")):
        console.print(Text.assemble((f"  {name:<10}", "bold"), address), soft_wrap=True)
    console.print(Text.assemble(("  logs      ", "bold"), str(system.logs)), soft_wrap=True)
    try:
        logins = json.loads((system.state / "demo.json").read_text(encoding="utf-8"))
        passwords: dict[str, str] = logins["passwords"]
        operator = f"{logins['operator']}, password {logins['operator_password']}"
        variables = {
            "COPPICE": base,
            "API_KEY": logins["api_key"],
            **{f"{wallet.upper()}_PASSWORD": password for wallet, password in passwords.items()},
        }
        wallet = next(iter(passwords))
    except (OSError, ValueError, KeyError, StopIteration):
        pass
    else:
        console.print(Text.assemble(("  operator  ", "bold"), operator), soft_wrap=True)
        heading = "Wallets and the API key, to paste into a shell; docs/partners.md uses them:"
        console.print(f"\n  {heading}\n", soft_wrap=True)
        for name, value in variables.items():
            # Not indented, so that the lines can be pasted anywhere.
            console.print(Text(f"export {name}={shlex.quote(value)}", style="cyan"), soft_wrap=True)
        console.print("\n  Try it:\n")
        body = f'{{\\"wallet\\": \\"{wallet}\\", \\"password\\": \\"${wallet.upper()}_PASSWORD\\"}}'
        console.print(
            Text(
                'curl -sS "$COPPICE/auth" -H "TREETRACKER-API-KEY: $API_KEY"'
                f" -H 'Content-Type: application/json' -d \"{body}\"",
                style="cyan",
            ),
            soft_wrap=True,
        )
    console.print("\n  Ctrl-C stops the system; the data is kept.\n")
