"""The base of the endpoints below `/api/`, with the parameters and errors that several of them have."""

from functools import partial
from typing import Any, Final

from rest_framework.request import Request

from config.api import openapi, pagination
from config.api.validation import Number
from config.api.views import ApiViewSet
from config.web.addresses import client_address, network_of
from lockers import errors
from lockers.operations import new_task
from wallets import errors as wallet_errors

describe: Final = partial(openapi.describe, access=openapi.Access.BEARER)
# Errors of endpoints that name a wallet, send a code, or select coins.
WALLET_ERRORS: Final = [
    wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
    wallet_errors.WalletNotControlled("The wallet bob is not yours, and you do not manage it"),
    wallet_errors.InvalidWalletName("invalid wallet name:no body"),
]
# The number of rows of a list without a limit.
DEFAULT_LIMIT: Final = 100
PAGE: Final = {**openapi.PAGE, "limit": Number(1, pagination.MAXIMUM_LIMIT, from_text=True, required=False)}
NO_CODE: Final = errors.InvalidLockerRequest(errors.NO_CODE)
NO_NEW_CODE: Final = errors.InvalidLockerRequest(errors.NO_NEW_CODE)
TOO_MANY_TASKS: Final = errors.TooManyTasks(100)
CODE_ERRORS: Final = [NO_CODE, errors.TooManyWrongCodes(600)]
COIN_ERRORS: Final = [
    errors.NotEnoughCoins("Not enough coins: 3 of 20 are free in this wallet"),
    errors.NoExactChange("The coins in this wallet cannot make 7 exactly; the nearest are 5 or 10"),
    errors.CoinsBusy("Other uploads have locked the same coins; try again in a moment"),
    TOO_MANY_TASKS,
]


class LockersViewSet(ApiViewSet):
    """The base of all locker endpoints, which answer 503 while lockers are off."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS":
            new_task.check_lockers_are_on()


def address_of(request: Request) -> str:
    """Return the client's IPv4 address, or the /64 of its IPv6 address."""
    return network_of(client_address(request))
