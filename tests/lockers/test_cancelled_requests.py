"""A cancelled request leaves no socket and no asyncio task open, however often it is cancelled."""

import asyncio
import gc
import socket
import warnings

import pytest

from lockers import transport as client
from lockers.raida.commands import Command
from lockers.server_request import ServerRequest
from lockers.transport import Call, Server

SECONDS = 20.0


@pytest.mark.parametrize("command", [Command.PEEK, Command.PUT])
@pytest.mark.parametrize("cancellations", [1, 2, 3])
def test_a_request_that_is_cancelled_closes_its_sockets(command: Command, cancellations: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(3, "127.0.0.1", listener.getsockname()[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            left = asyncio.run(_cancelled_while_held_back(server, command, listener, cancellations))
            gc.collect()

    assert left == set()
    assert [str(warning.message) for warning in caught] == []


async def _cancelled_while_held_back(
    server: Server, command: Command, listener: socket.socket, cancellations: int
) -> set[str]:
    """Cancel a request over TCP that is not answered; return the names of the tasks that outlive it."""
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    # Too long for a datagram, so that a put goes over a connection.
    call = Call(command, {server.raida: bytes(16 if command is Command.PEEK else 2000)})
    request = asyncio.create_task(ServerRequest(server, call, client.within(SECONDS)).run())
    accepted, _ = await asyncio.wait_for(loop.sock_accept(listener), SECONDS)
    with accepted:
        await asyncio.wait_for(loop.sock_recv(accepted, 1), SECONDS)
        for _ in range(cancellations):
            request.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(request, return_exceptions=True)
    return {task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}}
