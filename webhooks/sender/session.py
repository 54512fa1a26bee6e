"""
A session of the sender: events become deliveries, and due deliveries are sent, many at once, until nothing is due.

The event loop makes the requests; all statements run on one thread beside it, with that thread's connection.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from django.db import connection
from django.utils import timezone

from lockers.vault import SealBroken
from webhooks import operations, secrets
from webhooks.sender import deliveries
from webhooks.sender.deliveries import Claim, Result
from webhooks.sender.http import Answer, Client

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Requests at once, and beside these requests to webhooks whose last attempt failed: they wait for each other only.
HEALTHY_AT_ONCE: Final = 100
FAILING_AT_ONCE: Final = 50
# No delivery is begun after this time: with the deadline of the last, it stays below the time limit of a task.
SESSION: Final = timedelta(seconds=45)
# How often new events and due deliveries are looked for while nothing else happens.
_LOOK_SECONDS: Final = 0.2
_RENEW_SECONDS: Final = 4.0
USER_AGENT: Final = "Coppice-Webhooks/1"


def run(*, client: Callable[[], Client] | None = None, lasts: timedelta = SESSION) -> int:
    """Send until nothing is due or the session's time has passed, and return the number of results written."""
    return asyncio.run(_Session(client or (lambda: Client(at_once=HEALTHY_AT_ONCE + FAILING_AT_ONCE)), lasts).run())


class _Session:
    def __init__(self, client: Callable[[], Client], lasts: timedelta) -> None:
        self._make_client = client
        self._ends = time.monotonic() + lasts.total_seconds()
        self._database = ThreadPoolExecutor(1, "webhook-database")
        # In flight, with whether it is to a failing webhook.
        self._flying: dict[asyncio.Task[Result], bool] = {}
        self._holder: datetime | None = None
        self._renewed_at = self._looked_at = float("-inf")

    async def run(self) -> int:
        client = self._make_client()
        written = 0
        try:
            while await self._holds() and (time.monotonic() < self._ends or self._flying):
                is_idle = not await self._begin(client) and not self._flying
                if is_idle:
                    break
                written += len(await self._in_database(deliveries.settle, await self._arrived()))
        finally:
            for task in self._flying:
                task.cancel()
            await asyncio.gather(*self._flying, return_exceptions=True)
            await client.aclose()
            if self._holder is not None:
                await self._in_database(deliveries.stop_sending, holder=self._holder)
            await self._in_database(_close)
            self._database.shutdown()
        return written

    async def _in_database(self, function: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._database, partial(function, *arguments, **named))

    async def _holds(self) -> bool:
        """Renew the lease of the sender from time to time, and return whether this session has it."""
        if time.monotonic() - self._renewed_at > _RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            self._holder = await self._in_database(deliveries.be_the_sender, holder=self._holder)
            if self._holder is not None:
                await self._in_database(operations.disable_without_control)
                await self._in_database(operations.cancel_of_disabled)
        return self._holder is not None

    async def _begin(self, client: Client) -> bool:
        """Begin due deliveries as far as there is room, and return whether there was anything to do."""
        if time.monotonic() >= self._ends:
            return False
        if self._flying and time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return True
        read = await self._in_database(operations.fan_out)
        failing = sum(self._flying.values())
        claims = await self._in_database(
            deliveries.claim,
            healthy=HEALTHY_AT_ONCE - (len(self._flying) - failing),
            failing=FAILING_AT_ONCE - failing,
        )
        for claim in claims:
            self._flying[asyncio.create_task(_send(client, claim))] = claim.is_failing
        # After a full hand there may be more at once.
        self._looked_at = float("-inf") if claims else time.monotonic()
        return bool(read or claims)

    async def _arrived(self) -> list[Result]:
        """Wait for a result, but not for long, and return those that are there."""
        if self._flying:
            await asyncio.wait(self._flying, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in self._flying if task.done()]
        for task in done:
            del self._flying[task]
        return [task.result() for task in done]


def _close() -> None:
    # Of this thread: the object stands for that of each.
    connection.close()


async def _send(client: Client, claim: Claim) -> Result:
    at = timezone.now()
    began = time.monotonic()
    try:
        signature = secrets.signature(
            [each for each in (claim.secret, claim.previous_secret) if each is not None],
            webhook_id=claim.webhook_id,
            message_id=str(claim.message_id),
            at=at,
            body=claim.body,
        )
    except SealBroken:
        _log.error("A webhook secret cannot be decrypted with the configured vault keys")
        answer = Answer(error="secret_unreadable")
    else:
        answer = await client.post(claim.url, claim.body, headers_of(claim, at, signature))
    return Result(claim, answer, at, int((time.monotonic() - began) * 1000))


def headers_of(claim: Claim, at: datetime, signature: str) -> dict[str, str]:
    """Return the header fields of a webhook, those of the Standard Webhooks specification among them."""
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "accept-encoding": "identity",
        "webhook-id": str(claim.message_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }
