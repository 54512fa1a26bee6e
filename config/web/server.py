"""
The command that starts the web server.

    python -m config.web.server [--host HOST] [--port PORT] [--processes COUNT] [--stop-seconds SECONDS] [--reserved]

Decided 2026-11-29, by measuring (tests/benchmarks/README.md): granian's RSGI interface with `config.web.rsgi`, which
buffers bodies and responses outside of the threads, on uvloop. Against granian's WSGI interface, where eight
connections that sent one byte of a body blocked all others; and, unmeasured, against waitress, which buffers too but
parses HTTP in Python, and against a mandatory proxy.
"""

import argparse
import sys
from typing import Final

# One for each of two cores. `config.api.pools` sets the threads of each.
PROCESSES: Final = 2


def command(*, port: int, host: str = "127.0.0.1", processes: int = PROCESSES, is_reserved: bool = False) -> list[str]:
    """Return the command line of the web server. `is_reserved`: the caller has reserved the port."""
    return [
        sys.executable, "-m", "config.web.server", "--host", host, "--port", str(port), "--processes", str(processes),
        *(["--reserved"] if is_reserved else []),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m config.web.server", description="Start the web server.")
    parser.add_argument("--host", default="127.0.0.1", help="an address; :: is all of IPv6 and IPv4")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    # Without a limit, a process that is stopped while it loads the application would never end.
    parser.add_argument("--stop-seconds", type=int, default=2, help="how long running requests may take when it stops")
    parser.add_argument("--reserved", action="store_true", help="the process that starts this one holds the port")
    chosen = parser.parse_args()
    # Not above: `command` is called before the environment is set.
    from config.dev.embedded import fill_environment  # noqa: PLC0415
    from config.environment import environment  # noqa: PLC0415
    from config.ops import redis_status  # noqa: PLC0415
    from config.web.processes import serve  # noqa: PLC0415

    fill_environment()
    try:
        redis_status.refuse_cluster(environment().redis_url.get_secret_value())
    except redis_status.IsCluster as error:
        sys.exit(f"Coppice cannot start. {error}")
    serve(
        host=chosen.host,
        port=chosen.port,
        is_reserved=chosen.reserved,
        processes=chosen.processes,
        stop_seconds=chosen.stop_seconds,
        request_seconds=environment().request_seconds,
    )


if __name__ == "__main__":
    main()
