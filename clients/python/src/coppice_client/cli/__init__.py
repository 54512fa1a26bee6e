"""The command `coppice`."""

import importlib
import sys


def main() -> None:
    """Run the command line; exit with a hint if its packages are not installed."""
    try:
        app = importlib.import_module("coppice_client.cli.app")
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("The command line needs more packages: pip install 'coppice-client[cli]'")
    app.coppice(prog_name="coppice")
