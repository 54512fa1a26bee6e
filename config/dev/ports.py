"""TCP and UDP ports: of the local RAIDA network, and of the web server."""

import errno
import json
import socket
from pathlib import Path
from typing import Final

from config.dev.processes import StartError

FIRST_RAIDA_PORT: Final = 50000
RAIDA_COUNT: Final = 25


def raida_hosts(base_port: int) -> str:
    return ",".join(f"127.0.0.1:{base_port + number}" for number in range(RAIDA_COUNT))


def stored_raida_port(state: Path) -> int | None:
    try:
        port = json.loads((state / "ports.json").read_text(encoding="utf-8"))["raida"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return port if isinstance(port, int) else None


def choose_raida_port(state: Path, *, wanted: int | None = None) -> int:
    """
    Choose the first of 25 consecutive free ports, store the choice, and return it.

    Without `wanted`, the candidates are the ports of the last start, 50000, and 20000 to 29900, which are below the
    kernel's range for outgoing connections.

    :raises StartError: a wanted port is in use, or no range is free
    """
    if wanted is not None:
        _check_raida_ports(wanted)
    candidates = (
        [wanted] if wanted is not None else [stored_raida_port(state), FIRST_RAIDA_PORT, *range(20000, 30000, 100)]
    )
    for base in candidates:
        if base is not None and raida_ports_are_free(base):
            (state / "ports.json").write_text(json.dumps({"raida": base}), encoding="utf-8")
            return base
    raise StartError("No 25 consecutive ports are free for the RAIDA network.")


def _check_raida_ports(base: int) -> None:
    """:raises StartError: one of the 25 ports from `base` on cannot be used"""
    last = base + RAIDA_COUNT - 1
    needs = f"The local RAIDA network needs ports {base} to {last}"
    other = "Choose others with --raida-port, or omit it to use free ones."
    if not 0 < base <= last < 65536:
        raise StartError(f"{needs}, and ports are numbers from 1 to 65535. {other}")
    for port in range(base, last + 1):
        if not port_is_free(port):
            raise StartError(f"{needs}; port {port} is in use, or this account may not use it. {other}")


def raida_ports_are_free(base: int) -> bool:
    return all(port_is_free(port) for port in range(base, base + RAIDA_COUNT))


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether the port can be bound now, TCP and UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError):
                return False
    return True


def reserve(port: int, host: str = "127.0.0.1") -> socket.socket:
    """
    Reserve a port for the web server, until the returned socket is closed.

    Only sockets of the same user with SO_REUSEPORT, such as those of the web server's processes, can bind beside it.

    :raises OSError: the port is in use, or this account may not bind it
    """
    # Ignore connections of an earlier server in TIME_WAIT.
    reserved = bound(host, port, socket.SO_REUSEADDR)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reserved


def bound(host: str, port: int, option: int) -> socket.socket:
    """
    Return a TCP socket with the option (SO_REUSEADDR, SO_REUSEPORT) that is bound. The host "::" includes IPv4.

    :raises OSError: it cannot be bound
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def why_not(port: int, error: OSError) -> str:
    """Return the message for a port that `reserve` could not bind."""
    if error.errno == errno.EACCES:
        return (
            f"Port {port} needs rights that this account does not have: ports below 1024 are the administrator's."
            " Choose one above 1023, such as PORT=8080 make run, and let a proxy listen on the low port."
        )
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Choose another: PORT=… make run"
    return f"Port {port} cannot be used: {error.strerror}. Choose another: PORT=… make run"


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5):
            return True
    except OSError:
        return False
