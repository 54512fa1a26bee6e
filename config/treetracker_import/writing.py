"""
Writing what was planned, in the transaction of the import.

Triggers and constraints of the ledger are in force at the commit; none is switched off, and indexes that a first import
drops are made again (`indexes`). Long statements run in slices, so that the display can say how far they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from config.treetracker_import import indexes, keys, wallet_names
from config.treetracker_import.earlier import FIELDS
from config.treetracker_import.findings import TEXTS, USABLE, statement, text_limit
from config.treetracker_import.models import ImportRun
from config.treetracker_import.progress import Display
from config.treetracker_import.staging import rows, run
from transfers import counters, outcome_counts
from transfers.queries import event_payload
from wallets import names
from wallets.models import Wallet
from wallets.sql_files import load

# Each slice joins whole tables again.
_SLICE: Final = 1_000_000
# What an import writes, and what other sessions must not write meanwhile. They may read, but in a first import not the
# tables of `indexes`.
_LOCKED: Final = (
    "wallets_wallet", "wallets_apikey", "wallets_token", "wallets_event", "trusts_trust", "transfers_transfer",
    "transfers_movement", "transfers_tallydelta", "transfers_issue", "treetracker_import_importrun",
)  # fmt: skip


@dataclass
class Written:
    """How many rows were written by table, and which numbers and arrivals were taken: those after `base`."""

    rows: dict[str, int] = field(default_factory=dict)
    number_base: int = 0
    last_number: int = 0
    arrival_base: int = 0
    last_arrival: int = 0


class StillBusy(Exception):
    """Another session counts outcomes at the moment."""


def lock() -> None:
    """
    Keep other sessions from writing until the transaction ends.

    :raises django.db.OperationalError: another session is writing, and does not end within `lock_timeout`
    """
    run(f"LOCK TABLE {', '.join(_LOCKED)} IN SHARE ROW EXCLUSIVE MODE")


def write(*, display: Display, now: datetime) -> Written:
    """Write all that the staged tables say."""
    written = Written()
    with display.step("wallets, API keys, trusts"):
        _write_wallets(written, now)
    with display.step("order history"):
        _number(written)
    dropped = indexes.set_aside()
    _write_transfers(written, display, now)
    with display.step("index transfers"):
        dropped.make("transfers_transfer")
    _write_tokens(written, display)
    with display.step("index tokens"):
        dropped.make("wallets_token")
    _write_history(written, display)
    with display.step("index history"):
        dropped.make("transfers_movement")
    with display.step("events, tallies"):
        _write_events(written, now)
        _count()
    return written


def _write_wallets(written: Written, now: datetime) -> None:
    values = {text: f"left(coalesce({text}, ''), {text_limit(text)})" for text in TEXTS}
    for text in ("logo_url", "cover_url"):
        if text in values:
            # A cut address leads nowhere.
            empty = "NULL" if Wallet._meta.get_field(text).null else "''"
            values[text] = (
                f"CASE WHEN length({text}) > {text_limit(text)} THEN {empty} ELSE coalesce({text}, {empty}) END"
            )
    written.rows["wallets_wallet"] = run(
        load(
            "config/treetracker_import", "write_wallets",
            texts=", ".join(values), values=", ".join(values.values()), usable=USABLE,
        )
    )  # fmt: skip
    _change_wallets(values)
    written.rows["wallets_apikey"] = run(statement("write_api_keys"), {"now": now})
    keys.revoke_changed(now)
    # One that ended makes room for another of the same meaning.
    run(statement("change_trusts"), {"now": now})
    written.rows["trusts_trust"] = run(statement("write_trusts"))


def _change_wallets(values: dict[str, str]) -> None:
    """Take over what the source changed of wallets that Coppice has."""
    changed = (
        "import_finding AS finding JOIN import_wallet AS wallet ON wallet.id = finding.id"
        " JOIN treetracker_import_importedrow AS row ON row.kind = 'wallet' AND row.source_id = wallet.id"
        " WHERE (finding.kind = 'wallet_changed' AND finding.action = 'apply'"
        "        OR finding.kind = 'wallet_conflict' AND finding.action = 'there')"
    )
    for text, value in values.items():
        run(
            f"UPDATE wallets_wallet AS here SET {text} = changed.value"  # noqa: S608 - constants
            f"  FROM (SELECT wallet.id, {_of_wallet(value, text)} AS value FROM {changed}"
            f"           AND coalesce(wallet.{text}, '') IS DISTINCT FROM row.source ->> '{text}') AS changed"
            "  WHERE changed.id = here.id"
        )
    run(
        "UPDATE wallets_wallet AS here SET password = changed.value"  # noqa: S608 - constants
        f" FROM (SELECT wallet.id, CASE WHEN coalesce({USABLE}, false)"
        f"         THEN concat_ws('$', 'treetracker_hmac_sha512', salt, password) ELSE '' END AS value FROM {changed}"
        "          AND encode(sha256(convert_to(concat_ws('$', wallet.salt, wallet.password), 'UTF8')), 'hex')"
        "              IS DISTINCT FROM row.source ->> 'password') AS changed"
        " WHERE changed.id = here.id"
    )
    for wallet_id, name in rows(
        f"SELECT wallet.id, wallet.name FROM {changed} AND wallet.name <> row.source ->> 'name' ORDER BY 1"  # noqa: S608
    ):
        chosen = wallet_names.free_name(wallet_id, base=name)
        Wallet.objects.filter(pk=wallet_id).update(name=chosen, name_key=names.name_key(chosen))


def _of_wallet(value: str, text: str) -> str:
    return value.replace(f"({text}", f"(wallet.{text}")


def _base(sequence: str) -> int:
    # Other sessions cannot take a number now: to write a row they need the locks.
    ((base,),) = rows(f"SELECT last_value - (NOT is_called)::integer FROM {sequence}")  # noqa: S608
    return int(base)


def _number(written: Written) -> None:
    written.number_base = _base("wallets_event_number")
    written.arrival_base = _base("transfers_arrival")
    run(statement("number_transfers"), {"base": written.number_base})
    run("ANALYZE import_number")
    run(statement("number_movements"))
    run("CREATE UNIQUE INDEX ON import_movement (place)")
    run("ANALYZE import_movement")
    ((written.last_number,),) = rows(
        "SELECT greatest(%(base)s::bigint, (SELECT max(number) FROM import_number),"
        "                (SELECT max(number) FROM import_event))",
        {"base": written.number_base},
    )
    ((written.last_arrival,),) = rows(
        "SELECT %(base)s::bigint + count(*) FROM import_movement", {"base": written.arrival_base}
    )
    for sequence, base, last in (
        ("wallets_event_number", written.number_base, written.last_number),
        ("transfers_arrival", written.arrival_base, written.last_arrival),
    ):
        if last > base:
            rows(f"SELECT setval('{sequence}', %(last)s::bigint)", {"last": last})


def _sliced(name: str, first: int, last: int, parameters: dict[str, Any], advance: Callable[[int], None]) -> int:
    done = 0
    while first < last:
        until = min(first + _SLICE, last)
        rows_ = run(statement(name), {**parameters, "first": first, "last": until})
        done += rows_
        advance(rows_)
        first = until
    return done


def _write_transfers(written: Written, display: Display, now: datetime) -> None:
    # What closing transfers reserve is free before anything moves.
    run(
        "UPDATE wallets_token AS here SET transfer_pending_id = NULL FROM import_group AS planned"
        " WHERE planned.is_known AND planned.state <> 'pending' AND here.transfer_pending_id = planned.id"
    )
    run(statement("close_transfers"), {"now": now})
    ((total,),) = rows("SELECT count(*) FROM import_group WHERE NOT is_known")
    with display.step("write transfers", total) as advance:
        written.rows["transfers_transfer"] = _sliced(
            "write_transfers", written.number_base, written.last_number, {}, advance
        )


def _write_tokens(written: Written, display: Display) -> None:
    base = written.arrival_base
    ((total,),) = rows("SELECT count(*) FROM import_token WHERE is_new")
    with display.step("write tokens", total) as advance:
        written.rows["wallets_token"] = _sliced("write_tokens", 0, written.last_arrival - base, {"base": base}, advance)
    ((steps,),) = rows(
        "SELECT coalesce(max(movement.number - token.here_moves), 0) FROM import_movement AS movement"
        "  JOIN import_token AS token ON token.id = movement.token_id WHERE NOT token.is_new"
    )
    for step in range(1, steps + 1):
        run(statement("move_known_tokens"), {"base": base, "step": step})
    run(
        "UPDATE wallets_token AS here SET transfer_pending_id = reserved.transfer_id"
        "  FROM import_reserved AS reserved JOIN import_token AS token ON token.id = reserved.token_id"
        " WHERE NOT token.is_new AND here.id = reserved.token_id"
    )
    run(
        "UPDATE wallets_token AS here SET claim = token.claim FROM import_token AS token"
        " WHERE here.id = token.id AND NOT token.is_new AND NOT token.is_kept_here AND here.claim <> token.claim"
    )


def _write_history(written: Written, display: Display) -> None:
    base = written.arrival_base
    total = written.last_arrival - base
    with display.step("write history", total) as advance:
        written.rows["transfers_movement"] = _sliced("write_movements", 0, total, {"base": base}, advance)


def _write_events(written: Written, now: datetime) -> None:
    payload = event_payload(state="transfer.state")
    written.rows["wallets_event"] = run(load("config/treetracker_import", "write_events", payload=payload))
    failed = event_payload(state="'failed'")
    written.rows["wallets_event"] += run(
        load("config/treetracker_import", "announce_failures", payload=failed), {"now": now}
    )
    written.last_number = _base("wallets_event_number")


def _count() -> None:
    """Bring the tallies of the ledger up to date, by the ledger's own ways."""
    run(statement("write_issues"))
    run(statement("write_deltas"))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE wallets_wallet, wallets_token, wallets_event, trusts_trust, trusts_trustchange")
        cursor.execute("ANALYZE transfers_transfer, transfers_movement")
    counters.roll_up()
    if not outcome_counts.roll_up():
        raise StillBusy
    run(statement("count_outcomes"))


def record(*, written: Written, source: str, snapshot_at: datetime, findings: dict[str, int]) -> None:
    """Store what was imported, for the next import."""
    run(statement("record_rows"), {"fields": list(FIELDS), "at": snapshot_at})
    # A token that was taken over after all is one like the others.
    run(
        "DELETE FROM treetracker_import_importedrow AS row USING import_finding AS finding"
        " WHERE row.kind = 'token' AND row.source_id = finding.id"
        "   AND finding.kind = 'token_conflict' AND finding.action = 'there'"
    )
    ImportRun.objects.create(
        source=source[:250],
        snapshot_at=snapshot_at,
        first_number=written.number_base + 1,
        last_number=written.last_number,
        first_arrival=written.arrival_base + 1,
        last_arrival=written.last_arrival,
        written=written.rows,
        findings=findings,
    )
