"""
The state directory of a private installation, and the environment that names its servers.

`DATABASE_URL` and `REDIS_URL` take precedence: no private server is started for what they name. Private servers
(`config.dev.private_servers`) keep their data in the state directory and listen on Unix sockets alone, in a directory
with a short path: that of a socket may not exceed 107 bytes.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from config.dev.processes import StartError, is_running

ROOT = Path(__file__).resolve().parents[2]
_READ_BY_LIBPQ = re.compile(r"PG[A-Z]+")


def state_directory() -> Path:
    """Return the directory of the private servers, secrets, logs and local RAIDA coins."""
    return Path(os.environ.get("COPPICE_STATE_DIR") or ROOT / ".state").expanduser().resolve()


def runtime_directory(state: Path) -> Path:
    """
    Return the directory of the sockets: one short path for each state directory.

    It is in /tmp and not in TMPDIR, which differs between logins.
    """
    owner = state.stat().st_uid if state.exists() else os.geteuid()
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return Path("/tmp") / f"coppice-{owner}-{digest}"  # noqa: S108 - made 0700, and refused if another user owns it


def database_url(state: Path) -> str:
    return f"postgresql://coppice@/coppice?host={runtime_directory(state)}/pg"


def redis_url(state: Path) -> str:
    return f"unix://{runtime_directory(state)}/valkey.sock?db=0"


def forget_the_shells_database(environment: MutableMapping[str, str]) -> None:
    """Remove libpq's variables (PGOPTIONS, PGSERVICE, …), which would apply to the private server too."""
    for name in [name for name in environment if _READ_BY_LIBPQ.fullmatch(name)]:
        del environment[name]


def fill_environment(*, is_to_start: bool = False) -> None:
    """
    Set the unset variables of the environment to the private servers, before settings load.

    `COPPICE_RAIDA_HOSTS` is set to the servers of the system that runs from the state directory. If none runs, or with
    `is_to_start`, it stays unset and lockers are off: another installation may listen on the ports of an earlier run.

    Nothing is started. A private database has private secrets, which are created once and stored in the state
    directory. A production image sets `COPPICE_EMBEDDED=off`, so that a missing variable is an error.

    :raises StartError: the state directory cannot be written
    """
    if os.environ.get("COPPICE_EMBEDDED") == "off":
        return
    state = state_directory()
    if not os.environ.get("DATABASE_URL"):
        forget_the_shells_database(os.environ)
        os.environ["DATABASE_URL"] = database_url(state)
        for name in ("secret_key", "vault_key"):
            variable = f"COPPICE_{name.upper()}"
            if not os.environ.get(variable):
                os.environ[variable] = stored_secret(state / name)
        # A private system serves this machine alone, without HTTPS.
        os.environ.setdefault("COPPICE_SECURE", "false")
    if not os.environ.get("REDIS_URL"):
        os.environ["REDIS_URL"] = redis_url(state)
    if not is_to_start and not os.environ.get("COPPICE_RAIDA_HOSTS"):
        running = read_running(state)
        if running is not None and is_running(running.pid):
            os.environ["COPPICE_RAIDA_HOSTS"] = running.raida_hosts


@dataclass(frozen=True)
class Running:
    """The content of running.json. `raida_port` is None without a local network."""

    pid: int
    base_url: str
    raida_port: int | None
    raida_hosts: str = ""


def read_running(state: Path) -> Running | None:
    try:
        return Running(**json.loads((state / "running.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def make_directory(path: Path, *, mode: int | None = None) -> None:
    """Create a directory that only its owner can read; `nobody` can pass through a directory of root."""
    if path.is_dir():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode or (0o711 if os.geteuid() == 0 else 0o700))
    except OSError as error:
        raise StartError(
            f"{path} cannot be created: {error.strerror}. Set COPPICE_STATE_DIR to a directory that you own."
        ) from error


def stored_secret(path: Path) -> str:
    """Return the secret in the file: 32 random bytes in base64, created if there is no file."""
    make_directory(path.parent)
    try:
        if not path.exists():
            fresh = path.with_name(f"{path.name}.{os.getpid()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(32)))
            # If another process was faster, its secret is used.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartError(
            f"{path} cannot be used: {error.strerror}. Set COPPICE_STATE_DIR to a directory that you own."
        ) from error
    # Django requires 50 characters of a signing key; base64 of 32 bytes has 44.
    return text if path.name == "vault_key" else f"{path.name}-{text}"
