#!/usr/bin/env python
"""Django's command-line entry point for Coppice."""

import os
import signal
import sys

if sys.argv[1:2] in (["up"], ["demo"]):
    # Until the supervisor runs, Ctrl-C ends the process without a traceback: no child has been started.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# First: it makes loading the others faster.
from config import loading  # noqa: F401

# isort: split
from django.core.management import execute_from_command_line
from django.db.utils import OperationalError

from config.dev.embedded import database_url, fill_environment, state_directory
from config.dev.encodings import replace_unencodable
from config.dev.processes import StartError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")
    replace_unencodable(sys.stdout, sys.stderr)
    try:
        fill_environment(is_to_start=sys.argv[1:2] in (["up"], ["demo"]))
        execute_from_command_line(sys.argv)
    except StartError as error:
        sys.exit(str(error))
    except OperationalError as error:
        if "--traceback" in sys.argv:
            raise
        advice = (
            "The private servers run while `make run` does: start it in another terminal, or set DATABASE_URL."
            if os.environ["DATABASE_URL"] == database_url(state_directory())
            else "Is the server of DATABASE_URL up, and does it know this user and database?"
        )
        sys.exit(f"The database does not answer: {str(error).strip().splitlines()[0]}\n{advice}")


if __name__ == "__main__":
    main()
