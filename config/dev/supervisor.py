"""
The whole system as a context manager: servers, worker, beat, web server, and the local RAIDA network.

    with System(state_directory(), progress=…) as system:
        httpx.get(f"{system.base_url}/readyz")

When the block is entered, every part has passed its readiness check. When it is left, for whatever reason, every part
has ended. A signal during the start is raised at a checkpoint, where no child process is half started.
"""

import contextlib
import fcntl
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError

from config.dev.embedded import (
    ROOT,
    database_url,
    forget_the_shells_database,
    make_directory,
    read_running,
    redis_url,
    state_directory,
    stored_secret,
)
from config.dev.interruptions import Interrupted, Interruptions
from config.dev.ports import accepts, choose_raida_port, raida_hosts, reserve, why_not
from config.dev.private_servers import Postgres, Valkey
from config.dev.processes import POLL_SECONDS, Child, Children, StartError, is_running
from config.ops import rabbitmq, redis_status
from config.web import server as web_server
from config.web import static_files
from lockers import transport
from lockers.raida.commands import Command

FIRST_WEB_PORT = 8000
# Twice the duration of a cold start on two busy cores.
READY_SECONDS: Final = 60
MIGRATE_SECONDS: Final = 300
RAIDA_ATTEMPTS: Final = 5
# Longer than the reaper waits before it kills.
END_SECONDS: Final = 12
SERVERS: Final = (Postgres.name, Valkey.name)


@dataclass(frozen=True)
class Phase:
    """One step of the start. `detail` is its result in a few words."""

    name: str
    state: Literal["started", "done", "failed"]
    seconds: float = 0.0
    detail: str = ""


