"""
Upgrade a running system without stopping it: `python -m tests.upgrade DIRECTORY`.

DIRECTORY is a checkout of the earlier version, after `make setup` there. Its system starts with demo data, clients make
transfers there, and meanwhile `manage.py prepare` of this checkout migrates the database. Then the demonstration of the
earlier version runs on the new schema, and after it that of this version, each with its audit. Exit status 0 if clients
got no other answers than before and both demonstrations succeeded.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from config.dev.embedded import ROOT

CLIENTS: Final = 4
SENDER: Final = "upgrade-sender"
PASSWORD: Final = "of the sender"
# Before and after the migration.
SECONDS: Final = 3


def main() -> int:
    """Run all steps. Return the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    earlier = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="coppice-upgrade-") as state:
        os.chmod(state, 0o711)
        names = ("DATABASE_URL", "REDIS_URL", "COPPICE_RAIDA_HOSTS")
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment |= {"COPPICE_STATE_DIR": state, "PORT": str(free_port())}
        migrated = migrate_under_load(earlier, environment)
        # Always both: what fails in one may show the cause of the other.
        shown = [demonstration(checkout, environment) for checkout in (earlier, ROOT)]
    return 0 if migrated and all(shown) else 1


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def manage(checkout: Path, *arguments: str) -> list[str]:
    return [str(checkout / ".venv/bin/python"), str(checkout / "manage.py"), *arguments]


def migrate_under_load(earlier: Path, environment: dict[str, str]) -> bool:
    """Migrate while the earlier version serves. Return whether all requests succeeded, and the migration."""
    with subprocess.Popen(
        manage(earlier, "up"), env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as system:
        try:
            base = f"http://127.0.0.1:{environment['PORT']}"
            wait_for(base, system)
            logins = json.loads((Path(environment["COPPICE_STATE_DIR"]) / "demo.json").read_text())
            for command in (["create_wallet", SENDER], ["issue_tokens", "--wallet", SENDER, "--count", "100000"]):
                subprocess.run(
                    manage(earlier, *command),
                    env=environment | {"COPPICE_WALLET_PASSWORD": PASSWORD},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
            login = httpx.post(
                f"{base}/auth",
                json={"wallet": SENDER, "password": PASSWORD},
                headers={"treetracker-api-key": logins["api_key"]},
                timeout=60,
            )
            headers = {
                "treetracker-api-key": logins["api_key"],
                "authorization": f"Bearer {login.raise_for_status().json()['token']}",
            }
            statuses: Counter[str] = Counter()
            longest = [0.0]
            end = threading.Event()
            threads = [
                threading.Thread(target=send, args=(base, headers, statuses, longest, end)) for _ in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(SECONDS)
            before = statuses.total()
            began = time.monotonic()
            done = subprocess.run(manage(ROOT, "prepare"), env=environment, check=False)
            took = time.monotonic() - began
            during = statuses.total() - before
            time.sleep(SECONDS)
            end.set()
            for thread in threads:
                thread.join()
        finally:
            system.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                system.wait(timeout=60)
            system.kill()
    print(
        f"prepare: status {done.returncode} after {took:.1f} s, with {during} requests. "
        f"All requests: {dict(statuses)}, the longest took {longest[0]:.2f} s."
    )
    return done.returncode == 0 and set(statuses) <= {"201", "202"}


def send(
    base: str, headers: dict[str, str], statuses: "Counter[str]", longest: list[float], end: threading.Event
) -> None:
    """Send transfers of one token to bob until `end`, and count the answers by status."""
    body = {"bundle": {"bundle_size": 1}, "sender_wallet": SENDER, "receiver_wallet": "bob"}
    with httpx.Client(base_url=base, headers=headers, timeout=60) as api:
        while not end.is_set():
            began = time.monotonic()
            try:
                status = str(api.post("/transfers", json=body).status_code)
            except httpx.TransportError as error:
                status = type(error).__name__
            statuses[status] += 1
            longest[0] = max(longest[0], time.monotonic() - began)


def demonstration(checkout: Path, environment: dict[str, str]) -> bool:
    """Run the demonstration of a checkout. Return whether it succeeded."""
    done = subprocess.run(manage(checkout, "demo"), env=environment, capture_output=True, text=True, check=False)
    print(f"demonstration of {checkout}: status {done.returncode}")
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-2000:], sep="\n")
        for log in sorted((Path(environment["COPPICE_STATE_DIR"]) / "log").glob("manage-*.log")):
            print(f"{log.name}:", log.read_text(errors="replace")[-2000:], sep="\n")
    return done.returncode == 0


def wait_for(base: str, system: "subprocess.Popen[bytes]") -> None:
    """Return when the system serves. Raise RuntimeError if it ends, or does not within five minutes."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and system.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{base}/readyz").status_code == 200:
                return
        time.sleep(0.5)
    raise RuntimeError("The earlier version did not start.")


if __name__ == "__main__":
    sys.exit(main())
