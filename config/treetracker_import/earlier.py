"""
What Coppice has already: rows of an earlier import, and what changed since on either side.

What the source changed and Coppice did not is taken over; what both changed is a conflict, on which the import waits.
"""

from typing import Final
from uuid import UUID

from config.treetracker_import.findings import TEXTS, found, statement
from config.treetracker_import.models import ImportRun
from config.treetracker_import.staging import rows, run

# What is compared of a wallet on both sides; of the password a digest, so that a record holds no secret.
FIELDS: Final = ("name", "password", *TEXTS)


def is_first() -> bool:
    """Return whether nothing was imported yet."""
    return not ImportRun.objects.exists()


def open_transfers() -> list[UUID]:
    """Return the ids of the transfers that were open in the source at the last import."""
    return [
        row[0]
        for row in rows(
            "SELECT source_id FROM treetracker_import_importedrow"
            " WHERE kind = 'transfer' AND source ->> 'state' IN ('requested', 'pending')"
        )
    ]


def look() -> None:
    """Mark what is in Coppice already, and note what changed since it was imported."""
    _look_at_tokens()
    if not is_first():
        _look_at_transfers()
        _look_at_moved_tokens()
    _look_at_wallets()
    _look_at_trusts()


def _look_at_wallets() -> None:
    run("UPDATE import_wallet AS wallet SET is_new = false FROM wallets_wallet AS here WHERE here.id = wallet.id")
    recorded = (
        "EXISTS (SELECT FROM treetracker_import_importedrow AS row"
        " WHERE row.kind = 'wallet' AND row.source_id = wallet.id)"
    )
    found(
        "wallet_exists", "wallet",
        f"SELECT id, format('named \"%%s\" there', name), NULL::uuid FROM import_wallet AS wallet"  # noqa: S608
        f" WHERE NOT is_new AND NOT {recorded}",
        action="refuse",
    )  # fmt: skip
    changed = statement("changed_wallets")
    for kind, condition, action in (("wallet_changed", "NOT", "apply"), ("wallet_conflict", "", "refuse")):
        found(
            kind, "wallet",
            f"SELECT id, fields, NULL::uuid FROM ({changed}) AS changed WHERE {condition} is_changed_here",  # noqa: S608
            action=action,
            parameters={"fields": list(FIELDS)},
        )  # fmt: skip


def _look_at_trusts() -> None:
    run("UPDATE import_trust SET source_state = state")
    for kind, condition, action in (("trust_changed", "=", "apply"), ("trust_conflict", "<>", "refuse")):
        found(
            kind, "trust",
            "SELECT trust.id, format('was %%s, is %%s; here %%s', row.source ->> 'state', trust.state, here.state),"  # noqa: S608
            "       NULL::uuid"
            "  FROM import_trust AS trust JOIN trusts_trust AS here ON here.id = trust.id"
            "  JOIN treetracker_import_importedrow AS row ON row.kind = 'trust' AND row.source_id = trust.id"
            " WHERE row.source ->> 'state' IS DISTINCT FROM trust.state AND here.state <> trust.state"
            f"  AND here.state {condition} row.written ->> 'state'",
            action=action,
        )  # fmt: skip
    run(
        "UPDATE import_trust AS trust SET fate = CASE WHEN EXISTS ("
        "       SELECT FROM import_finding AS finding WHERE finding.id = trust.id"
        "          AND finding.kind IN ('trust_changed', 'trust_conflict') AND finding.action IN ('apply', 'there'))"
        "       THEN 'change' ELSE 'known' END"
        "  FROM trusts_trust AS here WHERE here.id = trust.id"
    )
    # What is left as it is in Coppice has the state that it has there.
    run(
        "UPDATE import_trust AS trust SET state = here.state FROM trusts_trust AS here"
        " WHERE here.id = trust.id AND trust.fate = 'known'"
    )


