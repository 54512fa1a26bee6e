"""
Limits of logging in: failed attempts per account and per address, and how many passwords are checked at once.

One Lua script decides and counts, so that parallel attempts cannot slip through between a look and a count. An
attempt is counted before the password is looked at and taken back when it was right: a partner who logs in often
is not slowed down, and guesses in parallel are counted like guesses in a row. While the server of `REDIS_URL` is away
each web process counts alone: an account then takes as many guesses in each process. How many passwords are checked at
once is bounded by the threads of `Pool.PASSWORDS` then.

Strangers' guesses do not keep the owner out. An address or an API key from which the account has logged in before
(`wallets.origins`) is counted by itself, and lets in as long as it has room, however many strangers have guessed. So
within a minute an account takes

* 10 guesses of strangers, from all addresses and with all keys together;
* 10 of each client that comes from a known address or with a known key, which count for the strangers too. Who guesses
  needs one of the owner's own addresses (/64) or keys for these; with all 16 addresses and 4 keys that are kept it
  would be 210 guesses in all.

From one address 100 guesses are taken for accounts that do not know it, and 100 for those that do.
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

from config.api.errors import RequestRefused
from config.web.addresses import network_of
from wallets import origins
from wallets.errors import DomainError
from wallets.redis_servers import Away, Counts, ask
from wallets.redis_servers import client as client_of
from wallets.sql_files import load_lua
from wallets.states import OriginMeans

WINDOW_SECONDS: Final = 60
FAILURES_PER_ACCOUNT: Final = 10
FAILURES_PER_ADDRESS: Final = 100
# A check takes a core for a tenth of a second and more: half of the machine's cores stay with everybody else.
CHECKS_AT_ONCE: Final = max(1, (os.cpu_count() or 1) // 2)
# Of a process that died while it checked.
_SLOT_SECONDS: Final = 5
# A server has eight threads, and a check takes up to 0.4 s beside other work: of 32 clients at once all get in.
_WAIT_SECONDS: Final = 5.0

_ADMIT: Final = load_lua("config/api", "admit_login")
_LEAVE: Final = load_lua("config/api", "leave_login")


# For while that server is away.
_here: Final = Counts()


def _too_many(wait_seconds: int) -> RequestRefused:
    return RequestRefused(429, "Too many login attempts, try again later", {"Retry-After": str(max(1, wait_seconds))})


def _keys(kind: str, account: str, address: str, known: Mapping[str, str] | None = None) -> list[str]:
    """`known` are the origins, by their means, from which the account has logged in before."""
    account_digest = _hashed(account)
    network = network_of(address)
    return [
        # The processor is the same for all kinds.
        f"coppice:login:slots:{socket.gethostname()}",
        # Clients from a known origin are counted apart from strangers who share their address.
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
    Admit one attempt to log in, and count it as failed if the block ends in a `DomainError`.

    Attempts of each `kind` ("wallet", "desk") are counted apart. `account` is one text for one account, however the
    client wrote it. `address` is that of the client, `api_key_id` the API key with which it came, if any. If the block
    ends well, address and key are known origins of the account from then on.

    :raises RequestRefused: 429, too many failures or too many checks at once
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
    except DomainError:
        is_guess = True
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
    # If it fails the slot runs out by itself, and the attempt stays counted.
    with suppress(Away):
        ask(settings.REDIS_URL, lambda client: client.eval(_LEAVE, len(keys), *keys, slot, int(take_back)))


def _admit_here(keys: list[str]) -> None:
    """Decide and count as `_ADMIT` does, by what this process has counted."""
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


def forget_failures() -> None:
    """Forget every counted attempt: for an operator who locked somebody out, and between tests."""
    _here.forget()
    shared = client_of(settings.REDIS_URL)
    for key in shared.scan_iter("coppice:login:*"):
        shared.delete(key)
