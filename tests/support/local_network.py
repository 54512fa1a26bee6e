"""The control socket of a local network that a test runs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lockers.localnet.control import control_socket


@contextmanager
def listening(network: Any) -> Iterator[None]:
    """Open the control socket of a network, as `make run` does."""
    orders = control_socket(network.fleet)
    asyncio.run_coroutine_threadsafe(orders.__aenter__(), network._loop).result()
    yield
    asyncio.run_coroutine_threadsafe(orders.__aexit__(None, None, None), network._loop).result()