def _look_at_tokens() -> None:
    run(statement("known_tokens"))
    found(
        "token_exists", "token",
        "SELECT id, format('in %%s', here_wallet_id), NULL::uuid FROM import_token"
        " WHERE NOT is_new AND came_from IS NULL",
        action="refuse",
    )  # fmt: skip
    found(
        "capture_exists", "token",
        "SELECT token.id, format('capture %%s, here token %%s', token.capture_id, here.id), here.id"
        "  FROM import_token AS token JOIN wallets_token AS here"
        "    ON here.capture_id = token.capture_id AND here.id <> token.id",
        action="refuse",
    )  # fmt: skip
    run(
        "DELETE FROM import_token AS token USING import_finding AS finding"
        " WHERE finding.id = token.id AND finding.kind = 'capture_exists' AND finding.action = 'leave_out'"
    )
    run(
        "UPDATE import_token AS token SET is_kept_here = true FROM import_finding AS finding"
        " WHERE finding.id = token.id AND finding.kind = 'token_exists'"
    )
    run("ANALYZE import_token")


def _look_at_transfers() -> None:
    # What an earlier decision left to Coppice is not asked again.
    run(
        "UPDATE import_token AS token SET came_from = (row.source ->> 'wallet')::uuid"
        "  FROM treetracker_import_importedrow AS row WHERE row.kind = 'token' AND row.source_id = token.id"
    )
    run(
        "DELETE FROM import_transaction AS step USING treetracker_import_importedrow AS row"
        " WHERE row.kind = 'token' AND row.source_id = step.token_id"
        "   AND step.processed_at <= (row.source ->> 'until')::timestamptz"
    )
    run(statement("forget_known_history"))
    changed = (
        "SELECT transfer.id, format('was %%s, is %%s; here %%s', row.source ->> 'state', transfer.state, here.state),"
        "       NULL::uuid"
        "  FROM import_transfer AS transfer JOIN transfers_transfer AS here ON here.id = transfer.id"
        "  JOIN treetracker_import_importedrow AS row ON row.kind = 'transfer' AND row.source_id = transfer.id"
        " WHERE row.source ->> 'state' IN ('requested', 'pending') AND row.source ->> 'state' <> transfer.state"
    )
    found("transfer_changed", "transfer", f"{changed} AND here.state IN ('requested', 'pending')", action="apply")
    found(
        "transfer_conflict", "transfer",
        f"{changed} AND here.state NOT IN ('requested', 'pending') AND here.state <> transfer.state"
        "   AND here.state = row.written ->> 'state' IS NOT TRUE",
        action="refuse",
    )  # fmt: skip
    run(
        "UPDATE import_token AS token SET is_kept_here = true, is_decided = true"
        "  FROM import_finding AS finding JOIN import_transaction AS step ON step.transfer_id = finding.id"
        " WHERE step.token_id = token.id AND finding.kind = 'transfer_conflict' AND finding.action = 'here'"
    )
    run(
        "DELETE FROM import_transaction AS step USING import_finding AS finding"
        " WHERE finding.id = step.transfer_id AND finding.kind = 'transfer_conflict' AND finding.action = 'here'"
    )
    run(statement("fates_of_known_transfers"))
    run(
        "UPDATE import_transfer AS transfer SET fate = 'kept' FROM import_finding AS finding"
        " WHERE finding.id = transfer.id AND finding.kind = 'transfer_conflict'"
    )
    run(
        "DELETE FROM import_transfer AS transfer USING transfers_transfer AS here"
        " WHERE here.id = transfer.id AND transfer.fate = 'new'"
    )
    run("ANALYZE import_transfer, import_transaction")


