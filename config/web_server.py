"""How the web server is started, for everybody who starts it. tests/benchmarks/README.md has the measurements."""

import sys
from typing import Final

# Two processes use two cores; four threads each keep them busy while others wait for PostgreSQL.
WORKERS: Final = 2
THREADS: Final = 4


def command(*, port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the command line of the web server."""
    return [
        sys.executable, "-m", "granian", "config.wsgi:application", "--interface", "wsgi", "--host", host,
        "--port", str(port), "--workers", str(WORKERS), "--blocking-threads", str(THREADS), "--no-ws",
        # A worker that is told to stop while it still loads the application would never stop.
        "--workers-kill-timeout", "2",
    ]  # fmt: skip
