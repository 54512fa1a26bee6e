"""`manage.py doctor`: check every part of the installation, and say how to repair those that fail."""

import http.client
import importlib.metadata
import platform
import re
import stat
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.utils import timezone
from rich.console import Console
from rich.text import Text

from config.admin.models import FormerName
from config.dev import embedded, private_servers
from config.dev.embedded import read_running
from config.dev.processes import StartError
from config.environment import ROOT
from config.ops import health
from config.postgresql import replica, sessions
from config.web import static_files
from lockers import key_rotation, transport
from lockers.raida.commands import Command as RaidaCommand
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.vault import SealBroken
from wallets import names, queries

STATE = embedded.state_directory()
ECHO_SECONDS = 3.0
NAMES_AT_MOST = 50
WEB_SECONDS = 5.0
# Beat begins the second erasure two minutes after the first.
ERASED_WITHIN = timedelta(minutes=15)
UP = "Start the system: make run. Or set {variable} to another server."
TRY_AGAIN = "Run this command again when it does."


class CheckFailed(Exception):
    """A check failed: what is wrong, and what to do."""

    def __init__(self, wrong: str, advice: str) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.advice = advice


@dataclass(frozen=True)
class Finding:
    part: str
    passed: bool
    detail: str
    advice: str = ""


class Command(BaseCommand):
    help = "Check the interpreter, servers, worker, migrations, secrets and the 25 RAIDA servers."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False)
        failed = 0
        for finding in examine():
            mark, style = ("✓", "green") if finding.passed else ("✗", "red")
            console.print(
                Text.assemble((f"{mark} ", style), (f"{finding.part:<15}", "bold"), finding.detail), soft_wrap=True
            )
            if not finding.passed:
                failed += 1
                console.print(Text(f"  {'':<15}→ {finding.advice}", style="yellow"), soft_wrap=True)
        if failed:
            console.print(Text(f"\n{failed} of {len(CHECKS)} checks failed.", style="red"))
            sys.exit(1)
        console.print(Text("\nAll checks passed.", style="green"))


def examine() -> Iterator[Finding]:
    """Run all checks, one after the other."""
    for part, check in CHECKS.items():
        try:
            yield Finding(part, passed=True, detail=check())
        except CheckFailed as error:
            yield Finding(part, passed=False, detail=error.wrong, advice=error.advice)


def interpreter() -> str:
    return f"Python {platform.python_version()}, {sys.executable}"


