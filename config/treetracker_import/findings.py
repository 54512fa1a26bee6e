"""
What of the staged source breaks a rule, and what will be done about it.

Each finding is a row of `import_finding`. The functions run in their order: a later one reads what an earlier one
decided. Nothing outside the temporary tables is changed.
"""

from datetime import datetime
from typing import Any, Final, cast

from django.conf import settings
from django.db import models

from config.treetracker_import import bundles, decisions, wallet_names
from config.treetracker_import.staging import rows, run
from wallets.models import Wallet
from wallets.sql_files import load


def statement(name: str) -> str:
    """Return the SQL of a file of this package."""
    return load("config/treetracker_import", name)


def found(kind: str, object_: str, query: str, *, action: str, parameters: dict[str, Any] | None = None) -> None:
    """Note a finding for each row (id, detail, other) of the query, and apply the decisions on them."""
    run(
        f"INSERT INTO import_finding (kind, object, id, detail, action, other)"  # noqa: S608 - constants
        f" SELECT '{kind}', '{object_}', found.id, found.detail, '{action}', found.other"
        f" FROM ({query}) AS found (id, detail, other) ORDER BY found.id",
        parameters,
    )
    decisions.apply(kind)


def text_limit(field: str) -> int:
    """Return how many characters a text of a wallet may have."""
    return int(cast("models.Field[Any, Any]", Wallet._meta.get_field(field)).max_length or 0)


# A hash that the service's own check accepts, and that fits into the column of Coppice.
USABLE: Final = "(password ~ '^[0-9a-f]{128}$' AND length(salt) <= 100)"
# The texts of a wallet that both sides have, by the name of the column.
TEXTS: Final[tuple[str, ...]] = tuple(
    text
    for text in ("about", "display_name", "logo_url", "cover_url")
    if text in {field.name for field in Wallet._meta.get_fields()}
)


def of_wallets() -> None:
    """Wallets that are missing, names, texts and passwords."""
    run(statement("find_unknown_wallets"))
    run(
        "UPDATE import_wallet AS wallet SET is_new = false FROM wallets_wallet AS here"
        " WHERE here.id = wallet.id AND is_placeholder"
    )
    found(
        "unknown_wallet", "wallet",
        "SELECT id, 'named by tokens, transfers or history', NULL::uuid FROM import_wallet"
        " WHERE is_placeholder AND is_new",
        action="placeholder",
    )  # fmt: skip
    run(
        "UPDATE import_wallet AS wallet SET tokens = held.tokens"
        "  FROM (SELECT wallet_id, count(*) AS tokens FROM import_token GROUP BY wallet_id) AS held"
        " WHERE held.wallet_id = wallet.id"
    )
    wallet_names.choose()
    found(
        "id_unusual", "wallet",
        "SELECT id, 'version ' || substr(id::text, 15, 1), NULL::uuid FROM import_wallet"
        " WHERE is_new AND NOT is_placeholder AND substr(id::text, 15, 1) NOT BETWEEN '1' AND '5'",
        action="keep",
    )  # fmt: skip
    for field in TEXTS:
        found(
            "text_too_long", "wallet",
            f"SELECT id, format('{field} has %%s characters of {text_limit(field)}', length({field})), NULL::uuid"  # noqa: S608
            f"  FROM import_wallet WHERE is_new AND length({field}) > {text_limit(field)}",
            action="cut",
        )  # fmt: skip
    found(
        "password_unusable", "wallet",
        "SELECT id, CASE WHEN salt IS NULL THEN 'a hash without its salt'"  # noqa: S608
        "                WHEN length(salt) > 100 THEN 'a salt of more than 100 characters'"
        "                ELSE 'not the 128 hexadecimal digits of HMAC-SHA512' END, NULL::uuid"
        f" FROM import_wallet WHERE is_new AND password IS NOT NULL AND NOT coalesce({USABLE}, false)",
        action="no_password",
    )  # fmt: skip
    found(
        "account_shared", "wallet",
        "SELECT wallet.id, format('account %%s, of %%s first', wallet.keycloak_account_id, first.id), first.id"
        "  FROM import_wallet AS wallet"
        "  JOIN (SELECT DISTINCT ON (keycloak_account_id) keycloak_account_id, id FROM import_wallet"
        "         WHERE keycloak_account_id IS NOT NULL ORDER BY keycloak_account_id, created_at, id) AS first"
        "    ON first.keycloak_account_id = wallet.keycloak_account_id AND first.id <> wallet.id"
        " WHERE wallet.is_new",
        action="keep",
    )  # fmt: skip


