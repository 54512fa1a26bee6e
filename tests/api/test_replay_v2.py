"""
What a client of the public service's later version sent and got, sent to us below `/wallet/v2`, in order, over HTTP.

`data/exchanges-v2.jsonl` is played as `data/exchanges.jsonl` is (see `test_replay`), and compared with v1.45.0. The
steps that only v1.10.25 has answered are sent to `/wallet`. Where we differ, `DIFFERENCES` names why.
"""

import json
from pathlib import Path
from typing import Any

from config.api.treetracker import v2
from tests.api import seed
from tests.support.recorded_exchanges import ANY, Difference, Server, differences, error

# By a fixture, or without `subprocess` (tests/parts.py).
OF_SYSTEMS = True

EXCHANGES = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "exchanges-v2.jsonl").read_text().splitlines()
]
# What a step names by its id: no bundle draws it.
NAMED_TOKENS = {str(seed.derived_id(f"token:{number}")) for number in (1, 5001, 5002)}
# Ours beside the recorded ones: counts of wallets, fields of single wallets in lists and the other way round, and the
# links of a transfer's tokens. The order of fields is not compared.
EXTRA_FIELDS = {
    "tokens_available", "tokens_pending", "tokens_in_wallet", "cover_url", "display_name", "name", "wallet",
    "created_at", "links",
}  # fmt: skip

RECORDED: dict[int, Any] = {
    exchange["n"]: exchange["answers"]["v1.45.0"]["json"] for exchange in EXCHANGES if "v1.45.0" in exchange["answers"]
}

OF_V1 = {exchange["n"]: exchange["answers"]["v1.10.25"]["json"] for exchange in EXCHANGES if exchange["n"] in (29, 30)}


def counted(step: int, query: dict[str, Any]) -> Difference:
    """A list of wallets with a parameter that v1.10.3 does not know: numbers are numbers, and there is a total."""
    rows = [{**row, "tokens_in_wallet": int(row["tokens_in_wallet"])} for row in OF_V1[step]["wallets"]]
    return Difference("later version", 200, {"total": 11, "query": query, "wallets": rows})


DIFFERENCES: dict[int, Difference] = {
    29: counted(29, {"limit": 3, "offset": 0, "sort_by": "created_at", "order": "asc"}),
    30: counted(30, ANY),
    # Of transfers in the same state the newest comes first; there, their order is arbitrary.
    54: Difference("tie", 200, {**RECORDED[54], "transfers": [*RECORDED[54]["transfers"][:2], RECORDED[47]]}),
    # A bundle draws tokens at random, and `id` is that of the token, not of its movement.
    66: Difference("draw", 200, {"tokens": [ANY]}),
    # There, `limit` is ignored and trusts are in no order; here, the newest come first.
    74: Difference("defect", 200, {**RECORDED[74], "trust_relationships": RECORDED[74]["trust_relationships"][:2]}),
    75: Difference("defect", 200, {**RECORDED[75], "trust_relationships": RECORDED[75]["trust_relationships"][::-1]}),
    # A token that a transfer reserves was updated then.
    **{
        step: Difference(
            "row 19", 200, {"tokens": [{**token, "updated_at": ANY} for token in RECORDED[step]["tokens"]]}
        )
        for step in (67, 68)
    },
    # JSON is taken too.
    94: Difference("extra", 200, {**RECORDED[93], "about": "json words"}),
    # There, the bundle of step 40 had drawn this token.
    70: error("draw", 403, "Have no permission to visit this token"),
}


class ServerOfV2(Server):
    """Sends each request below the prefix of its version, and a login below `/wallet/v2`."""

    prefix = f"/{v2.PREFIX.rstrip('/')}"

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, Any]:
        return super().exchange(method, self.prefix + path, headers, body)


def aligned(expected: Any, actual: Any) -> Any:
    """Return the answer with its fields in the recorded order, and without those that are ours alone."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        fields = [name for name in expected if name in actual]
        fields += [name for name in actual if name not in expected and name not in EXTRA_FIELDS]
        return {name: aligned(expected.get(name), actual[name]) for name in fields}
    if isinstance(expected, list) and isinstance(actual, list):
        rows = [*expected, *[None] * len(actual)]
        return [aligned(one, other) for one, other in zip(rows, actual, strict=False)]
    return actual


def test_every_recorded_exchange_of_v2_gets_the_recorded_answer_or_the_difference_that_is_named(address: str) -> None:
    seed.load(NAMED_TOKENS)
    server = ServerOfV2(address)
    problems = []

    for exchange in EXCHANGES:
        version = "v1.45.0" if "v1.45.0" in exchange["answers"] else "v1.10.25"
        server.prefix = "/wallet/v2" if version == "v1.45.0" else "/wallet"
        recorded = exchange["answers"][version]
        step = f"{exchange['n']} {exchange['label']}"
        difference = DIFFERENCES.get(exchange["n"])
        try:
            status, body = server.send(exchange["request"])
        except KeyError as missing:
            problems.append(f"{step}: nothing was created as {missing}")
            continue
        wanted, expected = recorded["status"], recorded["json"]
        if difference is not None:
            wanted, expected = difference.status, expected if difference.body is None else difference.body
        found = differences(expected, aligned(expected, body), server.ids)
        if status != wanted:
            found.insert(0, f"status {status}, not {wanted}: {str(body)[:300]}")
        elif (
            difference is not None
            and status == recorded["status"]
            and not differences(recorded["json"], aligned(recorded["json"], body), server.ids)
        ):
            found.append("is the recorded answer: the entry in DIFFERENCES is of no use")
        problems += [f"{step}: {problem}" for problem in found]

    assert not problems, "\n" + "\n".join(problems)
    assert set(DIFFERENCES) <= {exchange["n"] for exchange in EXCHANGES}
