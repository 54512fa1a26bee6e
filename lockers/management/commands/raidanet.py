"""Run a local RAIDA network, or control a running one."""

import asyncio
import json
import signal
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lockers.localnet.control import Control, ControlFailed, control_socket
from lockers.localnet.faults import FAULTS, Fault, InvalidFault, parse_assignment
from lockers.localnet.fleet import DEFAULT_BASE_PORT, CannotStart, Fleet


class Command(BaseCommand):
    help = "Run 25 RAIDA servers on this machine until stopped, or set faults of running ones."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = "faults:\n" + "\n".join(f"  {name:<16} {meaning}" for name, meaning in FAULTS.items())
        parser.add_argument(
            "--directory", type=Path, help="where the coins are kept (default: raida in the state directory)"
        )
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
        parser.add_argument(
            "--base-port",
            type=int,
            default=DEFAULT_BASE_PORT,
            help="RAIDA 0's port; the others follow. 0 takes any 25 free ones in a row",
        )
        parser.add_argument(
            "--fault",
            action="append",
            default=[],
            metavar="SERVERS=FAULT",
            help="start with a fault, e.g. 3=silent, 0-11=delay:0.5 or *=status:242; may be given several times",
        )
        parser.add_argument("--live", action="store_true", help="know the commands of newer servers: 8/8, 8/80, 9/90")
        parser.add_argument(
            "--legacy-bugs", action="store_true", help="copy the defects of the recorded servers, thefts included"
        )
        orders = parser.add_argument_group("orders to the network that runs in the directory")
        orders.add_argument("--tell", action="append", default=[], metavar="SERVERS=FAULT", help="set a fault")
        orders.add_argument("--clear", metavar="SERVERS", help="remove the faults of servers, e.g. 3, 0-11 or *")
        orders.add_argument("--state", action="store_true", help="show faults in force and requests seen, as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        directory: Path = options["directory"] or settings.STATE_DIR / "raida"
        try:
            if options["tell"] or options["clear"] or options["state"]:
                self._give_orders(directory, options)
                return
            faults = [pair for text in options["fault"] for pair in parse_assignment(text)]
            fleet = Fleet(
                directory,
                host=options["host"],
                base_port=options["base_port"],
                live=options["live"],
                legacy_bugs=options["legacy_bugs"],
            )
            asyncio.run(self._run(fleet, faults))
        except (CannotStart, ControlFailed, InvalidFault) as error:
            raise CommandError(str(error)) from error

    def _give_orders(self, directory: Path, options: dict[str, Any]) -> None:
        control = Control(directory)
        if options["clear"]:
            control.clear(options["clear"])
        for text in options["tell"]:
            control.fault(text)
        if options["state"]:
            self.stdout.write(json.dumps(control.state(), indent=2))

    async def _run(self, fleet: Fleet, faults: list[tuple[int, Fault]]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Before the first port opens, so that a signal at any moment still closes everything.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await fleet.open()
        try:
            for raida, fault in faults:
                await fleet.fault(raida, fault)
            async with control_socket(fleet):
                first, last = fleet.servers[0], fleet.servers[-1]
                self.stdout.write(
                    f"25 RAIDA servers listen on {first.host}, ports {first.port} to {last.port} (UDP and TCP)."
                )
                self.stdout.flush()
                await stop.wait()
        finally:
            await fleet.close()
