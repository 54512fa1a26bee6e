"""
Login throttling: failed attempts per account and per address, and concurrent password checks.

One Lua script checks and counts atomically. An attempt is counted before the password is checked, and the count is
reverted if it was correct: frequent logins are not throttled, and parallel guesses count like sequential ones. While
the server of `REDIS_URL` does not answer, each web process counts alone, and the threads of `Pool.PASSWORDS` limit the
concurrent checks.

Guesses of strangers do not lock the owner out. Addresses and API keys from which the account has logged in before
(`wallets.origins`) have separate counters, which admit attempts regardless of the other counters. Per minute an account
accepts

* 10 failed attempts from unknown origins, all addresses and keys together;
* 10 from each known address (/64) or key, which also count as attempts from unknown origins. With all 16 addresses and
  4 keys that are stored, this allows 210 guesses.

One address may make 100 failed attempts on accounts that do not know it, and 100 on those that do.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from math import ceil
from secrets import token_hex
from typing import Final
from uuid import UUID

from django.conf import settings

from config.api import error_codes as codes
from config.api.errors import RequestRefused
from config.web.addresses import network_of
from wallets import origins
from wallets.errors import DomainError, InvalidPassword
from wallets.redis_servers import Away, Counts, ask
from wallets.sql_files import load_lua
from wallets.states import OriginMeans

WINDOW_SECONDS: Final = 60
FAILURES_PER_ACCOUNT: Final = 10
FAILURES_PER_ADDRESS: Final = 100
# A check occupies a core for 0.1 s or more: half of the cores remain for other requests.
CHECKS_AT_ONCE: Final = max(1, (os.cpu_count() or 1) // 2)
# When the slot of a process that died during a check expires.
_SLOT_SECONDS: Final = 5
# Long enough for 32 concurrent logins, at up to 0.4 s each under load.
_WAIT_SECONDS: Final = 5.0

_ADMIT: Final = load_lua("config/api", "admit_login")
_LEAVE: Final = load_lua("config/api", "leave_login")


# Used while that server does not answer.
_here: Final = Counts()


def _too_many(wait_seconds: int) -> RequestRefused:
    wait = {"Retry-After": str(max(1, wait_seconds))}
    return RequestRefused(codes.TOO_MANY_LOGIN_ATTEMPTS, "Too many login attempts, try again later", wait)


def _keys(kind: str, account: str, address: str, known: Mapping[str, str] | None = None) -> list[str]:
    """`known`: the origins from which the account has logged in before, by their means."""
    account_digest = _hashed(account)
    network = network_of(address)
    return [
        # All kinds share the processor.
        f"coppice:login:slots:{socket.gethostname()}",
        # Known clients are counted apart from unknown ones with the same address.
        f"coppice:login:{kind}:address:{network}" + (":known" if known else ""),
        f"coppice:login:{kind}:account:{account_digest}",
        *(
            f"coppice:login:{kind}:origin:{account_digest}:{means}:{_hashed(value)}"
            for means, value in (known or {}).items()
        ),
    ]


def _hashed(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def login(*, kind: str, account: str, address: str, api_key_id: UUID | None = None) -> Iterator[None]:
    """
    Admit one login attempt, and count it as failed if the block raises a `DomainError`.

    Attempts of each `kind` ("wallet", "desk") are counted apart. `account` is the canonical name of the account,
    `address` the client's address, `api_key_id` the id of its API key, if any. After a successful block, address and
    key are known origins of the account.

    :raises RequestRefused: 429, too many failures or concurrent checks
    """
    came_from = {OriginMeans.ADDRESS: network_of(address), OriginMeans.API_KEY: str(api_key_id or "")}
    came_from = {means: value for means, value in came_from.items() if value}
    known = origins.known(kind=kind, account=account, origins=came_from)
    keys, slot = _keys(kind, account, address, {means: came_from[means] for means in known}), token_hex(8)
    leave: Callable[..., None] = _leave
    try:
        _admit(keys, slot)
    except Away:
        _admit_here(keys)
        leave = _leave_here
    is_guess = False
    try:
        yield
    except DomainError as error:
        # A new password that is refused is no guess: the present one was right.
        is_guess = not isinstance(error, InvalidPassword)
        raise
    finally:
        leave(keys, slot, take_back=not is_guess)
    origins.remember(kind=kind, account=account, origins=came_from)


def _admit(keys: list[str], slot: str) -> None:
    arguments: list[str | int] = [
        FAILURES_PER_ADDRESS, FAILURES_PER_ACCOUNT, WINDOW_SECONDS * 1000,
        CHECKS_AT_ONCE, int(_SLOT_SECONDS * 1000), slot,
    ]  # fmt: skip
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        kind, milliseconds = ask(settings.REDIS_URL, lambda client: client.eval(_ADMIT, len(keys), *keys, *arguments))
        if kind == 0:
            return
        if kind == 1:
            raise _too_many(ceil(milliseconds / 1000))
        if time.monotonic() >= deadline:
            raise _too_many(1)
        time.sleep(milliseconds / 1000)


def _leave(keys: list[str], slot: str, *, take_back: bool) -> None:
    # If this fails, the slot expires and the attempt remains counted.
    with suppress(Away):
        ask(settings.REDIS_URL, lambda client: client.eval(_LEAVE, len(keys), *keys, slot, int(take_back)))


def _admit_here(keys: list[str]) -> None:
    """Check and count as `_ADMIT` does, with the counters of this process."""
    _, address, account, *known = keys
    with _here.lock:
        if _here.count(address) >= FAILURES_PER_ADDRESS:
            raise _too_many(_here.seconds(address))
        full = [key for key in (known or [account]) if _here.count(key) >= FAILURES_PER_ACCOUNT]
        if len(full) == len(known or [account]):
            raise _too_many(min(_here.seconds(key) for key in full))
        for key in (address, account, *known):
            _here.add(key, WINDOW_SECONDS)


def _leave_here(keys: list[str], slot: str, *, take_back: bool) -> None:
    for key in keys[1:] if take_back else ():
        _here.take_back(key)