def _trust(kind: str, detail: str, condition: str, *, action: str = "leave_out") -> None:
    found(
        kind, "trust",
        f"SELECT id, {detail}, NULL::uuid FROM import_trust AS trust WHERE fate = 'new' AND {condition}",  # noqa: S608
        action=action,
    )  # fmt: skip
    _leave_trusts_out(kind)


def _leave_trusts_out(kind: str) -> None:
    run(
        "UPDATE import_trust AS trust SET fate = 'left_out' FROM import_finding AS finding"
        " WHERE finding.id = trust.id AND finding.kind = %(kind)s AND finding.action = 'leave_out'",
        {"kind": kind},
    )


def of_trusts() -> None:
    """Trusts that lack something, mean nothing, or mean the same as another."""
    _trust(
        "trust_incomplete", "format('actor %%s, originator %%s', coalesce(actor_wallet_id::text, 'missing'),"
        " coalesce(originator_wallet_id::text, 'missing'))",
        "(actor_wallet_id IS NULL) <> (originator_wallet_id IS NULL)",
        action="complete",
    )  # fmt: skip
    run(
        "UPDATE import_trust SET actor_wallet_id = coalesce(actor_wallet_id, originator_wallet_id),"
        "       originator_wallet_id = coalesce(originator_wallet_id, actor_wallet_id)"
        " WHERE actor_wallet_id IS NULL OR originator_wallet_id IS NULL"
    )
    _trust(
        "trust_meaningless", "CASE WHEN state IS NULL THEN 'without a state' ELSE 'without wallets' END",
        "(state IS NULL OR actor_wallet_id IS NULL)",
    )  # fmt: skip
    _trust(
        "trust_obsolete", "format('%%s %%s', state, request_type)",
        "request_type NOT IN (SELECT request_type FROM trusts_kind)",
    )  # fmt: skip
    _trust("trust_with_oneself", "format('%%s %%s of %%s', state, request_type, actor_wallet_id)",
           "actor_wallet_id = target_wallet_id")  # fmt: skip
    _trust(
        "trust_of_unknown", "format('%%s %%s from %%s to %%s', state, request_type, actor_wallet_id, target_wallet_id)",
        "(SELECT count(*) FROM import_wallet AS wallet WHERE NOT is_placeholder"
        "    AND wallet.id IN (trust.actor_wallet_id, trust.target_wallet_id, trust.originator_wallet_id))"
        " < (SELECT count(DISTINCT named) FROM unnest(ARRAY[trust.actor_wallet_id, trust.target_wallet_id,"
        "        trust.originator_wallet_id]) AS named)",
    )  # fmt: skip
    run("UPDATE import_trust SET state = 'cancelled_by_originator' WHERE state = 'cancelled_by_actor'")
    run(statement("find_repeated_trusts"))
    decisions.apply("trust_repeated")
    _leave_trusts_out("trust_repeated")
    run(
        "INSERT INTO import_power (holder_id, subject_id, trust_id, created_at)"
        " SELECT CASE WHEN is_held_by_actor THEN actor_wallet_id ELSE target_wallet_id END,"
        "        CASE WHEN is_held_by_actor THEN target_wallet_id ELSE actor_wallet_id END, id, created_at"
        "   FROM import_trust JOIN trusts_kind USING (request_type)"
        "  WHERE state = 'trusted' AND power = 'manage' AND fate <> 'left_out'"
    )
    _trust(
        "trust_mutual", "(SELECT format('over %%s, whose trust %%s is older', mine.subject_id, theirs.trust_id)"
        "    FROM import_power AS mine JOIN import_power AS theirs"
        "      ON theirs.holder_id = mine.subject_id AND theirs.subject_id = mine.holder_id"
        "   WHERE mine.trust_id = trust.id LIMIT 1)",
        "EXISTS (SELECT FROM import_power AS mine JOIN import_power AS theirs"
        "    ON theirs.holder_id = mine.subject_id AND theirs.subject_id = mine.holder_id"
        " WHERE mine.trust_id = trust.id AND (theirs.created_at, theirs.trust_id) < (mine.created_at, mine.trust_id))",
    )  # fmt: skip
    run("DELETE FROM import_power USING import_trust AS trust WHERE trust.id = trust_id AND trust.fate = 'left_out'")
    run("CREATE INDEX ON import_power (holder_id, subject_id)")
    found(
        "wallet_unattended", "wallet",
        f"SELECT id, format('%%s tokens', tokens), NULL::uuid FROM import_wallet AS wallet"  # noqa: S608
        f" WHERE is_new AND NOT is_placeholder AND NOT coalesce({USABLE}, false)"
        f"   AND NOT EXISTS (SELECT FROM import_power AS power WHERE power.subject_id = wallet.id)",
        action="keep",
    )  # fmt: skip


