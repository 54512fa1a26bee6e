"""One effect, whatever the network does, and no refusal that is reported although the effect may be there."""

import traceback
import uuid
from typing import Any

import httpx2
import pytest
from coppice_client import (
    Conflict,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Retries,
    ServerError,
    Unauthorized,
    Unavailable,
)

from tests.api.caller import Caller
from tests.client_package.conftest import Network, answering, lost_answer, lost_request, unreachable
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets

pytestmark = pytest.mark.django_db

REVOKED = {"code": 403, "message": "ERROR: Authentication, token not verified"}
BUSY = {"code": 503, "message": "Service busy, try again"}


@pytest.fixture
def holder(alice: Caller, bob: Caller) -> Caller:
    assert alice.wallet is not None
    transfers.issue_tokens(wallet=alice.wallet, count=5)
    return alice


def keys(network: Network) -> set[str]:
    """Return the idempotency keys of all requests; None for a request without one."""
    return {request.headers.get("Idempotency-Key") for request in network.requests}


@pytest.mark.parametrize(
    "faults",
    [
        [lost_answer],
        [lost_answer, lost_answer, lost_answer],
        [lost_request, unreachable, lost_answer],
        [answering(503, BUSY, Retry_After="0"), answering(429, Retry_After="0"), lost_answer],
        [answering(502), answering(504), answering(200)],
        [answering(409, Retry_After="0")],
        [answering(200, ["a portal"])],
    ],
    ids=["one", "all but the last", "mixed", "busy", "a proxy", "in flight", "something else"],
)
def test_a_transfer_happens_once(network: Network, holder: Caller, faults: list[Any]) -> None:
    network.faults = list(faults)

    sent = network.client(holder).send(2, sender="alice", receiver="bob")

    assert sent["state"] == "pending"
    assert list(Transfer.objects.values_list("id", "token_count")) == [(uuid.UUID(sent["id"]), 2)]
    assert len(network.requests) == len(faults) + 1
    (key,) = keys(network)
    assert uuid.UUID(key)


def test_silence_is_unknown_and_the_key_resolves_it(network: Network, holder: Caller) -> None:
    client = network.client(holder)
    network.faults = [lost_answer] * 4
    with pytest.raises(OutcomeUnknown) as raised:
        client.send(2, sender="alice", receiver="bob")
    assert keys(network) == {raised.value.idempotency_key}
    assert raised.value.idempotency_key in str(raised.value)

    sent = client.send(2, sender="alice", receiver="bob", idempotency_key=raised.value.idempotency_key)

    assert list(Transfer.objects.values_list("id", flat=True)) == [uuid.UUID(sent["id"])]


@pytest.mark.parametrize(
    "last",
    [
        answering(403, REVOKED, WWW_Authenticate="Bearer"),
        answering(401, REVOKED, WWW_Authenticate="Bearer"),
        answering(401, {"code": 401, "message": "Invalid access - no API key"}),
        answering(429, Retry_After="600"),
        answering(500, {"code": 500, "message": "Unknown error"}),
        answering(503, {"code": 503, "message": "Lockers are off"}),
        answering(408, {"code": 408, "message": "Request timeout"}),
        answering(404, {"error": "no such host"}),
        answering(403),
    ],
    ids=["bearer", "bearer of lockers", "API key", "limit", "failure", "off", "slow", "a proxy", "a firewall"],
)
def test_a_refusal_that_precedes_the_key_says_nothing_of_an_attempt_before(
    network: Network, holder: Caller, last: Any
) -> None:
    network.faults = [lost_answer, last]

    with pytest.raises(OutcomeUnknown):
        network.client(holder).send(2, sender="alice", receiver="bob")

    assert Transfer.objects.count() == 1


@pytest.mark.parametrize(
    ("only", "kind"),
    [
        (answering(403, REVOKED, WWW_Authenticate="Bearer"), Unauthorized),
        (answering(429, Retry_After="600"), RateLimited),
        (answering(503, {"code": 503, "message": "Lockers are off"}), ServerError),
        (answering(409, {"code": 409, "message": "taken"}), Conflict),
        (answering(404, {"code": 404, "message": "none"}), NotFound),
    ],
    ids=["bearer", "limit", "off", "conflict", "not found"],
)
def test_a_first_refusal_is_final(network: Network, holder: Caller, only: Any, kind: type[Exception]) -> None:
    network.faults = [only]

    with pytest.raises(kind):
        network.client(holder).send(2, sender="alice", receiver="bob")

    assert len(network.requests) == 1
    assert not Transfer.objects.exists()


def test_a_refusal_by_a_rule_settles_the_attempts_before(network: Network, holder: Caller) -> None:
    network.faults = [lost_request]

    with pytest.raises(Forbidden, match="Do not have enough tokens to send") as raised:
        network.client(holder).send(6, sender="alice", receiver="bob")

    assert (raised.value.status, raised.value.message, raised.value.code) == (
        403, "Do not have enough tokens to send", "not_enough_tokens",
    )  # fmt: skip
    assert raised.value.request_id


