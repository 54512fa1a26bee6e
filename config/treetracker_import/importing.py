"""One import, from the connection to the commit."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import django.db
import psycopg
from django.db import OperationalError, transaction

from config.treetracker_import import checks, decisions, earlier, findings, keys, report, staging, writing
from config.treetracker_import.progress import Display
from config.treetracker_import.source import Source, opened
from config.treetracker_import.wallet_names import NameTaken
from transfers import partitions

# For sorts and indexes of millions of rows; the session of a server has little.
_SETTINGS: Final = (
    "statement_timeout = 0",
    "idle_in_transaction_session_timeout = 0",
    "enable_seqscan = on",
    "work_mem = '256MB'",
    "maintenance_work_mem = '256MB'",
)


_UNKNOWN: Final = (
    "The connection was lost during the commit, so the import may be complete."
    " Run it again: it writes only what is new."
)
_BUSY: Final = "Another session is writing. Stop web, worker and beat, and try again: nothing was written."


class ImportRefused(Exception):
    """Nothing was written; the message says why."""


class ImportUnknown(Exception):
    """The connection was lost during COMMIT: everything was written, or nothing."""


class _DryRun(Exception):
    """Ends the transaction of a dry run."""


@dataclass(frozen=True)
class Options:
    """How to import. `schema` and `since` may be None; `decided` are the decisions of the operator."""

    dsn: str
    schema: str | None = None
    since: datetime | None = None
    is_dry_run: bool = False
    decided: tuple[decisions.Decision, ...] = ()
    report: Path | None = None
    # Where to write a file of decisions for what the import waits on.
    template: Path | None = None


def run(options: Options, display: Display) -> dict[str, int]:
    """
    Import, or with `is_dry_run` only say what would be done; return the number of rows that were written, by table.

    :raises config.treetracker_import.source.UnreadableSource: the source cannot be read
    :raises ImportRefused: a finding waits for a decision, another session is writing, the source ends the connection,
        or both sides are not the same
    :raises ImportUnknown: the connection to the database of Coppice was lost during COMMIT
    """
    is_committing = False
    with opened(options.dsn, schema=options.schema) as source:
        try:
            with transaction.atomic():
                written = _import(source, options, display)
                is_committing = True
            return written
        except _DryRun:
            return {}
        except NameTaken as error:
            raise ImportRefused(str(error)) from error
        except (psycopg.Error, django.db.Error) as error:
            # Of either side. Only the first line: a detail below could quote a row.
            line = str(error).strip().partition(chr(10))[0]
            if is_committing and isinstance(error, django.db.OperationalError | django.db.InterfaceError):
                raise ImportUnknown(f"{_UNKNOWN} {line}") from error
            raise ImportRefused(f"Nothing was written: {line}") from error
        except writing.StillBusy as error:
            raise ImportRefused(_BUSY) from error


def _import(source: Source, options: Options, display: Display) -> dict[str, int]:
    for setting in _SETTINGS:
        staging.run(f"SET LOCAL {setting}")
    if options.since is not None and earlier.is_first():
        raise ImportRefused("--since is for a second import: nothing was imported yet.")
    if partitions.detached_below():
        raise ImportRefused("Movements are detached: attach them with `manage.py movement_partitions` first.")
    staging.buffer()
    staging.create()
    decisions.store(options.decided)
    copied = _stage(source, options, display)
    if not options.is_dry_run:
        _lock()
    # The time of whatever the import itself does: not before anything in the source.
    ((now,),) = staging.rows("SELECT greatest(clock_timestamp(), %(at)s::timestamptz)", {"at": source.snapshot_at})
    _plan(now, display)
    for line in report.shown(source, copied):
        display.say(line)
    if options.report is not None:
        report.write(options.report, source, copied)
    if options.template is not None:
        options.template.write_text(report.template(), encoding="utf-8")
    if refused := report.refused():
        raise ImportRefused(
            f"{len(refused)} findings wait for a decision, the first of them {refused[0][0]} {refused[0][1]}."
            " Name them in a file for --decisions; --template writes one with the usual action."
        )
    if options.is_dry_run:
        raise _DryRun
    written = writing.write(display=display, now=now)
    numbers: dict[str, int] = {}
    for kind, _, _, number in findings.counts():
        numbers[kind] = numbers.get(kind, 0) + number
    writing.record(written=written, source=source.name, snapshot_at=source.snapshot_at, findings=numbers)
    with display.step("compare both sides"):
        wrong = list(checks.differences())
    with display.step("audit"):
        wrong += checks.audit()
    if wrong:
        raise ImportRefused("Nothing was written: " + " ".join(wrong[:20]))
    staging.drop()
    return written.rows


def _stage(source: Source, options: Options, display: Display) -> dict[str, int]:
    with _bars(display) as progress:
        copied = staging.fill(
            source,
            since=options.since,
            open_ids=earlier.open_transfers() if options.since else [],
            progress=progress,
        )
    with display.step("index"):
        staging.index()
    copied["api_key"] = keys.fill(source)
    return copied


@contextmanager
def _bars(display: Display) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Yield a function that ends the bar of the table before and begins one for a table."""
    with ExitStack() as stack:

        def begin(table: str, total: int) -> Callable[[int], None]:
            stack.close()
            return stack.enter_context(display.step(f"read {table}", total))

        yield begin


def _plan(now: datetime, display: Display) -> None:
    with display.step("compare with what is here"):
        earlier.look()
    with display.step("check wallets, API keys, trusts"):
        keys.look()
        findings.of_transfers()
        findings.of_wallets()
        findings.of_trusts()
    with display.step("check history"):
        findings.of_history(run_key=secrets.token_hex(8), now=now)
    with display.step("check transfers and events"):
        findings.of_outcomes(now=now)
        findings.of_events()
        if not earlier.is_first():
            earlier.look_for_missing()
            earlier.mark_repeated()


def _lock() -> None:
    try:
        with transaction.atomic():
            writing.lock()
    except OperationalError as error:
        raise ImportRefused(_BUSY) from error