def packages() -> str:
    """Compare the installed packages with requirements.txt; a package with a condition may be missing."""
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*])?==([^\s;]+)(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    wrong = []
    for name, version, rest in pins:
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if ";" in rest:
                continue
            installed = "missing"
        if installed != version:
            wrong.append(f"{name} {installed}, not {version}")
    if wrong:
        raise CheckFailed("; ".join(wrong), "Install the locked versions: make setup")
    return "as locked"


def postgres_binaries() -> str:
    if settings.DATABASES["default"]["HOST"] != str(embedded.runtime_directory(STATE) / "pg"):
        return "not needed: DATABASE_URL names a server"
    try:
        found = private_servers.Postgres(STATE).binaries()
    except StartError as error:
        raise CheckFailed("no usable program found", str(error)) from error
    return f"PostgreSQL {found.version} {found.origin}, {found.directory}"


def valkey_binary() -> str:
    if embedded.redis_url(STATE) != settings.REDIS_URL:
        return "not needed: REDIS_URL names a server"
    try:
        program, shown = private_servers.Valkey(STATE).program()
    except StartError as error:
        raise CheckFailed("no usable program found", str(error)) from error
    return f"{shown}, {program}"


def database() -> str:
    _ask(health.check_database, UP.format(variable="DATABASE_URL"))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            (version,) = cursor.fetchone() or ("",)
    except DatabaseError as error:
        raise CheckFailed("stopped answering", UP.format(variable="DATABASE_URL")) from error
    if int(str(version).split(".")[0]) < private_servers.OLDEST_POSTGRES:
        raise CheckFailed(
            f"PostgreSQL {version} is too old", f"Coppice needs PostgreSQL {private_servers.OLDEST_POSTGRES} or newer."
        )
    return f"PostgreSQL {version} answers"


def sessions_settings() -> str:
    """Check the settings of a database session."""
    remedy = "Store them in the database: .venv/bin/python manage.py prepare"
    if settings.DATABASE_POOLED is sessions.Pooled.NO:
        remedy = "Set COPPICE_DATABASE_POOLED=true for all processes. " + remedy
    _ask(health.check_settings, remedy)
    if settings.DATABASE_POOLED is sessions.Pooled.NO:
        return "sent by each connection"
    return "stored in the database, for sessions behind a pooler"


def writes() -> str:
    _ask(
        health.check_writes,
        "Name the primary in DATABASE_URL, or several hosts with target_session_attrs=read-write. Until then all data"
        " can be read.",
    )
    return "accepted"


def read_replica() -> str:
    if not replica.is_configured():
        return "none: COPPICE_REPLICA_URL is not set, and the primary is read"
    try:
        return health.check_replica()
    except health.Unhealthy as error:
        raise CheckFailed(
            str(error),
            "The primary is read meanwhile. Check that the standby runs and receives the log: on the primary, SELECT *"
            " FROM pg_stat_replication; that beat and a worker run; and that the clocks of both machines agree.",
        ) from error


def migrations() -> str:
    _ask(health.check_migrations, "Apply them: .venv/bin/python manage.py migrate")
    return "all applied"


def pages() -> str:
    """Check that the static files of /admin/ and /docs/ are those of this code."""
    if not static_files.are_current():
        raise CheckFailed(
            f"static files in {settings.STATIC_ROOT} are missing or outdated: pages have no style",
            "Collect them, and restart the web server: .venv/bin/python manage.py prepare --static-files-only",
        )
    return "static files are collected"


def operators() -> str:
    """Count the operators who can log in."""
    try:
        number = User.objects.filter(is_active=True, is_staff=True).count()
    except DatabaseError as error:
        raise CheckFailed("unknown, the database does not answer", TRY_AGAIN) from error
    if not number:
        raise CheckFailed("no operator can log in at /admin/", "Create one: .venv/bin/python manage.py createsuperuser")
    demo = " (the demo's login is in demo.json of the state directory)" if (STATE / "demo.json").exists() else ""
    return f"{number} can log in at /admin/{demo}"


def broker() -> str:
    _ask(health.check_broker, UP.format(variable="REDIS_URL"))
    return "answers"


def worker() -> str:
    _ask(
        health.check_worker,
        "Start a worker and beat: make run, or celery -A config.celery worker and celery -A config.celery beat. "
        f"Logs: {STATE / 'log'}",
    )
    return "processes the tasks that beat schedules"


def raida() -> str:
    if not settings.RAIDA_HOSTS:
        return (
            "off: locker endpoints answer 503, all others work. To switch lockers on, start make run here, or set"
            " COPPICE_RAIDA_HOSTS to 25 host:port, separated by commas"
        )
    try:
        servers = transport.servers_from_settings(settings.RAIDA_HOSTS)
    except transport.InvalidServers as error:
        raise CheckFailed(str(error), "Set COPPICE_RAIDA_HOSTS to 25 host:port, separated by commas.") from error
    call = transport.Call(command=RaidaCommand.ECHO, payloads=dict.fromkeys(range(RAIDA_COUNT), b""))
    results = transport.ask(servers, call, until=transport.within(ECHO_SECONDS))
    silent = sorted(number for number, result in results.items() if not isinstance(result, transport.Answer))
    if not silent:
        return f"all {RAIDA_COUNT} servers answer"
    named = f"{RAIDA_COUNT - len(silent)} of {RAIDA_COUNT} servers answer; silent: {', '.join(map(str, silent))}"
    if len(silent) == RAIDA_COUNT:
        raise CheckFailed("no server answers", "Start the local network: make run. Or set COPPICE_RAIDA_HOSTS.")
    if len(silent) > RAIDA_COUNT - QUORUM:
        raise CheckFailed(named, f"A quorum of {QUORUM} servers is needed. Check the network, or wait.")
    raise CheckFailed(named, "The others are a quorum, so tasks continue. Check the silent servers.")


def secrets() -> str:
    for name in ("secret_key", "vault_key", "demo.json"):
        path = STATE / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise CheckFailed(f"{path} is readable by other users", f"chmod 600 {path}")
    if settings.DEBUG:
        raise CheckFailed("COPPICE_DEBUG is on: error pages show settings to clients", "Unset COPPICE_DEBUG.")
    return "set, and readable by their owner alone"


def wallet_names() -> str:
    """List wallet names that the present rule would refuse. They remain valid."""
    try:
        odd = list(queries.odd_names())
    except DatabaseError:
        return "not checked: the database does not answer, or lacks migrations"
    if not odd:
        return "all stored names conform to the present rule"
    lines = [f"{len(odd):,} stored names do not conform to the present rule; their wallets work, no action is needed"]
    for wallet_id, name, reason, is_reached_by_name in odd[:NAMES_AT_MOST]:
        ways = "its name or its id" if is_reached_by_name else "its id only"
        lines.append(f"{names.shown(name)} {reason}; reached by {ways}: {wallet_id}")
    if len(odd) > NAMES_AT_MOST:
        lines.append(f"and {len(odd) - NAMES_AT_MOST:,} more")
    return f"\n  {'':<15}".join(lines)


def vault() -> str:
    try:
        counts = key_rotation.counts()
    except SealBroken as error:
        raise CheckFailed(str(error), "Set COPPICE_VAULT_KEY to a new key.") from error
    except DatabaseError as error:
        raise CheckFailed("unknown, the database does not answer", TRY_AGAIN) from error
    unknown, old = sum(each.unknown for each in counts), sum(each.old for each in counts)
    if unknown:
        raise CheckFailed(
            f"{unknown:,} secrets are sealed with a key that is not configured",
            "Put the key that sealed them into COPPICE_VAULT_OLD_KEYS. Without it their coins are lost.",
        )
    if old:
        raise CheckFailed(
            f"{old:,} secrets are sealed with an earlier key",
            "Keep COPPICE_VAULT_OLD_KEYS, and seal them with the present key: .venv/bin/python manage.py reseal",
        )
    return "COPPICE_VAULT_KEY alone opens every secret"


def pseudonyms() -> str:
    """Check that the second erasure of pseudonymised wallets is not late: it waits for open transactions."""
    try:
        late = FormerName.objects.filter(due_at__lt=timezone.now() - ERASED_WITHIN).count()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_user")
            sees_all, role = cursor.fetchone()
    except DatabaseError as error:
        raise CheckFailed("unknown, the database does not answer", TRY_AGAIN) from error
    if not late:
        return "nothing waits to be erased again"
    grant = "" if sees_all else f" Transactions of other roles count as old: GRANT pg_read_all_stats TO {role};"
    raise CheckFailed(
        f"{late} pseudonymised wallets wait to be erased again for more than {ERASED_WITHIN.seconds // 60} minutes",
        "Check that beat and a worker run, and end transactions that are open for long (pg_stat_activity)." + grant,
    )


def running_system() -> str:
    running = read_running(STATE)
    if running is None:
        return "not started by make run from this directory"
    try:
        # Ignore the proxies of the environment.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{running.base_url}/livez", timeout=WEB_SECONDS):
            return f"runs at {running.base_url}"
    except (OSError, http.client.HTTPException) as error:
        raise CheckFailed(
            f"the web server at {running.base_url} does not answer",
            f"Stop make run with Ctrl-C and start it again. Logs: {STATE / 'log'}",
        ) from error


def _ask(check: Callable[[], None], advice: str) -> None:
    try:
        check()
    except health.Unhealthy as error:
        because = TRY_AGAIN if str(error).startswith("unknown") else advice
        raise CheckFailed(str(error), because) from error


CHECKS: dict[str, Callable[[], str]] = {
    "interpreter": interpreter,
    "packages": packages,
    "PostgreSQL": postgres_binaries,
    "Valkey": valkey_binary,
    "secrets": secrets,
    "system": running_system,
    "database": database,
    "settings": sessions_settings,
    "writes": writes,
    "migrations": migrations,
    "replica": read_replica,
    "pages": pages,
    "operators": operators,
    "wallets' names": wallet_names,
    "vault": vault,
    "pseudonyms": pseudonyms,
    "broker": broker,
    "worker, beat": worker,
    "RAIDA": raida,
}
