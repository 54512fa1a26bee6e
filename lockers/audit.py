"""Rules about coins, lockers, tasks and statements that span rows or tables, and what breaks them."""

from collections.abc import Iterator
from typing import Final

from django.db import connection

from lockers.current_results import OPEN_SQL
from lockers.payment_ledger import BROUGHT
from lockers.states import (
    BETWEEN_WALLETS,
    COIN_CHANGES,
    DOUBTFUL,
    IN_LOCKER,
    SPENDABLE,
    STORED,
    CoinState,
    LineType,
    LockerState,
    PaymentState,
    TaskKind,
    TaskState,
)
from wallets.audit import FINDINGS_PER_CHECK, Finding, listed
from wallets.sql_files import load

# What the models and their constraints do not say; the rest is checked from them (`wallets.audit.broken_rules`).
_SPENDABLE: Final = listed(SPENDABLE)
_STORED: Final = listed(STORED)
_DOUBTFUL: Final = listed(DOUBTFUL)
_PUT: Final = listed(IN_LOCKER)
_GIVEN: Final = listed([CoinState.EXPORTED, *COIN_CHANGES[CoinState.EXPORTED]])
_BETWEEN_WALLETS: Final = listed(BETWEEN_WALLETS)
_CHECKS: Final = {
    "coin is not spendable and in a locker or file": f"""
        SELECT concat(held.denomination, '#', held.serial_number) FROM lockers_coin AS held
        JOIN lockers_coin AS locked USING (denomination, serial_number)
        WHERE held.state IN {_SPENDABLE} AND locked.state IN {_STORED}
    """,  # noqa: S608 - constants
    "reserved coin belongs to an open task": f"""
        SELECT concat(coin.denomination, '#', coin.serial_number) FROM lockers_coin AS coin
        JOIN lockers_lockertask AS task ON task.id = coin.task_id WHERE task.state <> '{TaskState.RUNNING}'
    """,  # noqa: S608 - constants
    "reserved coin belongs to its task's wallet": """
        SELECT concat(coin.denomination, '#', coin.serial_number) FROM lockers_coin AS coin
        JOIN lockers_lockertask AS task ON task.id = coin.task_id WHERE task.wallet_id <> coin.wallet_id
    """,
    "coin in limbo keeps both secrets": f"""
        SELECT concat(denomination, '#', serial_number) FROM lockers_coin
        WHERE state = '{CoinState.LIMBO}' AND proposed IS NULL AND family IS DISTINCT FROM id
    """,  # noqa: S608 - constants
    "locker that is filled holds coins": f"""
        SELECT locker.id::text FROM lockers_locker AS locker
        WHERE (locker.state = '{LockerState.FILLED}') <>
              EXISTS (SELECT FROM lockers_coin AS coin
                      WHERE coin.locker_id = locker.id AND coin.state = '{CoinState.LOCKED}')
    """,  # noqa: S608 - constants
    "locker that is being filled has an open task": f"""
        SELECT locker.id::text FROM lockers_locker AS locker
        WHERE locker.state = '{LockerState.FILLING}' AND NOT EXISTS (
            SELECT FROM lockers_lockertask AS task
            WHERE task.locker_id = locker.id AND task.state = '{TaskState.RUNNING}')
    """,  # noqa: S608 - constants
    "open task is within its deadline": f"""
        SELECT id::text FROM lockers_lockertask
        WHERE state = '{TaskState.RUNNING}' AND deadline < now() - interval '1 minute'
    """,  # noqa: S608 - constants
    "completed put stored what it says": f"""
        SELECT task.id::text FROM lockers_lockertask AS task
        WHERE task.kind = '{TaskKind.PUT}' AND task.state = '{TaskState.COMPLETED}'
          AND (task.result->>'total_stored')::numeric <> (
            SELECT coalesce(sum(10::numeric ^ (line.denomination + 8)), 0) FROM lockers_receiptline AS line
            WHERE line.task_id = task.id AND coalesce(line.became, line.state) IN {_PUT})
    """,  # noqa: S608 - constants
    "task says that coins are unknown while they are": load(
        "lockers", "wrong_unknown_totals", is_open=OPEN_SQL.format("line"), doubtful=_DOUBTFUL
    ),
    "line of a receipt is open while its coin is in doubt": f"""
        SELECT concat(line.task_id, ' ', line.denomination, '#', line.serial_number) FROM lockers_receiptline AS line
        WHERE {OPEN_SQL.format("line")} AND NOT EXISTS (
            SELECT FROM lockers_coin AS coin
             WHERE coin.denomination = line.denomination AND coin.serial_number = line.serial_number
               AND coin.state IN {_DOUBTFUL})
    """,  # noqa: S608 - constants
    "export has the coins that it says": f"""
        SELECT export.task_id::text FROM lockers_export AS export WHERE export.coin_count <> (
            SELECT count(*) FROM lockers_coin AS coin
            WHERE coin.export_id = export.task_id AND coin.state IN {_GIVEN})
    """,  # noqa: S608 - constants
    "balance is what the coins of the wallet are worth": f"""
        SELECT concat(coalesce(account.wallet_id, held.wallet_id)) FROM lockers_account AS account
        FULL JOIN (SELECT wallet_id, sum(10::numeric ^ (denomination + 8)) AS units FROM lockers_coin
                   WHERE state IN {_SPENDABLE} GROUP BY wallet_id) AS held USING (wallet_id)
        WHERE coalesce(account.balance, 0) <> coalesce(held.units, 0)
    """,  # noqa: S608 - constants
    "statement adds up to the balance": """
        SELECT concat(coalesce(account.wallet_id, line.wallet_id)) FROM lockers_account AS account
        FULL JOIN (SELECT wallet_id, sum(amount) AS total, count(*) AS number, max(number) AS last
                   FROM lockers_statementline GROUP BY wallet_id) AS line USING (wallet_id)
        WHERE (coalesce(account.balance, 0), coalesce(account.lines, -1), coalesce(account.lines, -1))
              <> (coalesce(line.total, 0), coalesce(line.number, 0), coalesce(line.last, 0))
    """,
    "statement line follows the one before": """
        SELECT concat(wallet_id, ' ', number) FROM (
            SELECT wallet_id, number, amount, running_balance,
                   lag(running_balance, 1, 0) OVER (PARTITION BY wallet_id ORDER BY number) AS balance_before
            FROM lockers_statementline) AS line
        WHERE running_balance <> balance_before + amount
    """,
    "transfer gives what it takes": f"""
        SELECT concat(task_id) FROM lockers_statementline WHERE type IN {_BETWEEN_WALLETS}
        GROUP BY task_id HAVING sum(amount) <> 0
    """,  # noqa: S608 - constants
    "payment request was paid what its payments brought": """
        SELECT request.id::text FROM lockers_paymentrequest AS request
        WHERE paid <> (SELECT coalesce(sum(units), 0) FROM lockers_payment WHERE request_id = request.id)
    """,
    "payment brought what the coins of its task are worth": f"""
        SELECT payment.id::text FROM lockers_payment AS payment
        JOIN lockers_lockertask AS task ON task.id = payment.task_id
        CROSS JOIN LATERAL ({BROUGHT}) AS brought
        WHERE payment.units <> CASE task.state WHEN '{TaskState.RUNNING}' THEN 0 ELSE brought.units END
           OR (task.state <> '{TaskState.RUNNING}' AND payment.expected <> brought.unknown)
    """,  # noqa: S608 - constants
    "payment is pending while it may still bring coins": f"""
        SELECT payment.id::text FROM lockers_payment AS payment
        JOIN lockers_lockertask AS task ON task.id = payment.task_id
        WHERE (payment.state = '{PaymentState.PENDING}') <> (task.state = '{TaskState.RUNNING}' OR payment.expected > 0)
    """,  # noqa: S608 - constants
    "payment brings coins to the payee": f"""
        SELECT payment.id::text FROM lockers_payment AS payment
        JOIN lockers_paymentrequest AS request ON request.id = payment.request_id
        JOIN lockers_lockertask AS task ON task.id = payment.task_id
        WHERE task.plan->>'payment_request' IS DISTINCT FROM request.id::text
           OR request.wallet_id IS DISTINCT FROM CASE
              WHEN task.kind = '{TaskKind.TAKE}' THEN task.wallet_id
              WHEN task.state = '{TaskState.COMPLETED}' THEN (
                   SELECT wallet_id FROM lockers_statementline AS line
                    WHERE line.task_id = task.id AND line.type = '{LineType.TRANSFER_IN}')
              WHEN task.kind = '{TaskKind.TRANSFER}' THEN request.wallet_id END
    """,  # noqa: S608 - constants
}

