"""Lists by their cursors, events that are followed, and tasks that are awaited; with blocking calls and asyncio."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from coppice_client import (
    AsyncClient,
    Client,
    EventsExpired,
    NotFound,
    OutcomeUnknown,
    TaskFailed,
    TaskTimeout,
    Unavailable,
    decimal_of,
)
from coppice_client.exchange import Call, Exchange, Pause, Retries, Waiting

from tests.api.caller import Caller
from tests.client_package.conftest import ADDRESS, QUICK, Network, answering, unreachable
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import event_sequence
from wallets.models import EventPosition, Token

pytestmark = pytest.mark.django_db


@pytest.fixture
def holder(alice: Caller, bob: Caller) -> Caller:
    assert alice.wallet is not None
    transfers.issue_tokens(wallet=alice.wallet, count=5)
    return alice


def test_a_list_has_all_rows_whatever_the_size_of_a_page(network: Network, holder: Caller) -> None:
    client = network.client(holder)
    ids = {str(each) for each in Token.objects.values_list("id", flat=True)}

    pages = {}
    for size in (1, 2, 5, 6):
        network.requests.clear()
        found = [token["id"] for token in client.tokens(page_size=size)]
        assert (len(found), set(found)) == (5, ids)
        pages[size] = len(network.requests)
    assert pages == {1: 5, 2: 3, 5: 1, 6: 1}

    network.requests.clear()
    assert len(list(itertools.islice(client.tokens(page_size=2), 2))) == 2
    assert len(network.requests) == 1


def test_a_page_that_names_itself_as_the_next_does_not_go_on_for_ever(network: Network, holder: Caller) -> None:
    same = answering(200, {"wallets": [{"name": "alice"}]}, Link='</wallets?limit=100>; rel="next"')
    network.faults = [same] * 4

    with pytest.raises(Unavailable, match="not readable"):
        list(network.client(holder).wallets())

    assert len(network.requests) == 4


def test_a_filter_holds_for_all_pages(network: Network, holder: Caller) -> None:
    client = network.client(holder)
    sent = [client.send(1, sender="alice", receiver="bob")["id"] for _ in range(3)]
    client.cancel(sent[1])

    found = [each["id"] for each in client.transfers(state="pending", page_size=1)]

    assert found == [sent[0], sent[2]]


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_value_cannot_name_another_path(network: Network, holder: Caller, value: str) -> None:
    client = network.client(holder)
    with pytest.raises(ValueError, match="neither a name nor an id"):
        client.transfer(value)
    with pytest.raises(Exception, match=r"\(4\d\d"):
        client.transfer("../wallets?limit=1#")
    assert network.requests[-1].url.raw_path == b"/transfers/..%2Fwallets%3Flimit%3D1%23"


def test_followed_events_come_once_and_in_order(network: Network, holder: Caller) -> None:
    client, troubles = network.client(holder), []
    ids = [client.send(1, sender="alice", receiver="bob")["id"] for _ in range(2)]
    found = client.follow_events(
        since=datetime.now(UTC) - timedelta(hours=1), page_size=2, interval=0, on_trouble=troubles.append
    )

    def of_transfers() -> Iterator[str]:
        for event in found:
            if "transferId" in event["payload"]:
                yield event["payload"]["transferId"]

    followed = of_transfers()
    assert list(itertools.islice(followed, 2)) == ids
    for _ in range(3):
        sent = client.send(1, sender="alice", receiver="bob")
        network.faults = [*[unreachable] * 4, answering(503, Retry_After="0")]
        assert next(followed) == sent["id"]
    assert len(troubles) == 3


def test_events_are_followed_from_now_on_by_the_clock_of_the_server(network: Network, holder: Caller) -> None:
    client = network.client(holder)
    # A server whose clock is a year ahead.
    later = answering(200, {"events": []}, Date="Tue, 30 Nov 2999 05:00:00 GMT")
    found = answering(200, {"events": [{"id": "new", "type": "login"}]}, Link='</events?cursor=y>; rel="monitor"')
    network.faults = [later, found]

    (event,) = itertools.islice(client.follow_events(interval=0), 1)

    assert event["id"] == "new"
    assert [dict(request.url.params) for request in network.requests] == [
        {"limit": "1"},
        {"limit": "100", "since": "2999-11-30T05:00:00.000Z"},
    ]


def test_events_that_were_removed_before_they_were_read_end_the_following(network: Network, holder: Caller) -> None:
    client, troubles = network.client(holder), []
    sent = [client.send(1, sender="alice", receiver="bob")["id"] for _ in range(3)]
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    found = client.follow_events(since=an_hour_ago, page_size=1, interval=0, on_trouble=troubles.append)
    next(event for event in found if event["payload"].get("transferId") == sent[0])

    # As `config.ops.event_retention` does, two minutes before it drops them.
    event_sequence.publish()
    EventPosition.objects.update(kept_from=Transfer.objects.get(pk=sent[2]).number)
    with pytest.raises(EventsExpired, match="Begin again") as raised:
        next(found)

    assert (raised.value.status, raised.value.code, troubles) == (410, "events_expired", [])
    assert isinstance(raised.value, NotFound)
    assert next(found, None) is None
    again = client.follow_events(since=an_hour_ago, page_size=1, interval=0)
    assert next(again)["payload"]["transferId"] == sent[2]


def task(status: str, progress: int) -> dict[str, Any]:
    return {"id": "t", "type": "put", "status": status, "progress": progress, "message": f"{progress} %"}


def test_a_task_is_awaited_with_its_progress(network: Network, holder: Caller) -> None:
    client, seen = network.client(holder), []
    network.faults = [answering(200, task("running", 0)), unreachable, answering(200, task("completed", 100))]

    done = client.wait("t", on_progress=lambda each: seen.append(each["progress"]))

    assert (done["status"], seen) == ("completed", [0, 100])
    network.faults = [answering(200, task("error", 10))]
    with pytest.raises(TaskFailed, match="10 %") as raised:
        client.wait("t")
    assert raised.value.task["status"] == "error"
    network.faults = [answering(200, task("running", 0))]
    with pytest.raises(TaskTimeout):
        client.wait("t", seconds=0)


def test_the_pauses_between_questions_for_a_task_grow() -> None:
    pauses: list[float] = []
    steps = Waiting("t", Call(Exchange("GET", "/api/v1/task/t"))).steps(Retries())
    effect = next(steps)
    while len(pauses) < 12:
        if isinstance(effect, Pause):
            pauses.append(effect.seconds)
            effect = steps.send(None)
        else:
            effect = steps.send(httpx2.Response(200, json=task("running", 0)))

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.1, 2.0)


def test_amounts_are_exact() -> None:
    assert [str(decimal_of(each)) for each in (20, 0.5, 1e-08, "12345678901.00000001")] == [
        "20", "0.5", "1E-8", "12345678901.00000001",
    ]  # fmt: skip


def test_asyncio_has_the_same_calls_retries_and_lists() -> None:
    transfer = {"id": "1", "state": "pending"}
    script = [
        httpx2.ReadError("lost"),
        httpx2.Response(503, headers={"Retry-After": "0"}),
        httpx2.Response(202, json=transfer),
        httpx2.Response(200, json={"transfers": [transfer]}, headers={"Link": '</transfers?cursor=x>; rel="next"'}),
        httpx2.ReadError("lost"),
        httpx2.Response(200, json={"transfers": [{"id": "2"}]}),
        *[httpx2.ReadError("lost")] * 4,
        httpx2.Response(
            200, json={"events": [{"id": "a"}, {"id": "b"}]}, headers={"Link": '</events?cursor=y>; rel="monitor"'}
        ),
        httpx2.Response(200, json={"events": [{"id": "c"}]}, headers={"Link": '</events?cursor=z>; rel="monitor"'}),
    ]
    sent: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        outcome = script[len(sent) - 1]
        if isinstance(outcome, httpx2.Response):
            return outcome
        raise outcome

    async def main() -> None:
        http = httpx2.AsyncClient(base_url=ADDRESS, transport=httpx2.MockTransport(handle))
        async with AsyncClient(ADDRESS, api_key="key", token="s3cr3t", retries=QUICK, http=http) as client:
            assert await client.send(2, sender="alice", receiver="bob") == transfer
            assert len({request.headers["Idempotency-Key"] for request in sent}) == 1
            assert [each["id"] async for each in client.transfers()] == ["1", "2"]
            with pytest.raises(OutcomeUnknown) as raised:
                await client.accept("1")
            assert raised.value.idempotency_key == sent[-1].headers["Idempotency-Key"]
            assert "s3cr3t" not in repr(client) + repr(vars(client))
            followed = client.follow_events(since=datetime(2026, 1, 1, tzinfo=UTC), interval=0)
            assert [(await anext(followed))["id"] for _ in range(3)] == ["a", "b", "c"]

    asyncio.run(main())

    assert len(sent) == len(script)
    assert sent[-1].url.params["cursor"] == "y"
    assert {request.headers["Authorization"] for request in sent} == {"Bearer s3cr3t"}


@pytest.mark.parametrize(
    "url", ["ftp://trees.example", "trees.example", "https://user:pw@trees.example", "https://trees.example/?x=1"]
)
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="The base URL must") as raised:
        Client(url)

    assert "pw" not in str(raised.value)


def test_a_base_url_may_have_a_path() -> None:
    seen = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(200, json={"wallets": []})

    url = "https://trees.example.org/wallet"
    http = httpx2.Client(base_url=url, transport=httpx2.MockTransport(handle))
    assert list(Client(url, http=http).wallets()) == []
    assert seen == ["https://trees.example.org/wallet/wallets?limit=100"]