def _look_at_moved_tokens() -> None:
    moved_there = (
        "(token.wallet_id <> token.came_from"
        " OR EXISTS (SELECT FROM import_transaction AS step WHERE step.token_id = token.id))"
    )
    # It moved here if its last arrival is not of an import; or a transfer or a claim link of Coppice reserves it.
    moved_here = (
        "(token.here_wallet_id <> token.came_from OR NOT EXISTS (SELECT FROM treetracker_import_importrun AS run"
        "              WHERE token.here_arrival BETWEEN run.first_arrival AND run.last_arrival)"
        " OR EXISTS (SELECT FROM transfers_transfer AS transfer WHERE transfer.id = token.here_pending_id"
        "               AND NOT EXISTS (SELECT FROM treetracker_import_importrun AS run"
        "                                WHERE transfer.number BETWEEN run.first_number AND run.last_number))"
        " OR EXISTS (SELECT FROM transfers_actiontoken AS link WHERE link.id = token.here_pending_id))"
    )
    found(
        "token_conflict", "token",
        "SELECT id, format('there from %%s to %%s, here in %%s%%s', came_from, wallet_id, here_wallet_id,"  # noqa: S608
        "       ', reserved by ' || here_pending_id), NULL::uuid"
        f" FROM import_token AS token WHERE NOT is_new AND NOT is_kept_here AND {moved_there} AND {moved_here}",
        action="refuse",
    )  # fmt: skip
    run(
        f"UPDATE import_token AS token SET is_kept_here = true WHERE NOT is_new AND {moved_here}"  # noqa: S608
        "   AND NOT EXISTS (SELECT FROM import_finding AS finding WHERE finding.id = token.id"
        "                      AND finding.kind = 'token_conflict' AND finding.action = 'there')"
    )
    run(
        "UPDATE import_token AS token SET is_decided = true FROM import_finding AS finding"
        " WHERE finding.id = token.id AND finding.kind = 'token_conflict' AND finding.action = 'here'"
    )
    # A token that a transfer of Coppice reserves cannot be taken from it.
    run(
        "UPDATE import_finding AS finding SET action = 'refuse' FROM import_token AS token"  # noqa: S608
        " WHERE token.id = finding.id AND finding.kind = 'token_conflict' AND finding.action = 'there'"
        f"  AND token.here_pending_id IS NOT NULL AND {moved_here}"
    )
    run(
        "INSERT INTO import_broken (id, source_id, missing, is_bundle)"  # noqa: S608
        " SELECT here.id, here.source_id, count(*), here.parameters ? 'bundle'"
        "  FROM import_token AS token JOIN transfers_transfer AS here ON here.id = token.here_pending_id"
        f" WHERE NOT token.is_kept_here AND {moved_there}"
        "   AND NOT EXISTS (SELECT FROM import_transfer AS transfer WHERE transfer.id = here.id AND fate <> 'new')"
        " GROUP BY here.id, here.token_count, here.parameters"
    )
    found(
        "transfer_broken", "transfer",
        "SELECT id, format('%%s of its tokens', missing), NULL::uuid FROM import_broken WHERE NOT is_bundle",
        action="fail",
    )  # fmt: skip
    # What these reserve is free again.
    run(
        "UPDATE import_token AS token SET here_pending_id = NULL WHERE here_pending_id IN ("
        "       SELECT id FROM import_transfer WHERE fate IN ('complete', 'cancel', 'fail')"
        "        UNION ALL SELECT id FROM import_broken WHERE NOT is_bundle)"
    )


def mark_repeated() -> None:
    """Mark the findings that the last import settled in the same way: a report says what is new."""
    run(statement("find_repeated_findings"))


def look_for_missing() -> None:
    """Note what an earlier import brought and the source no longer has."""
    recorded = "FROM treetracker_import_importedrow AS row WHERE row.written <> '{}'"
    found(
        "wallet_missing", "wallet",
        f"SELECT row.source_id, format('named \"%%s\"', row.source ->> 'name'), NULL::uuid {recorded}"  # noqa: S608
        "    AND row.kind = 'wallet' AND NOT EXISTS ("
        "        SELECT FROM import_wallet AS wallet WHERE wallet.id = row.source_id AND NOT wallet.is_placeholder)"
        "    AND row.note NOT LIKE 'unknown_wallet:%%'",
        action="keep",
    )  # fmt: skip
    found(
        "trust_missing", "trust",
        "SELECT here.id, format('%%s from %%s to %%s', request_type, actor_id, target_id), NULL::uuid"  # noqa: S608
        "  FROM trusts_trust AS here"
        f" WHERE state = 'trusted' AND EXISTS (SELECT {recorded} AND row.kind = 'trust' AND row.source_id = here.id)"
        "   AND NOT EXISTS (SELECT FROM import_trust AS trust WHERE trust.id = here.id)",
        action="keep",
    )  # fmt: skip
    found(
        "token_missing", "token",
        "SELECT here.id, format('in %%s', here.wallet_id), NULL::uuid FROM wallets_token AS here"
        " WHERE EXISTS (SELECT FROM transfers_movement AS issue JOIN treetracker_import_importrun AS run"
        "                   ON issue.id BETWEEN run.first_arrival AND run.last_arrival"
        "                WHERE issue.token_id = here.id AND issue.number = 0)"
        "   AND NOT EXISTS (SELECT FROM import_token AS token WHERE token.id = here.id)",
        action="keep",
    )  # fmt: skip