class System:
    """
    Coppice with all servers that it needs, on this machine.

    Private servers run in `state` unless `environ` has `DATABASE_URL` and `REDIS_URL`, and a local RAIDA network runs
    unless it has `COPPICE_RAIDA_HOSTS`. Without `port` and `raida_port` free ports are chosen. `demo` adds the wallets,
    tokens and logins of the demo.
    """

    def __init__(
        self,
        state: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
        raida_port: int | None = None,
        demo: bool = False,
        progress: Callable[[Phase], None] = lambda phase: None,
    ) -> None:
        self.state = state or state_directory()
        self.given = dict(os.environ if environ is None else environ)
        self.demo = demo
        self.progress = progress
        self.port = port or 0
        self.raida_port = raida_port
        self.environment: dict[str, str] = {}
        self._wanted_port = port
        self._wanted_raida_port = raida_port
        self._interruptions = Interruptions()
        self._exit = contextlib.ExitStack()
        self._children: Children
        # None with `COPPICE_RAIDA_HOSTS`.
        self._raidanet: Child | None = None
        self._web: Child
        self._worker: Child

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    # --- start and stop ------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._interruptions.install()
        self._exit.callback(self._interruptions.uninstall)
        try:
            with self._interruptions.held():
                self._start()
        except BaseException:
            with contextlib.suppress(Interrupted):
                self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stop()
        except Interrupted:
            # A first Ctrl-C during the shutdown changes only the exit status.
            if kind is None:
                raise

    def _stop(self) -> None:
        with self._interruptions.held():
            self._exit.close()

    def _start(self) -> None:
        lock = self._take_lock()
        children = Children(self.state, checkpoint=self._interruptions.checkpoint, lock=lock)
        self._children = self._exit.enter_context(children)
        self._choose_ports()
        self._check_raida_hosts()
        self._fill_environment()
        if not static_files.are_current():
            with self.phase("static files") as say:
                say("collected" if static_files.collect() else "collected by another start")

        # Parts that need no database load their modules while PostgreSQL starts and migrations run, which halves the
        # start on two cores. Their readiness is checked below.
        self._exit.callback(self._stop_servers)
        self._exit.callback(self._stop_parts)
        private_database = self.environment["DATABASE_URL"] == database_url(self.state)
        demo = ["--demo"] if self.demo else []
        prepare = self._spawn_manage(
            "prepare", "prepare", *demo, *(["--patience", str(READY_SECONDS)] if private_database else [])
        )
        if not self._raida_is_given:
            self._raidanet = self._spawn_raidanet()
        self._web = self._spawn_web()
        if self.environment["REDIS_URL"] == redis_url(self.state):
            self._start_server(Valkey(self.state))
        self._worker = self._spawn_worker()
        if private_database:
            self._start_server(Postgres(self.state))
        with self.phase("migrations") as say:
            say(self._said_of(prepare, "migrations"))
        # After the migrations: the tasks that beat schedules query the tables.
        since = time.time()
        beat = self._spawn_python("beat", "-m", "celery", "-A", "config.celery", "beat", "-l", "INFO", "--pidfile=")
        if self.demo:
            with self.phase("demo data") as say:
                say(self._said_of(prepare, "demo data"))
        self._children.finish(prepare, timeout_seconds=READY_SECONDS)
        with self.phase("RAIDA network") as say:
            if self._raidanet is None:
                first = self.environment["COPPICE_RAIDA_HOSTS"].split(",")[0]
                say(f"the 25 servers of COPPICE_RAIDA_HOSTS, {first} first; no local network is started")
            else:
                self._wait_for_raida(self._raidanet)
                say(f"25 servers on ports {self._chosen_raida_port} to {self._chosen_raida_port + 24}")
        with self.phase("web server") as say:
            self._children.wait_until(self._web_is_ready, self._web, timeout_seconds=READY_SECONDS)
            say(self.base_url)
        with self.phase("Celery worker") as say:
            self._children.wait_until(self._worker_answers, self._worker, timeout_seconds=READY_SECONDS)
            say("2 processes")
        with self.phase("beat") as say:
            self._children.wait_until(lambda: self._beat_works(since), beat, timeout_seconds=READY_SECONDS)
            say("schedules tasks every 2 s")
        self._write_running()

    def _take_lock(self) -> int:
        """
        Lock the state directory with flock, which leaves no lock file and is released by the kernel.

        The reaper holds the lock too: after a `kill -9` of its supervisor it needs some seconds to end the children.
        """
        make_directory(self.state)
        descriptor = os.open(self.state, os.O_RDONLY)
        self._exit.callback(os.close, descriptor)
        if _locks(descriptor):
            return descriptor
        running = read_running(self.state)
        if running is None or not is_running(running.pid):
            with self.phase("earlier system") as say:
                deadline = time.monotonic() + END_SECONDS
                while time.monotonic() < deadline:
                    self._interruptions.checkpoint()
                    time.sleep(POLL_SECONDS)
                    if _locks(descriptor):
                        say("has ended")
                        return descriptor
        where = f" at {running.base_url} (process {running.pid})" if running else ""
        raise StartError(
            f"Coppice already runs from {self.state}{where}. Stop it first, or set COPPICE_STATE_DIR "
            "to another directory to run a second one."
        )

    def _choose_ports(self) -> None:
        with self.phase("ports") as say:
            last = FIRST_WEB_PORT + 199
            candidates = [self._wanted_port] if self._wanted_port is not None else range(FIRST_WEB_PORT, last + 1)
            for port in candidates:
                try:
                    reserved = reserve(port)
                except OSError as error:
                    if self._wanted_port is not None:
                        raise StartError(why_not(port, error)) from error
                else:
                    break
            else:
                raise StartError(f"No port from {FIRST_WEB_PORT} to {last} is free. Use PORT=…")
            self._exit.callback(reserved.close)
            self.port = port
            if not self._raida_is_given:
                self.raida_port = choose_raida_port(self.state, wanted=self.raida_port)
            taken = (
                "" if self.port == (self._wanted_port or FIRST_WEB_PORT) else f", because {FIRST_WEB_PORT} is in use"
            )
            say(f"web {self.port}{taken}")

    @property
    def _raida_is_given(self) -> bool:
        return bool(self.given.get("COPPICE_RAIDA_HOSTS", "").strip())

    def _check_raida_hosts(self) -> None:
        """:raises StartError: COPPICE_RAIDA_HOSTS does not name 25 servers, or `raida_port` is given too"""
        if not self._raida_is_given:
            return
        if self._wanted_raida_port is not None:
            raise StartError("COPPICE_RAIDA_HOSTS names servers, so no local network starts: omit --raida-port.")
        hosts = [part.strip() for part in self.given["COPPICE_RAIDA_HOSTS"].split(",") if part.strip()]
        try:
            transport.servers_from_settings(hosts)
        except transport.InvalidServers as error:
            raise StartError(f"COPPICE_RAIDA_HOSTS is invalid: {error}.") from error

    def _fill_environment(self) -> None:
        """Build the environment of the child processes."""
        environment = dict(self.given)
        environment["COPPICE_STATE_DIR"] = str(self.state)
        if not self._raida_is_given:
            environment["COPPICE_RAIDA_HOSTS"] = raida_hosts(self._chosen_raida_port)
        environment["DJANGO_SETTINGS_MODULE"] = "config.settings.base"
        environment["PYTHONUNBUFFERED"] = "1"
        if not environment.get("DATABASE_URL"):
            forget_the_shells_database(environment)
            # This process connects to the server too.
            forget_the_shells_database(os.environ)
            environment["DATABASE_URL"] = database_url(self.state)
            environment.setdefault("COPPICE_SECRET_KEY", stored_secret(self.state / "secret_key"))
            environment.setdefault("COPPICE_VAULT_KEY", stored_secret(self.state / "vault_key"))
            environment.setdefault("COPPICE_SECURE", "false")
        if not environment.get("REDIS_URL"):
            environment["REDIS_URL"] = redis_url(self.state)
        self.environment = environment

    def _start_server(self, server: Postgres | Valkey) -> None:
        with self.phase(server.name) as say:
            say(server.start(self._children))

    def _stop_parts(self) -> None:
        self._running_file.unlink(missing_ok=True)
        self._children.stop([child for child in self._children.children if child.name not in SERVERS])

    def _stop_servers(self) -> None:
        """Stop the servers last, after all their clients."""
        self._children.stop([child for child in self._children.children if child.name in SERVERS], patience_seconds=15)

    # --- while it runs -------------------------------------------------------------------

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Callable[[str], None]]:
        """Report a phase with its duration; the texts that the block passes on are its detail."""
        begun = time.monotonic()
        said: list[str] = []
        self.progress(Phase(name, "started"))
        try:
            yield said.append
        except BaseException as error:
            self.progress(Phase(name, "failed", time.monotonic() - begun, str(error)))
            raise
        self.progress(Phase(name, "done", time.monotonic() - begun, " ".join(said)))

    def manage(self, *arguments: str) -> str:
        """
        Run a management command in this system's environment and return its output.

        :raises StartError: it failed
        """
        with self._interruptions.held():
            return self._children.run(
                f"manage {arguments[0]}",
                [sys.executable, str(ROOT / "manage.py"), *arguments],
                timeout_seconds=MIGRATE_SECONDS,
                environ=self.environment,
                directory=ROOT,
            )

    def check(self) -> None:
        """:raises StartError: a part has stopped"""
        self._children.check()

    def watch(self) -> None:
        """
        Wait for a signal.

        :raises StartError: a part has stopped
        :raises Interrupted: a signal arrived
        """
        while True:
            self.check()
            time.sleep(0.2)

    # --- parts ---------------------------------------------------------------------------

    def _spawn_python(self, name: str, *arguments: str) -> Child:
        return self._children.spawn(name, [sys.executable, *arguments], environ=self.environment, directory=ROOT)

    def _spawn_manage(self, name: str, *arguments: str) -> Child:
        return self._spawn_python(name, str(ROOT / "manage.py"), *arguments)

    @property
    def _chosen_raida_port(self) -> int:
        assert self.raida_port is not None
        return self.raida_port

    def _spawn_raidanet(self) -> Child:
        directory = str(self.state / "raida")
        return self._spawn_manage("RAIDA", "raidanet", "--directory", directory, "--base-port", str(self.raida_port))

    def _spawn_web(self) -> Child:
        command = web_server.command(port=self.port, is_reserved=True)
        return self._children.spawn("web", command, environ=self.environment, directory=ROOT)

    def _spawn_worker(self) -> Child:
        return self._spawn_python(
            "worker", "-m", "celery", "-A", "config.celery", "worker", "-c", "3", "-l", "INFO",
            "--without-gossip", "--without-mingle", "-n", f"worker-{os.getpid()}@coppice",
        )  # fmt: skip

    def _said_of(self, child: Child, subject: str) -> str:
        """Wait for the line `subject: …` in a child's log and return its text."""

        def line() -> str:
            said = child.log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            return next((text for text in said if text.startswith(f"{subject}: ") and text.endswith("\n")), "")

        self._children.wait_until(lambda: bool(line()), child, timeout_seconds=MIGRATE_SECONDS, may_end=True)
        return line().removeprefix(f"{subject}: ").rstrip()

    def _wait_for_raida(self, raidanet: Child) -> None:
        for _ in range(RAIDA_ATTEMPTS):
            try:
                self._children.wait_until(self._raida_answers, raidanet, timeout_seconds=READY_SECONDS)
            except StartError:
                # A port was taken after the check, by a second Coppice or an outgoing connection. Choose others,
                # unless the operator asked for these.
                if self._wanted_raida_port is not None or "cannot listen" not in raidanet.last_log_line():
                    raise
            else:
                return
            earlier = self.raida_port
            self.raida_port = choose_raida_port(self.state)
            replaced = [raidanet] if self.raida_port == earlier else [raidanet, self._web, self._worker]
            self._children.stop(replaced)
            self._fill_environment()
            raidanet = self._raidanet = self._spawn_raidanet()
            if self.raida_port != earlier:
                self._web, self._worker = self._spawn_web(), self._spawn_worker()
        raise StartError(f"No 25 consecutive ports could be bound for the RAIDA network in {RAIDA_ATTEMPTS} attempts.")

    def _raida_answers(self) -> bool:
        hosts = self.environment["COPPICE_RAIDA_HOSTS"].split(",")
        # A refused connection is reported at once; an unanswered echo takes its whole timeout.
        if not all(accepts(host) for host in hosts):
            return False
        servers = transport.servers_from_settings(hosts)
        call = transport.Call(command=Command.ECHO, payloads=dict.fromkeys(range(len(servers)), b""))
        results = transport.ask(servers, call, until=transport.within(2.0))
        return all(isinstance(result, transport.Answer) for result in results.values())

    def _web_is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            # The worker is checked afterwards, and beat last.
            connection.request("GET", "/readyz?without=worker", headers={"Host": "localhost"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _worker_answers(self) -> bool:
        with self._celery() as celery:
            try:
                return bool(celery.control.ping(timeout=0.5, limit=1))
            except (BrokerError, OSError):
                return False

    def _beat_works(self, since: float) -> bool:
        try:
            return redis_status.last_heartbeat(self.environment["REDIS_URL"]) > since
        except redis_status.BrokerSilent:
            return False

    def _celery(self) -> Celery:
        url, rabbit = self.environment["REDIS_URL"], self.environment.get("COPPICE_BROKER_URL")
        app = Celery("supervisor", broker=rabbit or redis_status.broker_from_url(url), set_as_current=False)
        app.conf.broker_transport_options = (
            rabbitmq.TRANSPORT_OPTIONS if rabbit else redis_status.transport_options(url)
        )
        return app

    # --- small files ---------------------------------------------------------------------

    @property
    def _running_file(self) -> Path:
        return self.state / "running.json"

    def _write_running(self) -> None:
        running = {
            "pid": os.getpid(),
            "base_url": self.base_url,
            "raida_port": self.raida_port,
            "raida_hosts": self.environment["COPPICE_RAIDA_HOSTS"],
        }
        self._children.remove_at_the_end(self._running_file)
        self._running_file.write_text(json.dumps(running), encoding="utf-8")


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