def test_the_name_of_an_error_is_read_from_its_header(network: Network, holder: Caller) -> None:
    network.faults = [answering(403, {"code": 403, "message": "no"}, Error_Code="insufficient_tokens")]

    with pytest.raises(Forbidden, match=r"^no \(403 insufficient_tokens\)$") as raised:
        network.client(holder).send(6, sender="alice", receiver="bob")

    assert raised.value.code == "insufficient_tokens"


def test_a_failure_of_the_server_is_unknown(network: Network, holder: Caller) -> None:
    network.faults = [answering(500, {"code": 500, "message": "Unknown error"})]

    with pytest.raises(OutcomeUnknown, match=r"^Unknown error \(500\)\. Whether"):
        network.client(holder).send(2, sender="alice", receiver="bob")

    assert len(network.requests) == 1


def test_what_was_never_sent_changed_nothing(network: Network, holder: Caller) -> None:
    network.faults = [unreachable] * 4

    with pytest.raises(Unavailable, match="cannot be reached"):
        network.client(holder).send(2, sender="alice", receiver="bob")

    assert len(network.requests) == 4


def test_reading_has_no_key_and_no_unknown_outcome(network: Network, holder: Caller) -> None:
    client = network.client(holder)
    network.faults = [lost_answer, lost_answer, lost_answer]
    assert [each["name"] for each in client.wallets()] == ["alice"]

    network.faults = [lost_answer] * 4
    with pytest.raises(Unavailable, match="broke"):
        list(client.wallets())
    network.faults = [answering(500, {"code": 500, "message": "Unknown error"})]
    with pytest.raises(ServerError):
        list(client.wallets())

    assert keys(network) == {None}


def test_a_retry_after_is_obeyed_up_to_the_limit(network: Network, holder: Caller) -> None:
    pauses = []
    client = network.client(holder, retries=Retries(pauses=(1, 1, 1), longest=5))
    perform = client._perform

    def note(effect: Any) -> Any:
        if hasattr(effect, "seconds"):
            pauses.append(effect.seconds)
            return None
        return perform(effect)

    client._perform = note  # type: ignore[method-assign]
    network.faults = [answering(429, Retry_After="4"), unreachable, answering(429, Retry_After="6")]

    with pytest.raises(RateLimited) as raised:
        list(client.wallets())

    assert raised.value.retry_after == 6
    assert pauses[0] == 4
    assert 1 <= pauses[1] <= 1.25
    assert len(pauses) == 2


def test_a_redirect_is_not_followed(network: Network, holder: Caller) -> None:
    network.faults = [answering(308, Location="https://elsewhere.example/wallets?limit=100")]

    with pytest.raises(Exception, match=r"at another address: https://elsewhere\.example/wallets ") as raised:
        list(network.client(holder).wallets())

    assert raised.value.status == 308  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["", "two words", "é", "line\nbreak", "x" * 256])
def test_a_key_that_cannot_be_sent_is_refused_before(network: Network, holder: Caller, value: str) -> None:
    with pytest.raises(ValueError, match="An idempotency key is"):
        network.client(holder).send(2, sender="alice", receiver="bob", idempotency_key=value)

    assert network.requests == []


def test_an_ended_token_is_told_from_a_rule(network: Network, holder: Caller) -> None:
    assert holder.wallet is not None
    wallets.set_password(wallet=holder.wallet, password="another one")

    with pytest.raises(Unauthorized) as raised:
        network.client(holder).send(2, sender="alice", receiver="bob")

    assert raised.value.status == 403


def test_secrets_are_in_no_representation_and_no_error(network: Network, holder: Caller, api_key: str) -> None:
    client, code = network.client(holder), "7KQ4-M2XW-9TRD-HB6P"
    token = client.login("alice", "test1234")
    assert list(client.wallets())
    assert holder.bearer is not None
    for secret in (token, holder.bearer, api_key, "test1234"):
        assert secret not in repr(client) + repr(vars(client))

    with pytest.raises(ValueError, match=r"^The bearer token must be visible ASCII characters$"):
        network.client(holder, token="broken\ntoken")
    with pytest.raises(Unauthorized) as raised:
        client.login("alice", "wrong password")
    assert "wrong password" not in repr(raised.value) + str(raised.value)
    network.faults = [unreachable] * 4
    with pytest.raises(Unavailable) as out_of_reach:
        client.take(code)
    assert code not in "".join(traceback.format_exception(out_of_reach.value))


def test_credentials_go_to_the_named_address_alone(network: Network, holder: Caller) -> None:
    page = {"wallets": [{"name": "alice"}]}
    network.faults = [answering(200, page, Link='<https://elsewhere.example/steal?cursor=x&limit=1>; rel="next"')]

    with pytest.raises(Exception, match="cursor"):
        list(network.client(holder).wallets())

    assert [request.url.host for request in network.requests] == ["testserver"] * 2
    assert network.requests[1].url == httpx2.URL("http://testserver/wallets?cursor=x&limit=1")
