"""What all endpoints below `/api/` share."""

from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from rest_framework.request import Request

from config.api import openapi, pagination
from config.api.validation import Number
from config.api.views import ApiViewSet
from config.web.addresses import client_address, network_of
from lockers import errors
from lockers.operations import new_task
from wallets import errors as wallet_errors

describe: Final = partial(openapi.describe, is_locker=True)
FOREIGN: Final = [
    wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
    wallet_errors.WalletNotControlled("The wallet bob is not yours, and you do not manage it"),
    wallet_errors.InvalidWalletName("invalid wallet name:no body"),
]
# How many rows a list has if no limit is given.
ROWS: Final = 100
PAGE: Final = {**openapi.PAGE, "limit": Number(1, pagination.MAXIMUM_LIMIT, from_text=True, required=False)}
NO_CODE: Final = errors.InvalidLockerRequest(errors.NO_CODE)
NO_NEW_CODE: Final = errors.InvalidLockerRequest(errors.NO_NEW_CODE)
TOO_MANY_TASKS: Final = errors.TooManyTasks(100)
# Of whatever sends a code.
NO_LOOK: Final = [NO_CODE, errors.TooManyWrongCodes(600)]
NO_COINS: Final = [
    errors.NotEnoughCoins("Not enough coins: 3 of 20 are free in this wallet"),
    errors.NoExactChange("The coins in this wallet cannot make 7 exactly; the nearest are 5 or 10"),
    errors.CoinsBusy("Other uploads have locked the same coins; try again in a moment"),
    TOO_MANY_TASKS,
]


def after(position: list[Any] | None) -> tuple[datetime, UUID] | None:
    return None if position is None else (datetime.fromisoformat(position[0]), UUID(position[1]))


class LockersViewSet(ApiViewSet):
    """What all endpoints of lockers share: none answers while lockers are off."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS":
            new_task.check_lockers_are_on()


def address_of(request: Request) -> str:
    """The address of the client, or the network of its subscriber."""
    return network_of(client_address(request))
