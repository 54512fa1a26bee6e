"""
What a partner of the public wallet service sent and got, sent to us: `data/exchanges.jsonl` in order, over HTTP.

Compared are status, body and the order of fields, with version v1.10.3. Where we differ, `DIFFERENCES` names the row
of the Treetracker contract that says so. Ids and times that the server makes are volatile: an id must be the same one
wherever the recording has the same one, and a time must be written in the same form.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api import seed
from tests.support.recorded_exchanges import ANY, UUID, Difference, Server, differences, error
from transfers import operations
from wallets.models import Token, Wallet

# By a fixture, or without `subprocess` (tests/parts.py).
OF_SYSTEMS = True

EXCHANGES = [json.loads(line) for line in (Path(__file__).parent / "data" / "exchanges.jsonl").read_text().splitlines()]


def wallet(name: str, minute: int, tokens: int) -> dict[str, Any]:
    return {
        "id": str(seed.derived_id(f"wallet:{name}")), "name": name, "about": None, "logo_url": None,
        "created_at": f"2024-01-01T00:{minute:02}:00.000Z", "tokens_in_wallet": tokens,
        "tokens_available": tokens, "tokens_pending": 0,
    }  # fmt: skip


def new_wallet(name: str, about: str | None = None) -> Difference:
    return Difference("35", 200, {"id": ANY, "wallet": name, "about": about})


def token(number: int, holder: str) -> dict[str, Any]:
    at = f"2024-02-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    capture_id = str(seed.derived_id(f"capture:{number}"))
    return {
        "id": str(seed.derived_id(f"token:{number}")), "capture_id": capture_id,
        "wallet_id": str(seed.derived_id(f"wallet:{holder}")), "transfer_pending": False, "transfer_pending_id": None,
        "created_at": at, "updated_at": at, "claim": False, "links": {"capture": f"/webmap/tree?uuid={capture_id}"},
    }  # fmt: skip


def reserved(number: int) -> dict[str, Any]:
    label = "{{transfer: 2 tokens, alice -> dave (stranger): pending}}"
    return {**token(number, "alice"), "transfer_pending": True, "transfer_pending_id": label, "updated_at": ANY}


def transfer(label: str, size: int, originator: str, source: str, destination: str) -> dict[str, Any]:
    return {
        "id": label, "type": "send", "parameters": {"bundle": {"bundleSize": size}}, "state": "completed",
        "created_at": ANY, "closed_at": ANY, "active": True, "claim": False, "originating_wallet": originator,
        "source_wallet": source, "destination_wallet": destination,
    }  # fmt: skip


def trust(label: Any, state: str, originator: str, actor: str, target: str) -> dict[str, Any]:
    return {
        "id": label, "type": "send", "request_type": "send", "state": state, "created_at": ANY, "updated_at": ANY,
        "originating_wallet": originator, "actor_wallet": actor, "target_wallet": target,
    }  # fmt: skip


MALFORMED = "Malformed JSON: Expecting property name enclosed in double quotes at position 1"
SAME_WALLET = "Cannot transfer to the same wallet as the originating one!"
NOT_ENOUGH = "Do not have enough tokens to send"
AT_LEAST_ONE = '"limit" must be greater than or equal to 1'
ONE_OF = '"state" must be one of '
NOT_VERIFIED = "ERROR: Authentication, token not verified"

DIFFERENCES: dict[int, Difference] = {
    3: error("1", 405, "Method GET is not allowed"),
    4: error("1", 404, "Cannot POST /authnot"),
    5: error("1", 404, "Cannot GET /nope"),
    6: error("1", 404, "Cannot GET /"),
    7: error("1", 404, "Cannot POST //auth"),
    26: error("2", 400, MALFORMED),
    28: error("3", 403, NOT_VERIFIED),
    32: Difference("conventions", 200, {"wallets": [wallet("bobby", 2, 2500)]}),
    42: error("24", 422, '"limit" must be an integer'),
    44: error("24", 422, '"limit" must be less than or equal to 2000'),
    51: Difference(
        "35", 200, {"total": 11, "query": ANY, "wallets": [wallet("alice", 1, 10000), wallet("bobby", 2, 2500)]}
    ),
    52: Difference("35", 200, {"total": 0, "query": ANY, "wallets": []}),
    53: new_wallet("newwallet1"),
    54: new_wallet("newwallet2", "hello there"),
    57: new_wallet("some.one@example.com"),
    58: new_wallet("under_score"),
    62: error("27", 422, '"wallet" length must be at least 3 characters long'),
    64: error("30", 422, "invalid wallet name:11111111-1111-4111-8111-111111111111 has the form of an id"),
    67: new_wallet("bobbysub"),
    69: Difference("1", 200, {**wallet("bobby", 2, 2500), "cover_url": None, "display_name": None, "wallet": "bobby"}),
    70: Difference("1", 200, {**wallet("alice", 1, 10000), "cover_url": None, "display_name": None, "wallet": "alice"}),
    71: error("1", 403, "Have no permission to access this wallet"),
    72: error("1", 404, "Could not find wallet by id: 11111111-1111-4111-8111-111111111111"),
    73: error("1", 422, '"wallet_id" must be a valid GUID'),
    91: Difference("12", 200, {"tokens": [token(3, "alice"), token(4, "alice")]}),
    100: Difference("24", 200, {"tokens": []}),
    102: error("24", 422, AT_LEAST_ONE),
    118: error("4", 422, '"token_id" must be a valid GUID'),
    132: error("4", 422, '"tokens[0]" must be a valid GUID'),
    134: Difference("21", 201, transfer('{{transfer: bundle "2" as string}}', 2, "alice", "alice", "bobby")),
    149: error("8", 422, SAME_WALLET),
    151: error("7", 403, "Current account has no permission to transfer between these wallets"),
    # Without the transfer of step 149.
    157: Difference("8", 200, {"transfers": [ANY, ANY, "… 15 in all"]}),
    161: Difference("13", 200, {"transfers": []}),
    167: error("24", 422, AT_LEAST_ONE),
    176: Difference("15", 200, {"tokens": [ANY, ANY]}),
    178: Difference("19", 200, {"tokens": [reserved(6001), reserved(6002)]}),
    207: error("conventions", 422, '"implicit" must be [true]'),
    225: error("1", 404, "Cannot POST /transfers/{{prepare: pending for fulfill}}/fullfill"),
    236: Difference("30", 200, trust(ANY, "requested", "dave", "dave", "carol")),
    237: error("8", 422, "Requester and requestee cannot be same."),
    239: error("6", 422, '"trust_request_type" deduct is not supported, use manage or yield'),
    243: Difference("later version", 200, trust(ANY, "requested", "dave", "dave", "s00002")),
    244: error("later version", 403, "Have no permission to deal with this actor"),
    245: Difference("later version", 200, trust(ANY, "requested", "alice", "bobby", "s00002")),
    # Without the trust of step 237.
    263: Difference(
        "8",
        200,
        {
            "trust_relationships": [
                trust("{{trust: erin asks dave, send (same type, other way)}}", "requested", "erin", "erin", "dave")
            ]
        },
    ),
    264: error("5", 422, ONE_OF + "[requested, trusted, cancelled_by_originator, cancelled_by_target]"),
    270: error("24", 422, '"start" must be greater than or equal to 1'),
    # Who controls a side ends the trust by either call; the state tells which side it was.
    273: Difference(
        "25", 200, trust("{{trust: dave asks erin, send}}", "cancelled_by_originator", "dave", "dave", "erin")
    ),
    276: Difference("25", 200, trust("{{trust: dave asks erin, send}}", "cancelled_by_target", "dave", "dave", "erin")),
    278: error("4", 422, '"trust_relationship_id" must be a valid GUID'),
    299: error("17", 403, NOT_ENOUGH),
    # The tokens that the pending transfer of step 300 promises are reserved, and its acceptance takes both.
    301: error("16", 403, NOT_ENOUGH),
    302: error("16", 403, NOT_ENOUGH),
    303: Difference(
        "16",
        200,
        transfer(
            "{{m00004 has 2 tokens: pending bundle of 2 to dave (no token is locked)}}", 2, "alice", "m00004", "dave"
        ),
    ),
    305: error("16", 403, NOT_ENOUGH),
    306: error("16", 403, NOT_ENOUGH),
    307: Difference("16", None),
    308: error("9", 422, '"bundle.bundle_size" is required'),
    312: error("17", 403, NOT_ENOUGH),
    313: error("8", 422, SAME_WALLET),
}


# What a step names by its id, or was put into a wallet before it, is no longer there if an earlier bundle drew it.
NAMED_TOKENS = {str(seed.derived_id(f"token:{number}")) for number in range(1, 20_001)} & (
    {token for exchange in EXCHANGES for token in UUID.findall(json.dumps(exchange["request"]))}
    | {
        str(seed.derived_id(f"token:{number}"))
        for exchange in EXCHANGES
        for numbers in exchange.get("before", {}).get("move_from_alice", {}).values()
        for number in numbers
    }
)


@pytest.mark.django_db(transaction=True)
def test_no_bundle_draws_a_token_that_a_step_names(monkeypatch: pytest.MonkeyPatch) -> None:
    seed.load(NAMED_TOKENS)
    lots = dict(Token.objects.filter(pk__in=NAMED_TOKENS).values_list("pk", "lot"))
    assert len(lots) == len(NAMED_TOKENS) > 20

    for start in {-(2**31) + 1, 0, 2**31 - 1, *lots.values()} - {-(2**31)}:
        monkeypatch.setattr("transfers.ledger.getrandbits", lambda bits, start=start: start + 2 ** (bits - 1))
        alice = Wallet.objects.get(name="alice")
        for sender in ("alice", "bobby"):
            operations.send_bundle(actor=alice, sender=sender, receiver="m00009", size=33)

    drawn = Token.objects.filter(wallet__name="m00009")
    assert not drawn.filter(pk__in=NAMED_TOKENS).exists()
    assert drawn.count() == 3 * 2 * 33


def test_every_recorded_exchange_gets_the_recorded_answer_or_the_difference_that_the_contract_names(
    address: str,
) -> None:
    seed.load(NAMED_TOKENS)
    server = Server(address)
    problems = []

    for exchange in EXCHANGES:
        recorded = exchange["answers"].get("v1.10.3")
        if recorded is None:
            continue
        for name, numbers in exchange.get("before", {}).get("move_from_alice", {}).items():
            seed.move_from_alice(name, numbers)
        difference = DIFFERENCES.get(exchange["n"])
        try:
            status, body = server.send(exchange["request"])
        except KeyError as missing:
            if difference is None or difference.status is not None:
                problems.append(f"{exchange['n']} {exchange['label']}: nothing was created as {missing}")
            continue
        if difference is not None and difference.body is not None:
            expected = difference.body
        else:
            expected = recorded.get("json", recorded.get("text"))
        found = differences(expected, body, server.ids)
        wanted = recorded["status"] if difference is None else difference.status
        if status != wanted:
            found.insert(0, f"status {status}, not {wanted}: {str(body)[:200]}")
        elif (
            difference is not None
            and not differences(recorded.get("json"), body, server.ids)
            and (status == recorded["status"])
        ):
            found.append("is the recorded answer: the entry in DIFFERENCES is of no use")
        problems += [f"{exchange['n']} {exchange['label']}: {problem}" for problem in found]

    assert not problems, "\n" + "\n".join(problems)
    assert set(DIFFERENCES) <= {exchange["n"] for exchange in EXCHANGES}
