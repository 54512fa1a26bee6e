"""
What a partner of the public wallet service sent and got, sent to us: `data/exchanges.jsonl` in order, over HTTP.

Compared are status, body and the order of fields, with version v1.10.3. Where we differ, `DIFFERENCES` names the row
of the Treetracker contract that says so. Ids and times that the server makes are volatile: an id must be the same one
wherever the recording has the same one, and a time must be written in the same form.
"""

import http.client
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api import seed

EXCHANGES = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "exchanges.jsonl").read_text().splitlines()
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ELLIPSIS = re.compile(r"… (\d+) in all")

# Fields of ours that v1.10.3 does not have, by the field that tells what kind of object it is.
EXTRA_FIELDS = {"tokens_in_wallet": {"tokens_available", "tokens_pending"}}
# Fields that v1.10.3 has and we must not have, or have no use for: rows 11 and 11 again (nothing is known of covers).
MISSING_FIELDS = {"tokens_in_wallet": {"password", "salt", "cover_url", "display_name"}}


@dataclass(frozen=True)
class Difference:
    """What we answer instead. `body` None: the recorded body holds; a message stands for an error body."""

    row: str
    status: int
    body: Any = None


def error(row: str, status: int, message: str) -> Difference:
    return Difference(row, status, {"code": status, "message": message})


DIFFERENCES: dict[int, Difference] = {
    3: error("1", 405, "Method GET is not allowed"),
    4: error("1", 404, "Cannot POST /authnot"),
}


class Server:
    """The running server, and what the recording calls by a label."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.bearer: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    def send(self, request: dict[str, Any]) -> tuple[int, Any]:
        headers = {}
        api_key = request.get("api_key", seed.API_KEY)
        if api_key is not None:
            headers["TREETRACKER-API-KEY"] = api_key
        if "authorization" in request:
            headers["Authorization"] = request["authorization"].replace("<JWT of 852 characters>", self.token("alice"))
        elif "as" in request:
            headers["Authorization"] = f"Bearer {self.token(request['as'])}"
        body = None
        if "raw" in request:
            body = request["raw"].encode()
        elif "json" in request:
            body = json.dumps(request["json"]).encode()
        if request["method"] in {"POST", "PATCH", "PUT"}:
            headers["Content-Type"] = request.get("content_type", "application/json")
        if not headers.get("Content-Type", "x"):
            del headers["Content-Type"]
        return self.exchange(request["method"], self.filled(request["path"]), headers, body)

    def token(self, wallet: str) -> str:
        if wallet not in self.bearer:
            credentials = json.dumps({"wallet": wallet, "password": seed.PASSWORD}).encode()
            headers = {"TREETRACKER-API-KEY": seed.API_KEY, "Content-Type": "application/json"}
            status, body = self.exchange("POST", "/auth", headers, credentials)
            assert status == 200, body
            self.bearer[wallet] = body["token"]
        return self.bearer[wallet]

    def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.putrequest(method, path)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            assert response.headers["Content-Type"] == "application/json", response.read()[:500]
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def filled(self, path: str) -> str:
        return re.sub(r"\{\{(.*?)\}\}", lambda match: self.ids[match[1]], path)


def differences(expected: Any, actual: Any, ids: dict[str, str], path: str = "") -> list[str]:
    """Return one sentence for each place where an answer is not the recorded one."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        extra = {field for kind, fields in EXTRA_FIELDS.items() if kind in expected for field in fields}
        missing = {field for kind, fields in MISSING_FIELDS.items() if kind in expected for field in fields}
        wanted = [field for field in expected if field not in missing]
        shown = [field for field in actual if field not in extra]
        if wanted != shown:
            return [f"{path}: fields {shown}, not {wanted}"]
        return [
            problem
            for field in wanted
            for problem in differences(expected[field], actual[field], ids, f"{path}.{field}")
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        count = len(expected)
        if expected and isinstance(expected[-1], str) and (match := ELLIPSIS.fullmatch(expected[-1])):
            count, expected = int(match[1]), expected[:-1]
        if len(actual) != count:
            return [f"{path}: {len(actual)} elements, not {count}"]
        return [
            problem
            for index, (one, other) in enumerate(zip(expected, actual, strict=False))
            for problem in differences(one, other, ids, f"{path}[{index}]")
        ]
    if isinstance(expected, str) and isinstance(actual, str):
        if match := re.fullmatch(r"\{\{(.*)\}\}", expected):
            if ids.setdefault(match[1], actual) != actual:
                return [f"{path}: {actual}, not {ids[match[1]]}"]
            return []
        if expected.startswith("<JWT") or (TIME.fullmatch(expected) and not expected.startswith("2024")):
            return [] if not TIME.fullmatch(expected) or TIME.fullmatch(actual) else [f"{path}: {actual} is no time"]
        expected = re.sub(r"\{\{(.*?)\}\}", lambda match: ids.get(match[1], match[0]), expected)
    return [] if expected == actual and type(expected) is type(actual) else [f"{path}: {actual!r}, not {expected!r}"]


def test_every_recorded_exchange_gets_the_recorded_answer_or_the_difference_that_the_contract_names(address):
    seed.load()
    server = Server(address)
    problems = []

    for exchange in EXCHANGES:
        recorded = exchange["answers"].get("v1.10.3")
        if recorded is None:
            continue
        for wallet, numbers in exchange.get("before", {}).get("move_from_alice", {}).items():
            seed.move_from_alice(wallet, numbers)
        try:
            status, body = server.send(exchange["request"])
        except KeyError as missing:
            problems.append(f"{exchange['n']} {exchange['label']}: nothing was created as {missing}")
            continue
        difference = DIFFERENCES.get(exchange["n"])
        if difference is not None and difference.body is not None:
            expected = difference.body
        else:
            expected = recorded.get("json", recorded.get("text"))
        found = differences(expected, body, server.ids)
        wanted = recorded["status"] if difference is None else difference.status
        if status != wanted:
            found.insert(0, f"status {status}, not {wanted}: {str(body)[:200]}")
        elif difference is not None and not differences(recorded.get("json"), body, server.ids) and (
            status == recorded["status"]
        ):
            found.append("is the recorded answer: the entry in DIFFERENCES is of no use")
        problems += [f"{exchange['n']} {exchange['label']}: {problem}" for problem in found]

    assert not problems, "\n" + "\n".join(problems)
    assert set(DIFFERENCES) <= {exchange["n"] for exchange in EXCHANGES}
