"""Request and response bodies of wallets and their statements."""

from typing import Any, Final

from config.api.cloudcoin.fields import coins, denominations
from config.api.validation import Shape, Text
from lockers.models import StatementLine
from lockers.queries import Contents, Statement

NEW_WALLET: Final = Shape(
    {
        "name": Text(),
        # Clients of seed 000 send both fields. They must be empty: wallets have no email or password here.
        "email": Text(maximum=0, may_be_empty=True, required=False),
        "password": Text(maximum=0, may_be_empty=True, required=False),
    }
)


def wallet(contents: Contents) -> dict[str, Any]:
    return {
        "name": contents.wallet.name,
        "balance": coins(contents.balance),
        "denominations": denominations(contents.denominations),
        "contents": {
            grade: {"coins": number, "total": coins(units)} for grade, (number, units) in contents.grades.items()
        },
    }


def wallet_with_transactions(contents: Contents, found: Statement) -> dict[str, Any]:
    return {**wallet(contents), "transactions": [statement_line(line) for line in found.lines]}


def statement_head(found: Statement) -> dict[str, Any]:
    return {"name": found.wallet.name, "balance": coins(found.balance), "reserved": coins(found.reserved)}


def statement_line(line: StatementLine) -> dict[str, Any]:
    """Return one entry of the account statement, with the field names of the RAIDA protocol, section 9."""
    details = {"number": line.number, "task_id": str(line.task_id)}
    if line.other_wallet is not None:
        details["wallet"] = line.other_wallet.name
    return {
        "amount": coins(int(line.amount)),
        "message": line.task.tag,
        "type": line.type,
        "datetime": line.created_at,
        "receiptid": line.task.receipt_id,
        "details": details,
        "running_balance": coins(int(line.running_balance)),
    }
