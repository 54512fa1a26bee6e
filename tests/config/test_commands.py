"""Commands of operators, within this process: what they refuse, what they record, and what they leave behind."""

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import OperationalError, connection
from django.utils import timezone

from config.admin import roles
from config.admin.models import Backup
from config.management.commands import prepare
from config.ops import partitions, request_log
from config.postgresql import sessions
from config.web import static_files
from lockers.localnet import minting
from lockers.localnet.fleet import ADMIN_KEY_SIZE, CannotStart
from lockers.management.commands import mint_coins
from tests.support.sealed_rows import past_triggers
from transfers import operations
from wallets import operations as wallets
from wallets.models import Token


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


# What a command does not run without.
REQUIRED = {
    "backup": ["directory"],
    "create_api_key": ["name"],
    "create_wallet": ["name"],
    "export_wallet": ["wallet"],
    "import_treetracker": ["dsn"],
    "issue_tokens": ["--wallet"],
    "mint_coins": ["--out", "--coins"],
    "pseudonymise_wallet": ["wallet"],
    "reset_second_factor": ["name"],
    "restore": ["directory"],
    "rotate_api_key": ["key"],
}


def test_what_a_command_requires_is_as_listed() -> None:
    found = {}
    for name, app in get_commands().items():
        if not app.startswith("django."):
            actions = load_command_class(app, name).create_parser("manage.py", name)._actions
            found[name] = [(each.option_strings or [each.dest])[0] for each in actions if each.required]
    assert {name: wanted for name, wanted in found.items() if wanted} == REQUIRED


# What a command reads as something else than text.
READ_AS = {
    "backup": {"directory": "Path"},
    "import_treetracker": {
        "--decisions": "Path", "--report": "Path", "--since": "moment", "--template": "Path",
    },
    "issue_tokens": {"--count": "int", "--csv": "Path"},
    "mint_coins": {"--base-port": "int", "--directory": "Path", "--out": "Path"},
    "prepare": {"--patience": "float"},
    "raidanet": {"--base-port": "int", "--directory": "Path"},
    "record_backup": {"--bytes": "int"},
    "restore": {"--checkpoints": "Path", "directory": "Path"},
    "rotate_api_key": {"--old-stays-valid": "int"},
    "up": {"--port": "int", "--raida-port": "int"},
    "verify": {"--checkpoints": "Path"},
}  # fmt: skip


def test_what_a_command_reads_as_numbers_and_paths_is_as_listed() -> None:
    """Other tests give these values themselves, not their text."""
    found: dict[str, dict[str, str]] = {}
    for name, app in get_commands().items():
        if not app.startswith("django."):
            for each in load_command_class(app, name).create_parser("manage.py", name)._actions:
                option = (each.option_strings or [each.dest])[0]
                if each.type not in (None, str) and option not in ("-v", "--verbosity"):
                    found.setdefault(name, {})[option] = each.type.__name__  # type: ignore[union-attr]
    assert found == READ_AS


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("command", "refusal", "otherwise"),
    [
        ("audit", "something was lost, doubled or changed behind the ledger", "Nothing was lost or doubled."),
        ("accept_recovery", "do not let this database serve", "Nothing was lost or doubled, as of the moment to"),
    ],
)
def test_a_single_finding_is_said_and_is_a_failure(command: str, refusal: str, otherwise: str) -> None:
    operations.issue_tokens(wallet=wallets.create_wallet(name="alice"), count=1)
    assert run(command).startswith(otherwise)
    token = Token.objects.get()
    with past_triggers():
        Token.objects.update(arrival=token.arrival + 1)
    said = StringIO()
    with pytest.raises(CommandError, match=f"^1 findings: {refusal}"):
        call_command(command, stdout=said, stderr=said)
    assert said.getvalue().splitlines() == [said.getvalue().strip()]


@pytest.mark.django_db
def test_a_backup_of_another_program_is_recorded_with_its_size_if_that_is_known() -> None:
    with pytest.raises(CommandError, match="must not be negative"):
        run("record_backup", "--bytes=-1")
    assert not Backup.objects.exists()
    before = timezone.now()
    for arguments, size in (([], 0), (["--bytes=0"], 0), (["--bytes=12"], 12)):
        run("record_backup", *arguments)
        latest = Backup.objects.latest("id")
        assert latest.bytes == size
        assert before < latest.made_at < timezone.now()
    assert Backup.objects.count() == 3