def of_transfers() -> None:
    """Transfers that cannot be as they are, before the history is looked at."""
    found(
        "transfer_with_oneself", "transfer",
        "SELECT id, format('%%s, of %%s', state, source_wallet_id), NULL::uuid FROM import_transfer"
        " WHERE fate = 'new' AND source_wallet_id = destination_wallet_id",
        action="leave_out",
    )  # fmt: skip
    run(
        "UPDATE import_transfer AS transfer SET fate = 'left_out' FROM import_finding AS finding"
        " WHERE finding.kind = 'transfer_with_oneself' AND finding.id = transfer.id"
    )
    is_open = "state IN ('requested', 'pending')"
    for kind, condition, action in (
        ("transfer_obsolete", f"NOT {is_open}", "keep"),
        ("transfer_obsolete_open", is_open, "fail"),
    ):
        found(
            kind, "transfer",
            "SELECT id, format('%%s %%s', state, type), NULL::uuid FROM import_transfer"  # noqa: S608
            f" WHERE fate = 'new' AND type <> 'send' AND {condition}",
            action=action,
        )  # fmt: skip
    run(statement("list_tokens"))
    run("CREATE INDEX ON import_listed (transfer_id)")
    run("ANALYZE import_listed")
    found(
        "transfer_without_size", "transfer",
        "SELECT id, format('%%s, %%s', state, coalesce(parameters::text, 'without parameters')), NULL::uuid"  # noqa: S608
        f"  FROM import_transfer WHERE fate = 'new' AND {is_open}"
        "   AND (size IS NULL OR size = 0 AND jsonb_typeof(parameters -> 'tokens') IS DISTINCT FROM 'array')",
        action="fail",
    )  # fmt: skip


