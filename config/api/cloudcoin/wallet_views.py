"""Wallets and the coins in them."""

from typing import Any, Final

from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.cloudcoin import examples
from config.api.cloudcoin.base import DEFAULT_LIMIT, PAGE, WALLET_ERRORS, LockersViewSet, describe
from config.api.cloudcoin.fields import denominations
from config.api.json_schemas import Named
from config.api.openapi import Takes
from config.api.renderers import Response
from config.api.validation import Shape, Text
from lockers import queries
from lockers.models import StatementLine
from lockers.queries import Contents, Statement
from lockers.raida.coins import json_amount as coins
from trusts import operations as trusts
from wallets import errors as wallet_errors

NEW_WALLET: Final = Shape(
    {
        "name": Text(),
        # Clients of seed 000 send both fields. They must be empty: wallets have no email or password here.
        "email": Text(maximum=0, may_be_empty=True, required=False),
        "password": Text(maximum=0, may_be_empty=True, required=False),
    }
)
_NEW_WALLET_BODY: Final = Named(
    "NewCoinWallet",
    "A wallet to be created.",
    NEW_WALLET,
    words={
        "name": "Its name: 3 to 254 characters without white space, unique without regard to case.",
        "email": "Empty, if it is sent.",
        "password": "Empty, if it is sent.",
    },
)


def wallet_body(contents: Contents) -> dict[str, Any]:
    return {
        "name": contents.wallet.name,
        "balance": coins(contents.balance),
        "denominations": denominations(contents.denominations),
        "contents": {
            grade: {"coins": number, "total": coins(units)} for grade, (number, units) in contents.grades.items()
        },
    }


def wallet_with_transactions(contents: Contents, found: Statement) -> dict[str, Any]:
    return {**wallet_body(contents), "transactions": [statement_line(line) for line in found.lines]}


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


# The number of newest transactions in the response of a wallet; the statement has all.
_NEWEST: Final = 20


class WalletViewSet(LockersViewSet):
    """Wallets and the coins in them."""

    @describe(
        "coin_wallets.list",
        "List the coins of wallets",
        answers=examples.COIN_WALLETS,
        tag="coins",
    )
    def wallets(self, request: Request) -> Response:
        """Returns the coins of the caller's wallet and of those that it manages."""
        found = queries.contents_of(wallet_list=queries.wallets_of(actor=caller(request)))
        return Response({"wallets": [wallet_body(each) for each in found]})

    @describe(
        "coin_wallets.create",
        "Create a wallet for coins",
        answers=examples.WALLET,
        takes=Takes(body=_NEW_WALLET_BODY, examples={"Request": {"name": "sapling"}}),
        refusals=[
            WALLET_ERRORS[-1],
            wallet_errors.MisleadingWalletName(
                "invalid wallet name:11111111-1111-4111-8111-111111111111 has the form of an id"
            ),
            wallet_errors.WalletNameTaken("The wallet 'sapling' has been existed"),
            wallet_errors.WalletNameLength('"wallet" length must be at least 3 characters long'),
        ],
        tag="coins",
    )
    def open_wallet(self, request: Request) -> Response:
        """
        Creates a wallet that the caller's wallet manages, as `POST /wallets` does: a wallet holds tokens and coins. Any
        wallet may create wallets.
        """
        values = NEW_WALLET.read_body(request.data)
        opened = trusts.open_managed_wallet(actor=caller(request), name=values["name"])
        return Response(wallet_body(queries.contents_of(wallet_list=[opened])[0]))

    @describe(
        "coin_wallets.get",
        "Show the coins of a wallet",
        answers=examples.WALLET,
        takes=Takes(path={"name": Text(maximum=254)}),
        refusals=WALLET_ERRORS,
        tag="coins",
    )
    def wallet(self, request: Request, name: str) -> Response:
        """Returns the coins of a wallet that the caller controls, and the newest lines of its statement."""
        wallet = queries.wallet_of(actor=caller(request), name=name)
        contents = queries.contents_of(wallet_list=[wallet])[0]
        newest = queries.statement_of(wallet=wallet, limit=_NEWEST)
        return Response(wallet_with_transactions(contents, newest))

    @describe(
        "coin_wallets.statement",
        "Show the statement of a wallet",
        answers=examples.STATEMENT,
        takes=Takes(query=PAGE, path={"name": Text(maximum=254)}),
        refusals=WALLET_ERRORS,
        tag="coins",
    )
    def statement(self, request: Request, name: str) -> Response:
        """Returns the changes of the balance of a wallet that the caller controls, the newest first."""
        wallet = queries.wallet_of(actor=caller(request), name=name)
        page = pagination.read(request, scope="statement", default_limit=DEFAULT_LIMIT, parameters=[wallet.pk])
        found = queries.statement_of(
            wallet=wallet, limit=page.fetch, offset=page.offset, before=page.position[0] if page.position else None
        )
        response = page.response("transactions", found.lines, write=statement_line, position=lambda line: [line.number])
        response.data = statement_head(found) | response.data
        return response