@pytest.fixture
def prepared(transactional_db: None, settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """What the command has to do, but for static files, which are current; afterwards there is none of it."""
    settings.STATIC_ROOT = tmp_path
    (tmp_path / ".collected").write_text(static_files._state())
    Group.objects.all().delete()
    yield
    for day in partitions.days(request_log.PARTITIONS):
        partitions.drop(request_log.PARTITIONS, day)


def test_prepare_makes_what_beat_would_make_later(prepared: None) -> None:
    with connection.cursor() as cursor:
        # What a killed run left: it refuses events, and with them transfers, of that time.
        cursor.execute(
            "ALTER TABLE wallets_event_default"
            " ADD CONSTRAINT events_of_later CHECK (created_at < '2100-01-01') NOT VALID"
        )
    weekly = (partitions.ANSWERS, partitions.MESSAGES, partitions.DELIVERIES)
    partitions.tidy()
    ahead = [partitions.days(table) for table in weekly]
    for table, days in zip(weekly, ahead, strict=True):
        partitions.drop(table, days[-1])

    assert run("prepare") == "static files: nothing to collect\nmigrations: nothing to apply\n"

    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_constraint WHERE conname = 'events_of_later'")
        assert cursor.fetchall() == []
    assert [partitions.days(table) for table in weekly] == ahead
    today = partitions.today()
    assert partitions.days(request_log.PARTITIONS) == [today + timedelta(days=after) for after in range(3)]
    assert {group.name for group in Group.objects.all()} == {roles.VIEWER, roles.OPERATOR, roles.ADMINISTRATOR}


def test_prepare_says_what_became_of_the_settings_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}
    for left in (None, 0, 3):
        monkeypatch.setattr(sessions, "keep", lambda *_, left=left: left)
        said[left] = prepare._keep_settings().partition(". ")[0]
    assert said == {
        None: "already stored in the database",
        0: "stored in the database",
        3: "stored in the database; 3 open sessions still lack them",
    }


@pytest.mark.parametrize(
    ("patience", "away_for", "slept", "is_reached"),
    [(0.0, 0.0, 0, True), (0.0, 0.1, 0, False), (2.0, 1.5, 2, True), (2.0, 2.0, 2, True), (2.0, 2.5, 2, False)],
)
def test_prepare_waits_for_the_database_as_long_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, patience: float, away_for: float, slept: int, is_reached: bool
) -> None:
    now, naps = [100.0], list[float]()

    def ensure_connection() -> None:
        if now[0] < 100.0 + away_for:
            raise OperationalError("away")

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        now[0] += 1.0

    monkeypatch.setattr(prepare, "connection", SimpleNamespace(ensure_connection=ensure_connection))
    monkeypatch.setattr(prepare, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    if is_reached:
        prepare._wait_for_the_database(patience)
    else:
        with pytest.raises(OperationalError, match="away"):
            prepare._wait_for_the_database(patience)
    assert naps == [prepare.POLL_SECONDS] * slept


def test_static_files_are_collected_alone_and_a_refusal_of_the_disk_is_said(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    """Without the fixture `db`, each access to the database would fail."""
    said = {}
    for is_collected in (True, False):
        monkeypatch.setattr(static_files, "collect", lambda is_collected=is_collected: is_collected)
        said[is_collected] = run("prepare", "--static-files-only")
    assert said == {True: "static files: collected\n", False: "static files: nothing to collect\n"}

    def refuse() -> bool:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(static_files, "collect", refuse)
    with pytest.raises(CommandError, match=f"cannot be collected in {settings.STATIC_ROOT}: Permission denied"):
        run("prepare", "--static-files-only")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1x20", {0: 20}), ("1x20, 10x3,0.1x10", {0: 20, 1: 3, -1: 10}), ("1x10,1x10", {0: 20}),
        (f"1x{minting.SMALLEST_BATCH}", {0: minting.SMALLEST_BATCH}), ("1x65535", {0: 65_535}),
        (f"1x{minting.SMALLEST_BATCH - 1}", "Between"), ("1x65535,10x1", "Between"), ("1x123456", "does not read like"),
        ("2x20", "No coin has the value 2"), ("x20", "does not read like"), ("1x20,", "does not read like"),
        ("1x-20", "does not read like"),
    ],
)  # fmt: skip
def test_the_coins_to_make_are_read_as_values_and_counts(text: str, found: dict[int, int] | str) -> None:
    if isinstance(found, dict):
        assert mint_coins._read_coins(text) == found
    else:
        with pytest.raises(CommandError, match=found):
            mint_coins._read_coins(text)


def test_an_admin_key_is_that_of_the_argument_or_of_the_directory(tmp_path: Path) -> None:
    size = ADMIN_KEY_SIZE
    assert mint_coins._admin_key("ab" * size, tmp_path) == b"\xab" * size
    for text in ("ab" * (size - 1), "ab" * (size + 1), "xy" * size, ""):
        with pytest.raises(CommandError, match=f"An admin key is {2 * size} hex digits"):
            mint_coins._admin_key(text, tmp_path)
    with pytest.raises(CannotStart):
        mint_coins._admin_key(None, tmp_path)
    servers = mint_coins._servers(40_000)
    assert [(each.raida, each.host, each.port) for each in servers] == [
        (raida, "127.0.0.1", 40_000 + raida) for raida in range(25)
    ]
