"""
How fast events reach webhooks: the fan-out of events, and deliveries to receivers on this machine.

    python -m tests.benchmarks webhooks [--events N] [--webhooks N] [--silent N]

The webhooks are of one wallet each, and the events of these in turn. `--silent` of them never answer.
"""

import argparse
import asyncio
import multiprocessing
import time
import uuid
from collections.abc import Sequence
from multiprocessing.connection import Connection

import django

from tests.benchmarks import machine

_AT_ONCE = 500


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks webhooks", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--webhooks", type=int, default=50)
    parser.add_argument("--silent", type=int, default=0)
    chosen = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    receivers = context.Process(target=_receive, args=[there], daemon=True)
    receivers.start()
    good, silent = here.recv()
    try:
        with machine.running() as running:
            django.setup()
            _measure(chosen.events, chosen.webhooks, [silent] * chosen.silent + [good] * chosen.webhooks)
            _print_bytes(running)
    finally:
        receivers.terminate()
        receivers.join()


def _measure(number: int, webhooks: int, ports: Sequence[int]) -> None:
    from django.conf import settings
    from django.db.models import Max
    from django.utils import timezone

    from wallets import operations as wallets
    from wallets.states import EventType
    from webhooks import operations
    from webhooks.models import WebhookDelivery
    from webhooks.sender import session

    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    owners = [wallets.create_wallet(name=f"shop-{index:03}") for index in range(webhooks)]
    for owner, port in zip(owners, ports, strict=False):
        operations.create(actor=owner, url=f"http://127.0.0.1:{port}/hook")
    for start in range(0, number, _AT_ONCE):
        several = range(start, min(start + _AT_ONCE, number))
        wallets.record_events(
            [(owners[each % webhooks].pk, EventType.TRANSFER_COMPLETED, _payload(each, webhooks)) for each in several]
        )
    began = time.perf_counter()
    while operations.fan_out():
        pass
    fanned_out = time.perf_counter()
    created = WebhookDelivery.objects.count()
    expected = WebhookDelivery.objects.filter(webhook__url__contains=f":{ports[-1]}/").count()
    began_sending, arrived = timezone.now(), WebhookDelivery.objects.filter(state="delivered")
    while arrived.count() < expected:
        session.run()
    # A session goes on with receivers that do not answer: the time is that of the last delivery.
    last = arrived.aggregate(last=Max("sent_at"))["last"]
    took = (last - began_sending).total_seconds()
    print(
        f"{created:,} deliveries of {number:,} events to {webhooks} webhooks:"
        f" created in {fanned_out - began:.1f} s ({created / (fanned_out - began):,.0f}/s),"
        f" {arrived.count():,} delivered in {took:.1f} s ({arrived.count() / took:,.0f}/s)"
    )


def _payload(number: int, webhooks: int) -> dict[str, object]:
    """Return the payload of the event of a transfer that was pending."""
    sender, receiver = (f"shop-{(number + side) % webhooks:03}" for side in (0, 1))
    return {
        "transferId": str(uuid.uuid4()), "walletSender": sender, "walletReceiver": receiver, "bundle": 1,
        "transferState": "completed",
    }  # fmt: skip


def _print_bytes(running: machine.Machine) -> None:
    from tests.benchmarks import scale_data

    with running.connect() as connection:
        found = scale_data.row_bytes(
            connection, ("wallets_event", "webhooks_webhookmessage", "webhooks_webhookdelivery")
        )
    for table, (rows, heap, whole) in found.items():
        print(f"{table}: {whole:,.0f} bytes a row with indexes, {heap:,.0f} without, {rows:,} rows")


def _receive(ports: Connection) -> None:
    asyncio.run(_serve(ports))


async def _serve(ports: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    good = await asyncio.start_server(answer, "127.0.0.1", 0)
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    ports.send((good.sockets[0].getsockname()[1], silent.sockets[0].getsockname()[1]))
    async with good, silent:
        await asyncio.gather(good.serve_forever(), silent.serve_forever())