def of_history(*, run_key: str, now: datetime) -> None:
    """The history of each token, with corrections where it does not fit; the result is `import_step`."""
    found(
        "history_of_unknown", "transaction",
        "SELECT step.id, format('token %%s, transfer %%s', token_id, transfer_id), token_id"
        "  FROM import_transaction AS step"
        " WHERE NOT EXISTS (SELECT FROM import_token AS token WHERE token.id = step.token_id)",
        action="leave_out",
    )  # fmt: skip
    found(
        "history_with_oneself", "transaction",
        "SELECT id, format('token %%s in %%s', token_id, source_wallet_id), token_id FROM import_transaction"
        " WHERE source_wallet_id = destination_wallet_id",
        action="leave_out",
    )  # fmt: skip
    found(
        "history_repeated", "transaction",
        "WITH twice AS MATERIALIZED ("
        "    SELECT token_id, transfer_id, source_wallet_id, destination_wallet_id FROM import_transaction"
        "     WHERE source_wallet_id <> destination_wallet_id GROUP BY 1, 2, 3, 4 HAVING count(*) > 1)"
        " SELECT id, format('token %%s, transfer %%s, as %%s', token_id, transfer_id, first), first"
        "  FROM (SELECT *, row_number() OVER same AS place, first_value(id) OVER same AS first"
        "          FROM import_transaction"
        "          JOIN twice USING (token_id, transfer_id, source_wallet_id, destination_wallet_id)"
        "        WINDOW same AS (PARTITION BY token_id, transfer_id, source_wallet_id, destination_wallet_id"
        "                            ORDER BY processed_at, id)) AS step"
        " WHERE place > 1",
        action="leave_out",
    )  # fmt: skip
    run(statement("keep_steps"))
    run("ANALYZE import_step")
    run(statement("sum_up_steps"))
    run("CREATE UNIQUE INDEX ON import_chain (token_id)")
    run("ANALYZE import_chain")
    run(statement("find_broken_histories"))
    decisions.apply("history_broken")
    run(statement("find_tokens_elsewhere"))
    decisions.apply("token_elsewhere")
    run(statement("correct_histories"), {"run": run_key})
    run(statement("end_histories"), {"run": run_key, "now": now})
    run(statement("begin_histories"))
    run("ANALYZE import_step")
    found(
        "history_without_transfer", "transfer",
        "SELECT group_id, format('transfer %%s, from %%s to %%s: %%s transactions', transfer_id, source_id,"
        "       destination_id, count(*)), transfer_id"
        "  FROM import_step WHERE rank = 2 AND group_id <> transfer_id"
        " GROUP BY group_id, transfer_id, source_id, destination_id",
        action="make",
    )  # fmt: skip


def of_outcomes(*, now: datetime) -> None:
    """The transfers as they will stand: `import_group`, and which tokens are reserved."""
    run(statement("translate_events"))
    run(statement("compare_lists"))
    run("ANALYZE import_list")
    run(statement("find_endings"))
    run(statement("group_transfers"))
    run("CREATE UNIQUE INDEX ON import_group (id)")
    run(statement("group_corrections"))
    run(statement("group_broken"), {"now": now})
    run("ANALYZE import_group")
    found(
        "transfer_short", "transfer",
        "SELECT transfer.id, format('asked for %%s, moved %%s', coalesce(transfer.size::text, 'all'), moved_count),"
        "       NULL::uuid"
        "  FROM import_transfer AS transfer JOIN import_group AS planned ON planned.id = transfer.id"
        "  LEFT JOIN import_list AS list ON list.transfer_id = transfer.id"
        " WHERE planned.state = 'completed' AND transfer.fate = 'new'"
        "   AND (transfer.size IS DISTINCT FROM moved_count OR list.is_to_rewrite)",
        action="count",
    )  # fmt: skip
    _of_listed_tokens()
    bundles.reserve()
    run(
        "UPDATE import_group AS planned SET reserved_count = planned.token_count"
        "  FROM (SELECT transfer_id FROM import_reserved GROUP BY transfer_id) AS reserved"
        " WHERE reserved.transfer_id = planned.id"
    )
    run(
        "UPDATE import_group AS planned SET state = 'failed', closed_at = greatest(created_at, %(now)s::timestamptz),"
        "       closed_event = 'expire', closed_from = state FROM import_finding AS finding"
        " WHERE finding.id = planned.id AND finding.action = 'fail' AND planned.state IN ('requested', 'pending')",
        {"now": now},
    )
    _of_reservations()


