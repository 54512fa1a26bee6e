"""Plays recorded exchanges of the public service against a running server, and compares the answers."""

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any

from tests.api import seed

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ELLIPSIS = re.compile(r"… (\d+) in all")

# Row 11 lists the fields of a wallet, secrets left out and counts added. Nothing else of ours is new.
ROW_11 = ["id", "name", "about", "logo_url", "created_at", "tokens_in_wallet"]
EXTRA_FIELDS = {"tokens_available", "tokens_pending"}


@dataclass(frozen=True)
class Difference:
    """
    What we answer instead, and the row of the Treetracker contract that says why.

    Instead of a row: "conventions" is the contract's page of these, "later version" what v1 refuses and v2 offers.
    A step without a status cannot be played, since an earlier difference left out what it is about.
    """

    row: str
    status: int | None
    body: Any = None


ANY: Any = object()


def error(row: str, status: int, message: str) -> Difference:
    return Difference(row, status, {"code": status, "message": message})


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
        connection = http.client.HTTPConnection(self.address, timeout=60)
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
    if expected is ANY:
        return []
    if isinstance(expected, dict) and isinstance(actual, dict):
        wanted = ROW_11 if "password" in expected else list(expected)
        shown = [field for field in actual if field in expected or field not in EXTRA_FIELDS]
        if wanted != shown:
            return [f"{path}: fields {shown}, not {wanted}"]
        if expected.get("state") in {"pending", "requested"} and "closed_at" in expected:
            expected = {**expected, "closed_at": None}  # row 19
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
        match = re.fullmatch(r"\{\{(.*)\}\}", expected)
        label = match[1] if match else expected
        if match or (UUID.fullmatch(expected) and expected not in seed.known_ids()):
            known = ids.setdefault(label, actual)
            return [] if known == actual else [f"{path}: {actual}, not {known}"]
        if expected.startswith("<JWT") or (TIME.fullmatch(expected) and not expected.startswith("2024")):
            return [] if not TIME.fullmatch(expected) or TIME.fullmatch(actual) else [f"{path}: {actual} is no time"]
        expected = re.sub(r"\{\{(.*?)\}\}", lambda match: ids.get(match[1], match[0]), expected)
    return [] if expected == actual and type(expected) is type(actual) else [f"{path}: {actual!r}, not {expected!r}"]
