"""`manage.py demo`: start the system, run the demo script over HTTP, audit the ledger, stop the system."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from config.dev.console import PhaseDisplay
from config.dev.demo_data import read_logins
from config.dev.demo_script import INDENT, Cast, DemoFailed, Story
from config.dev.interruptions import Interrupted
from config.dev.processes import StartError
from config.dev.supervisor import System
from config.management.commands.up import port_from_environment, show_addresses
from lockers.localnet.control import Control, ControlFailed
from lockers.raida.statuses import RAIDA_COUNT

# 31 coins of four denominations: enough to make 20 exactly in more than one way.
COINS = "10x1,1x12,0.1x10,0.01x8"


class Command(BaseCommand):
    help = "Start the system, run the demo over HTTP, and stop the system. KEEP=1 keeps it running."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(run(Console(highlight=False), keep=os.environ.get("KEEP", "") not in {"", "0"}))


def run(console: Console, *, keep: bool) -> int:
    """Run the demo and return the exit status: 0 if every step succeeded."""
    # `make` passes its start time, so that the reported time includes the set-up.
    process_began = time.time()
    began = float(os.environ.get("COPPICE_DEMO_BEGAN") or process_began)
    seconds = {"set-up, and loading": process_began - began} if began < process_began else {}
    if os.environ.get("COPPICE_RAIDA_HOSTS", "").strip():
        console.print(
            Text(
                "The demo mints coins, so it needs its own local RAIDA network: unset COPPICE_RAIDA_HOSTS."
                " `make run` uses the servers that it names.",
                style="red",
            ),
            soft_wrap=True,
        )
        return 1
    display = PhaseDisplay(console)
    system: System | None = None
    try:
        with display, System(port=port_from_environment(), demo=True, progress=display.show) as system:
            story = play(system, console, began=began)
            console.print()
            console.rule("[bold]Audit[/bold]", align="left", style="green")
            console.print(Padding(Text(system.manage("audit", "--servers").strip()), (0, 0, 0, INDENT), expand=False))
            seconds |= display.seconds | story.seconds
            _show_seconds(console, seconds, total=time.time() - began)
            if keep:
                show_addresses(console, system)
                system.watch()
    except Interrupted as interrupted:
        console.print("\nThe system has been stopped.")
        return 0 if keep and interrupted.is_from_the_keyboard else interrupted.exit_status
    except (DemoFailed, StartError, CommandError, ControlFailed) as error:
        logs = f"\nThe logs are in {system.logs}." if system and "Its log: " not in str(error) else ""
        console.print(Text(f"\nThe demo stopped: {error}{logs}", style="red"), soft_wrap=True)
        return 1
    return 0


def play(system: System, console: Console, *, began: float) -> Story:
    """
    Mint coins, slow the servers down, and play the script against a running system.

    :raises DemoFailed: a step failed
    """
    logins = read_logins(state_dir=system.state)
    with _coin_file(system.state) as coin_file:
        with system.phase("coins") as say:
            _mint(system, coin_file)
            say(f"{COINS}, by the admin command")
        with system.phase("latency") as say:
            _add_latency(system)
            say("servers now answer after 20 to 500 ms, like remote ones")
        cast = Cast(base_url=system.base_url, api_key=logins.api_key, passwords=logins.passwords)
        story = Story(cast=cast, coin_file=coin_file, console=console, began=began, check=system.check)
        story.play()
    return story


@contextlib.contextmanager
def _coin_file(state: Path) -> Iterator[Path]:
    """
    Provide the path of the coin file, and remove the file afterwards: the import replaced its secrets.

    The file of an earlier, killed demo is removed first.
    """
    path = state / "demo-coins.bin"
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _mint(system: System, coin_file: Path) -> None:
    """Mint in this process: a new one would take a second to start."""
    directory = system.state / "raida"
    call_command(
        "mint_coins", out=coin_file, coins=COINS, base_port=system.raida_port, directory=directory, stdout=StringIO()
    )


def _add_latency(system: System) -> None:
    """Give each server a latency, so that the progress can be seen."""
    control = Control(system.state / "raida")
    for raida in range(RAIDA_COUNT):
        control.fault(f"{raida}=delay:{0.02 * (1 + raida * 7 % 25):.2f}")


def _show_seconds(console: Console, seconds: dict[str, float], *, total: float) -> None:
    console.print()
    console.rule("[bold]Time[/bold]", align="left", style="green")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.1f} s")
    table.add_row(Text("total", style="bold"), Text(f"{total:.1f} s", style="bold"))
    console.print(Padding(table, (0, 0, 0, INDENT), expand=False))