def _of_listed_tokens() -> None:
    run(statement("find_listed_elsewhere"))
    decisions.apply("listed_elsewhere")
    run(statement("find_listed_reserved"))
    decisions.apply("listed_reserved")
    # A transfer on which the import waits reserves nothing: another one gets its tokens.
    run(
        "INSERT INTO import_reserved (token_id, transfer_id)"
        " SELECT listed.token_id, planned.id FROM import_group AS planned"
        "   JOIN import_listed AS listed ON listed.transfer_id = planned.id"
        "  WHERE planned.state = 'pending' AND NOT planned.is_known"
        "    AND NOT EXISTS (SELECT FROM import_finding AS finding"
        "                     WHERE finding.id = planned.id AND finding.action IN ('fail', 'refuse'))"
    )
    run("CREATE UNIQUE INDEX ON import_reserved (token_id)")


def _of_reservations() -> None:
    reserved = (
        "FROM import_token AS token LEFT JOIN import_transfer AS transfer ON transfer.id = token.transfer_pending_id"
        " WHERE token.is_new AND (token.transfer_pending OR token.transfer_pending_id IS NOT NULL)"
    )
    found(
        "reservation_linked", "token",
        f"SELECT token.id, format('share link %%s', token.action_token_id), NULL::uuid {reserved}"
        "    AND token.action_token_id IS NOT NULL",
        action="free",
    )  # fmt: skip
    found(
        "reservation_requested", "token",
        f"SELECT token.id, format('transfer %%s', transfer.id), transfer.id {reserved}"
        "    AND token.action_token_id IS NULL AND transfer.state = 'requested'",
        action="free",
    )  # fmt: skip
    found(
        "reservation_lost", "token",
        "SELECT token.id, CASE WHEN token.transfer_pending_id IS NULL THEN 'without a transfer'"
        "       ELSE format('transfer %%s, %%s', token.transfer_pending_id, coalesce(transfer.state, 'missing')) END,"
        f"      token.transfer_pending_id {reserved}"
        "    AND token.action_token_id IS NULL AND coalesce(transfer.state NOT IN ('requested', 'pending'), true)",
        action="free",
    )  # fmt: skip
    found(
        "link_left", "link",
        "SELECT id, format('of %%s: %%s tokens', sender_wallet_id, token_count), sender_wallet_id FROM import_link"
        " WHERE state = 'active'",
        action="leave_out",
    )  # fmt: skip


def of_events() -> None:
    """Events that Coppice cannot show, and those that it reads from transfers."""
    found(
        "event_unusable", "event",
        "SELECT event.id, format('%%s of %%s', event.type, event.wallet_id), NULL::uuid FROM import_event AS event"
        " WHERE here_type IS NULL OR NOT EXISTS ("
        "       SELECT FROM import_wallet AS wallet WHERE wallet.id = event.wallet_id AND NOT is_placeholder)",
        action="leave_out",
    )  # fmt: skip
    # Coppice reads the creation of a transfer from the transfer, and of one that was completed at once its completion.
    # Events that are no longer kept may have been imported before; then they would happen again.
    run(
        "UPDATE import_event AS event SET number = 0"
        " WHERE NOT EXISTS (SELECT FROM import_finding AS finding"
        "                    WHERE finding.id = event.id AND finding.object = 'event')"
        "   AND NOT EXISTS (SELECT FROM wallets_event AS here WHERE here.id = event.id)"
        "   AND here_type <> 'transfer_requested' AND (here_type <> 'transfer_completed' OR payload ? 'result')"
        "   AND (%(days)s::int = 0 OR created_at >= statement_timestamp() - %(days)s::int * interval '1 day')",
        {"days": settings.EVENT_DAYS},
    )


def counts() -> list[tuple[str, str, str, int]]:
    """Return (kind, action, object, number) of the findings, in their order, without those of the last import."""
    return [
        (kind, action, object_, int(number))
        for kind, action, object_, number in rows(
            "SELECT kind, action, object, count(*) FROM import_finding WHERE NOT is_repeated"
            " GROUP BY 1, 2, 3 ORDER BY min(place)"
        )
    ]