# What an audit of new rows leaves to the audit of all: these read all receipts, statements or ended tasks.
_OF_ALL: Final = frozenset(
    {
        "completed put stored what it says",
        "task says that coins are unknown while they are",
        "statement adds up to the balance",
        "statement line follows the one before",
        "transfer gives what it takes",
        "payment request was paid what its payments brought",
        "payment brought what the coins of its task are worth",
        "payment is pending while it may still bring coins",
        "payment brings coins to the payee",
    }
)
# And what it checks instead, of the lines of statements that are new.
_OF_NEW: Final = {
    "statement line follows the one before": load("lockers", "new_statement_lines"),
    "statement adds up to the balance": """
        SELECT account.wallet_id::text FROM lockers_account AS account
        JOIN lockers_statementline AS line ON line.wallet_id = account.wallet_id AND line.number = account.lines
        WHERE line.running_balance <> account.balance
    """,
}


def audit_findings(*, after: int | None = None) -> Iterator[Finding]:
    """
    Check the rows of coins, lockers and tasks; each finding names a rule and one row that breaks it.

    With `after`, the id of the last line of a statement that is sealed, it leaves out what reads all history.
    """
    checks = _CHECKS
    if after is not None:
        checks = {check: statement for check, statement in _CHECKS.items() if check not in _OF_ALL} | _OF_NEW
    for check, statement in checks.items():
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} LIMIT {FINDINGS_PER_CHECK}", {"after": after} if after is not None else None)
            for (subject,) in cursor.fetchall():
                yield Finding(check, subject)
