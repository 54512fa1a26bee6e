"""
The two clients: `Client` with blocking sockets, `AsyncClient` with asyncio.

Their methods are the functions of `coppice_client.calls`: see there for parameters and results.
"""

import asyncio
import platform
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from functools import update_wrapper
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, overload
from urllib.parse import urlsplit

import httpx2

from coppice_client import calls
from coppice_client.exchange import Action, Exchange, Pause, Reader, Retries
from coppice_client.version import VERSION

P = ParamSpec("P")
T = TypeVar("T")

# As the server reads header fields: anything else would be refused while it is sent, in an error that shows it.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


_AGENT: Final = f"coppice-client/{VERSION} python/{platform.python_version()}"


class Credentials(httpx2.Auth):
    """Adds the API key and the bearer token to each request. Its representation shows neither."""

    def __init__(self, api_key: str | None, token: str | None) -> None:
        self.api_key = _checked("API key", api_key)
        self.token = _checked("bearer token", token)

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if self.api_key is not None:
            request.headers["TREETRACKER-API-KEY"] = self.api_key
        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


def _checked(what: str, secret: str | None) -> str | None:
    if secret is not None and not _VISIBLE.fullmatch(secret):
        raise ValueError(f"The {what} must be visible ASCII characters")
    return secret


def _options(base_url: str, timeout: float) -> dict[str, Any]:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("The base URL must begin with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("The base URL must have no user, password, query or fragment")
    return {
        "base_url": base_url,
        "timeout": timeout,
        "headers": {"User-Agent": _AGENT, "Accept": "application/json"},
        # Its requests carry credentials: they go where they were meant to go.
        "follow_redirects": False,
    }


class _One(Generic[P, T]):
    """A method of `Client` that runs the action which a function describes."""

    def __init__(self, describe: Callable[P, Action[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    def __get__(self, client: "Client | None", owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return client.run(self._describe(*args, **kwargs))

        return update_wrapper(method, self._describe)


class _Many(Generic[P, T]):
    """A method of `Client` that iterates over the list which a function describes."""

    def __init__(self, describe: Callable[P, Reader[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Iterator[T]]: ...
    def __get__(self, client: "Client | None", owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return client.iterate(self._describe(*args, **kwargs))

        return update_wrapper(method, self._describe)


class _AsyncOne(Generic[P, T]):
    """The same for `AsyncClient`."""

    def __init__(self, describe: Callable[P, Action[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: "AsyncClient | None", owner: type) -> Any:
        if client is None:
            return self

        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await client.run(self._describe(*args, **kwargs))

        return update_wrapper(method, self._describe)


class _AsyncMany(Generic[P, T]):
    """The same for `AsyncClient`."""

    def __init__(self, describe: Callable[P, Reader[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: "AsyncClient | None", owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return client.iterate(self._describe(*args, **kwargs))

        return update_wrapper(method, self._describe)


class Client:
    """
    Calls an installation of Coppice.

        with Client("https://trees.example.org", api_key=key, token=token) as client:
            transfer = client.send(2, sender="alice", receiver="bob")

    `token` is a bearer token of `login`, or a restricted key; the API key is not needed for lockers and coins.
    `timeout` is in seconds, for each attempt to connect, to send and to read. A client may be used by several threads.

    :raises ValueError: a value cannot be sent
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        http: httpx2.Client | None = None,
    ) -> None:
        self.base_url = base_url
        self.retries = retries or Retries()
        self._credentials = Credentials(api_key, token)
        self._http = http or httpx2.Client(**_options(base_url, timeout))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def login(self, wallet: str, password: str) -> str:
        """Log in, use the new bearer token from now on, and return it. Keep it secret."""
        token = self.run(calls.login(wallet, password))
        self._credentials.token = _checked("bearer token", token)
        return token

    def run(self, action: Action[T]) -> T:
        """Run an action of `coppice_client.calls` and return its result."""
        steps = action.steps(self.retries)
        try:
            effect = next(steps)
            while True:
                try:
                    outcome = self._perform(effect)
                except httpx2.RequestError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def iterate(self, reader: Reader[T]) -> Iterator[T]:
        """Iterate over a list of `coppice_client.calls`, page after page as they are needed."""
        while (items := self.run(_More(reader))) is not None:
            yield from items

    def _perform(self, effect: Exchange | Pause) -> httpx2.Response | None:
        if isinstance(effect, Pause):
            time.sleep(effect.seconds)
            return None
        return self._http.request(auth=self._credentials, **effect.arguments())

    change_password = _One(calls.change_password)
    sessions = _Many(calls.sessions)
    end_session = _One(calls.end_session)
    log_out = _One(calls.log_out)
    wallets = _Many(calls.wallets)
    wallet = _One(calls.wallet)
    export_wallet = _One(calls.export_wallet)
    approval_demand = _One(calls.approval_demand)
    demand_approvals = _One(calls.demand_approvals)
    create_wallet = _One(calls.create_wallet)
    describe_wallet = _One(calls.describe_wallet)
    token_balance = _One(calls.token_balance)
    token_statement = _Many(calls.token_statement)
    pending_sums = _One(calls.pending_sums)
    dismiss_manager = _One(calls.dismiss_manager)
    tokens = _Many(calls.tokens)
    token = _One(calls.token)
    token_history = _Many(calls.token_history)
    token_proof = _One(calls.token_proof)
    checkpoints = _One(calls.checkpoints)
    transfers = _Many(calls.transfers)
    transfer = _One(calls.transfer)
    transfer_tokens = _Many(calls.transfer_tokens)
    transfer_proof = _One(calls.transfer_proof)
    send = _One(calls.send)
    accept = _One(calls.accept)
    fulfill = _One(calls.fulfill)
    approve = _One(calls.approve)
    refuse = _One(calls.refuse)
    decline = _One(calls.decline)
    cancel = _One(calls.cancel)
    claim_links = _One(calls.claim_links)
    claim_link = _One(calls.claim_link)
    create_claim_link = _One(calls.create_claim_link)
    create_claim_links = _One(calls.create_claim_links)
    cancel_claim_link = _One(calls.cancel_claim_link)
    redeem_claim_link = _One(calls.redeem_claim_link)
    describe_claim_link = _One(calls.describe_claim_link)
    trusts = _Many(calls.trusts)
    trusts_of_wallet = _Many(calls.trusts_of_wallet)
    trust = _One(calls.trust)
    request_trust = _One(calls.request_trust)
    accept_trust = _One(calls.accept_trust)
    decline_trust = _One(calls.decline_trust)
    end_trust = _One(calls.end_trust)
    keys = _Many(calls.keys)
    key = _One(calls.key)
    create_key = _One(calls.create_key)
    rename_key = _One(calls.rename_key)
    end_key = _One(calls.end_key)
    events = _Many(calls.events)
    follow_events = _Many(calls.follow_events)
    webhooks = _Many(calls.webhooks)
    webhook = _One(calls.webhook)
    create_webhook = _One(calls.create_webhook)
    change_webhook = _One(calls.change_webhook)
    delete_webhook = _One(calls.delete_webhook)
    rotate_webhook_secret = _One(calls.rotate_webhook_secret)
    try_webhook = _One(calls.try_webhook)
    webhook_deliveries = _Many(calls.webhook_deliveries)
    resend_delivery = _One(calls.resend_delivery)
    put = _One(calls.put)
    peek = _One(calls.peek)
    take = _One(calls.take)
    lockers = _Many(calls.lockers)
    locker_code = _One(calls.locker_code)
    task = _One(calls.task)
    wait = _One(calls.wait)
    receipt = _One(calls.receipt)
    coin_wallets = _One(calls.coin_wallets)
    coin_wallet = _One(calls.coin_wallet)
    statement = _Many(calls.statement)
    import_coins = _One(calls.import_coins)
    export_coins = _One(calls.export_coins)
    exports = _Many(calls.exports)
    export = _One(calls.export)
    export_file = _One(calls.export_file)
    confirm_export = _One(calls.confirm_export)
    recall_export = _One(calls.recall_export)
    move_coins = _One(calls.move_coins)
    fix_coins = _One(calls.fix_coins)
    find_coins = _One(calls.find_coins)
    check_coins = _One(calls.check_coins)
    create_payment_request = _One(calls.create_payment_request)
    payment_requests = _Many(calls.payment_requests)
    payment_request = _One(calls.payment_request)
    cancel_payment_request = _One(calls.cancel_payment_request)
    pay = _One(calls.pay)
    pay_with_code = _One(calls.pay_with_code)
    payment = _One(calls.payment)


class AsyncClient:
    """
    `Client` with asyncio: calls are awaited, and lists are read with `async for`.

        async with AsyncClient("https://trees.example.org", api_key=key, token=token) as client:
            transfer = await client.send(2, sender="alice", receiver="bob")
            async for event in client.follow_events():
                ...
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self.base_url = base_url
        self.retries = retries or Retries()
        self._credentials = Credentials(api_key, token)
        self._http = http or httpx2.AsyncClient(**_options(base_url, timeout))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def login(self, wallet: str, password: str) -> str:
        """Log in, use the new bearer token from now on, and return it. Keep it secret."""
        token = await self.run(calls.login(wallet, password))
        self._credentials.token = _checked("bearer token", token)
        return token

    async def run(self, action: Action[T]) -> T:
        """Run an action of `coppice_client.calls` and return its result."""
        steps = action.steps(self.retries)
        try:
            effect = next(steps)
            while True:
                try:
                    outcome = await self._perform(effect)
                except httpx2.RequestError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def iterate(self, reader: Reader[T]) -> AsyncIterator[T]:
        """Iterate over a list of `coppice_client.calls`, page after page as they are needed."""
        while (items := await self.run(_More(reader))) is not None:
            for item in items:
                yield item

    async def _perform(self, effect: Exchange | Pause) -> httpx2.Response | None:
        if isinstance(effect, Pause):
            await asyncio.sleep(effect.seconds)
            return None
        return await self._http.request(auth=self._credentials, **effect.arguments())

    change_password = _AsyncOne(calls.change_password)
    sessions = _AsyncMany(calls.sessions)
    end_session = _AsyncOne(calls.end_session)
    log_out = _AsyncOne(calls.log_out)
    wallets = _AsyncMany(calls.wallets)
    wallet = _AsyncOne(calls.wallet)
    export_wallet = _AsyncOne(calls.export_wallet)
    approval_demand = _AsyncOne(calls.approval_demand)
    demand_approvals = _AsyncOne(calls.demand_approvals)
    create_wallet = _AsyncOne(calls.create_wallet)
    describe_wallet = _AsyncOne(calls.describe_wallet)
    token_balance = _AsyncOne(calls.token_balance)
    token_statement = _AsyncMany(calls.token_statement)
    pending_sums = _AsyncOne(calls.pending_sums)
    dismiss_manager = _AsyncOne(calls.dismiss_manager)
    tokens = _AsyncMany(calls.tokens)
    token = _AsyncOne(calls.token)
    token_history = _AsyncMany(calls.token_history)
    token_proof = _AsyncOne(calls.token_proof)
    checkpoints = _AsyncOne(calls.checkpoints)
    transfers = _AsyncMany(calls.transfers)
    transfer = _AsyncOne(calls.transfer)
    transfer_tokens = _AsyncMany(calls.transfer_tokens)
    transfer_proof = _AsyncOne(calls.transfer_proof)
    send = _AsyncOne(calls.send)
    accept = _AsyncOne(calls.accept)
    fulfill = _AsyncOne(calls.fulfill)
    approve = _AsyncOne(calls.approve)
    refuse = _AsyncOne(calls.refuse)
    decline = _AsyncOne(calls.decline)
    cancel = _AsyncOne(calls.cancel)
    claim_links = _AsyncOne(calls.claim_links)
    claim_link = _AsyncOne(calls.claim_link)
    create_claim_link = _AsyncOne(calls.create_claim_link)
    create_claim_links = _AsyncOne(calls.create_claim_links)
    cancel_claim_link = _AsyncOne(calls.cancel_claim_link)
    redeem_claim_link = _AsyncOne(calls.redeem_claim_link)
    describe_claim_link = _AsyncOne(calls.describe_claim_link)
    trusts = _AsyncMany(calls.trusts)
    trusts_of_wallet = _AsyncMany(calls.trusts_of_wallet)
    trust = _AsyncOne(calls.trust)
    request_trust = _AsyncOne(calls.request_trust)
    accept_trust = _AsyncOne(calls.accept_trust)
    decline_trust = _AsyncOne(calls.decline_trust)
    end_trust = _AsyncOne(calls.end_trust)
    keys = _AsyncMany(calls.keys)
    key = _AsyncOne(calls.key)
    create_key = _AsyncOne(calls.create_key)
    rename_key = _AsyncOne(calls.rename_key)
    end_key = _AsyncOne(calls.end_key)
    events = _AsyncMany(calls.events)
    follow_events = _AsyncMany(calls.follow_events)
    webhooks = _AsyncMany(calls.webhooks)
    webhook = _AsyncOne(calls.webhook)
    create_webhook = _AsyncOne(calls.create_webhook)
    change_webhook = _AsyncOne(calls.change_webhook)
    delete_webhook = _AsyncOne(calls.delete_webhook)
    rotate_webhook_secret = _AsyncOne(calls.rotate_webhook_secret)
    try_webhook = _AsyncOne(calls.try_webhook)
    webhook_deliveries = _AsyncMany(calls.webhook_deliveries)
    resend_delivery = _AsyncOne(calls.resend_delivery)
    put = _AsyncOne(calls.put)
    peek = _AsyncOne(calls.peek)
    take = _AsyncOne(calls.take)
    lockers = _AsyncMany(calls.lockers)
    locker_code = _AsyncOne(calls.locker_code)
    task = _AsyncOne(calls.task)
    wait = _AsyncOne(calls.wait)
    receipt = _AsyncOne(calls.receipt)
    coin_wallets = _AsyncOne(calls.coin_wallets)
    coin_wallet = _AsyncOne(calls.coin_wallet)
    statement = _AsyncMany(calls.statement)
    import_coins = _AsyncOne(calls.import_coins)
    export_coins = _AsyncOne(calls.export_coins)
    exports = _AsyncMany(calls.exports)
    export = _AsyncOne(calls.export)
    export_file = _AsyncOne(calls.export_file)
    confirm_export = _AsyncOne(calls.confirm_export)
    recall_export = _AsyncOne(calls.recall_export)
    move_coins = _AsyncOne(calls.move_coins)
    fix_coins = _AsyncOne(calls.fix_coins)
    find_coins = _AsyncOne(calls.find_coins)
    check_coins = _AsyncOne(calls.check_coins)
    create_payment_request = _AsyncOne(calls.create_payment_request)
    payment_requests = _AsyncMany(calls.payment_requests)
    payment_request = _AsyncOne(calls.payment_request)
    cancel_payment_request = _AsyncOne(calls.cancel_payment_request)
    pay = _AsyncOne(calls.pay)
    pay_with_code = _AsyncOne(calls.pay_with_code)
    payment = _AsyncOne(calls.payment)


class _More(Generic[T]):
    """Reads the next piece of a list."""

    def __init__(self, reader: Reader[T]) -> None:
        self._reader = reader

    def steps(self, retries: Retries) -> Generator[Exchange | Pause, Any, Sequence[T] | None]:
        return self._reader.more(retries)
