"""
What the public service's later version takes and answers, claim by claim, asked below `/wallet/v2`.

A row is a call and its answer: the message of an error, or a part of a success. In what is sent and expected `<name>`
is an id of the world, or one that an earlier row of the section made. Rows of lists are compared with a model in tests
of their own.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from tests.api.caller import PASSWORD, Caller, logged_in
from tests.support.multipart import BOUNDARY, form
from tests.support.object_matrix import digests
from tests.support.recorded_exchanges import TIME, UUID
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import ApiKey

UNKNOWN: Final = "11111111-1111-4111-8111-111111111111"
# Values of fields: any of this kind.
AN_ID: Final = UUID.fullmatch
A_TIME: Final = TIME.fullmatch
A_NUMBER: Final = lambda value: type(value) is int  # noqa: E731
A_TOKEN: Final = lambda value: value.count(".") == 2  # noqa: E731
A_LIST: Final = lambda value: type(value) is list  # noqa: E731

Row = tuple[str, str, Any, int, Any]


class World:
    """Wallets as in the recordings, their callers, and ids by name."""

    def __init__(self, api_key: str) -> None:
        self.callers = {name: logged_in(name, api_key) for name in ("alice", "bobby", "carol", "dave", "erin")}
        self.ids = {name: str(self.wallet(name).pk) for name in self.callers} | {"unknown": UNKNOWN}
        for kind, requestee in ((TrustRequestType.MANAGE, "bobby"), (TrustRequestType.SEND, "carol")):
            asked = trusts.request_trust(actor=self.wallet("alice"), request_type=kind, requestee=requestee)
            trusts.accept_trust(actor=self.wallet(requestee), trust_id=asked.id)
            self.ids[str(kind)] = str(asked.id)
        for name in ("alice", "carol", "dave"):
            tokens = transfers.issue_tokens(wallet=self.wallet(name), count=6)
            assert tokens
            held = self.callers[name].get("/tokens?limit=6").json()["tokens"]
            self.ids |= {f"{name}:{number}": token["id"] for number, token in enumerate(held)}

    def wallet(self, name: str) -> Any:
        return self.callers[name].wallet

    def filled(self, value: Any) -> Any:
        """Return a value with ids instead of their names."""
        if isinstance(value, str):
            return re.sub(r"<([^<>]+)>", lambda found: self.ids.get(found[1], found[0]), value)
        if isinstance(value, dict):
            return {name: self.filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        return value

    def problem(self, row: Row) -> str | None:
        """Make a call, and return what is wrong with the answer. The path is followed by the name of what it makes."""
        who, call, body, status, expected = row
        method, path, *name = call.split(" ", 2)
        headers = {}
        content = self.filled(body)
        if isinstance(body, bytes):
            headers["content-type"] = f"multipart/form-data; boundary={BOUNDARY}"
        before = {} if method == "GET" else digests()
        response = self.callers[who].send(method, f"/wallet/v2{self.filled(path)}", content, **headers)
        told = json.loads(response.content)
        if name:
            self.ids[name[0]] = told.get("id", "")
        wanted = {"code": status, "message": self.filled(expected)} if isinstance(expected, str) else expected
        if before and response.status_code >= 400 and digests() != before:
            return f"{who}: {call} {body}\n    was refused, and changed something"
        if response.status_code == status and fits(told, self.filled(wanted)):
            return None
        was = f"{response.status_code} {response.content.decode()[:400]}"
        return f"{who}: {call} {body}\n    {was}\n    not {status} {wanted}"


def fits(told: Any, wanted: Any) -> bool:
    """Return whether an answer has the fields and values that are wanted; it may have more fields."""
    if isinstance(wanted, set):
        return isinstance(told, dict) and wanted <= set(told)
    if isinstance(wanted, dict):
        return isinstance(told, dict) and all(name in told and fits(told[name], each) for name, each in wanted.items())
    if isinstance(wanted, list):
        return isinstance(told, list) and len(told) == len(wanted) and all(map(fits, told, wanted))
    if callable(wanted):
        return bool(wanted(told))
    return type(told) is type(wanted) and bool(told == wanted)


@pytest.fixture
def world(api_key: str) -> World:
    return World(api_key)


def check(world: World, rows: Sequence[Row]) -> None:
    problems = [problem for problem in map(world.problem, rows) if problem]
    assert not problems, f"{len(problems)} of {len(rows)} rows\n" + "\n".join(problems)


def one_of(name: str, *values: str) -> str:
    return f'"{name}" must be one of [{", ".join(values)}]'


def not_empty(name: str) -> str:
    return f'"{name}" is not allowed to be empty'


# Path, limit that is not sent, key of the rows, whether the query is repeated, whether there is a total.
LISTS: Final = [
    ("/wallets", 1000, "wallets", True, True),
    ("/tokens", 2000, "tokens", False, False),
    ("/tokens/<alice:0>/transactions", 1000, "history", False, False),
    ("/transfers", 1000, "transfers", True, True),
    ("/transfers/<sent>/tokens", 1000, "tokens", False, False),
    ("/trust_relationships", 500, "trust_relationships", True, False),
    ("/wallets/<alice>/trust_relationships", 500, "trust_relationships", True, True),
]
NOT_CONTROLLED: Final = "You do not have permission to update this wallet"
NOT_ISO: Final = "must be in ISO 8601 date format"
DATES_REFUSED: Final = ["01/02/2024", "20240310", "2024-W10", "2024-3-1", "1709251200000", "", "2024-02-30", "abc"]
DATES_TAKEN: Final = {
    "2024": "2024-01-01T00:00:00.000Z", "2024-03": "2024-03-01T00:00:00.000Z", "2024-03-10": "2024-03-10T00:00:00.000Z",
    "2024-03-10T12:30": "2024-03-10T12:30:00.000Z", "2024-03-10%2012:30:01": "2024-03-10T12:30:01.000Z",
    "2024-03-10T12:30:01.250Z": "2024-03-10T12:30:01.250Z", "2024-03-10T12:30:01%2B02:00": "2024-03-10T10:30:01.000Z",
}  # fmt: skip


def rows_of_lists() -> list[Row]:
    rows: list[Row] = []
    for path, limit, key, echoes, counts in LISTS:
        is_wallets = path == "/wallets"
        below = "{} can only be non-negative integer" if is_wallets else '"{}" must be greater than or equal to {}'
        whole = "{} can only be non-negative integer" if is_wallets else '"{}" must be an integer'
        keys = {key, *(["query"] if echoes else []), *(["total"] if counts else [])}
        refused: list[tuple[str, str]] = [
            ("start=1", '"start" is not allowed'),
            ("limit=2001", '"limit" must be less than or equal to 2000'),
            ("limit=0", below.format("limit", 1)),
            ("limit=-1", below.format("limit", 1)),
            ("limit=1.5", whole.format("limit")),
            ("limit=", '"limit" must be a number'),
            ("limit=ten", '"limit" must be a number'),
            ("limit=1&limit=2", '"limit" must be a number'),
            ("offset=-1", below.format("offset", 0)),
            ("offset=x", '"offset" must be a number'),
            ("offset=1.5", whole.format("offset")),
            (
                "limit=0&offset=-1&foo=1",
                ";".join([below.format("limit", 1), below.format("offset", 0), '"foo" is not allowed']),
            ),
        ]
        rows += [("alice", f"GET {path}?{query}", None, 422, message) for query, message in refused]
        taken = [
            ("", limit, 0),
            ("?limit=2000", 2000, 0),
            ("?limit=1e1&offset=%201", 10, 1),
            ("?offset=500", limit, 500),
        ]
        for query, shown, offset in taken:
            answered: dict[str, Any] = dict.fromkeys(keys, lambda _: True) | {key: A_LIST}
            if offset == 500:
                answered[key] = []
            if echoes:
                answered["query"] = {"limit": shown, "offset": offset}
            if counts:
                answered["total"] = A_NUMBER
            rows.append(("alice", f"GET {path}{query}", None, 200, answered))
    for path, names in (
        ("/wallets", ("created_at_start_date", "created_at_end_date")), ("/transfers", ("before", "after")),
    ):  # fmt: skip
        for name in names:
            rows += [("alice", f"GET {path}?{name}={text}", None, 422, f'"{name}" {NOT_ISO}') for text in DATES_REFUSED]
            rows += [
                ("alice", f"GET {path}?{name}={text}", None, 200, {"query": {name: read}})
                for text, read in DATES_TAKEN.items()
            ]
    wallet_sort = one_of("sort_by", "created_at", "name")
    trust_sort = one_of("sort_by", "state", "created_at", "updated_at")
    transfer_sort = one_of(
        "sort_by", "id", "source_wallet_id", "destination_wallet_id", "originator_wallet_id", "created_at", "closed_at",
        "state",
    )  # fmt: skip
    order, order_of_transfers = one_of("order", "asc", "desc"), one_of("order", "desc", "asc")
    states = ("requested", "pending", "completed", "cancelled", "failed")
    for path, query, message in (
        ("/wallets", "sort_by=tokens_in_wallet", wallet_sort),
        ("/wallets", "sort_by=", f"{wallet_sort};{not_empty('sort_by')}"),
        ("/wallets", "order=ASC", order),
        ("/wallets", "order=", f"{order};{not_empty('order')}"),
        ("/wallets", "scope=", f"{one_of('scope', 'all', 'child', 'managed')};{not_empty('scope')}"),
        ("/transfers", "order=", f"{order_of_transfers};{not_empty('order')}"),
        ("/transfers", "state=", f"{one_of('state', *states)};{not_empty('state')}"),
        ("/trust_relationships", "type=", f"{one_of('type', 'send', 'manage', 'deduct')};{not_empty('type')}"),
        ("/wallets", "name=", not_empty("name")),
        ("/wallets", "scope=mine", one_of("scope", "all", "child", "managed")),
        ("/wallets", "order_by=created_at", '"order_by" is not allowed'),
        ("/tokens", "wallet=", not_empty("wallet")),
        ("/tokens", "sort_by=created_at", '"sort_by" is not allowed'),
        ("/transfers", "sort_by=token_count", transfer_sort),
        ("/transfers", "order=ASC", order_of_transfers),
        ("/transfers", "state=Pending", one_of("state", *states)),
        ("/transfers", "wallet=", '"wallet" does not match any of the allowed types'),
        ("/trust_relationships", "sort_by=name", trust_sort),
        ("/trust_relationships", "order=up", order),
        ("/trust_relationships", "search=", not_empty("search")),
        ("/trust_relationships", "exclude_managed=true", '"exclude_managed" is not allowed'),
        ("/trust_relationships", "before=2024", '"before" is not allowed'),
        (
            "/trust_relationships", "state=foo&type=bar&request_type=baz",
            ";".join([
                one_of(
                    "state", "requested", "cancelled_by_originator", "cancelled_by_actor", "cancelled_by_target",
                    "trusted",
                ),
                one_of("type", "send", "manage", "deduct"),
                one_of("request_type", "send", "receive", "manage", "yield", "deduct", "release"),
            ]),
        ),
        ("/wallets/<alice>/trust_relationships", "exclude_managed=1", '"exclude_managed" must be a boolean'),
        ("/wallets/<alice>/trust_relationships", "sort_by=id", trust_sort),
    ):  # fmt: skip
        rows.append(("alice", f"GET {path}?{query}", None, 422, message))
    for query in ("state=cancelled_by_actor", "type=deduct", "request_type=release"):
        rows.append(("alice", f"GET /trust_relationships?{query}", None, 200, {"trust_relationships": []}))
    rows += [
        ("alice", "GET /wallets?name=zzz", None, 200, {"total": 1, "wallets": [{"name": "alice"}]}),
        ("alice", "GET /wallets?name=b_b", None, 200, {"total": 1, "wallets": [{"name": "alice"}]}),
        ("alice", "GET /trust_relationships?search=%25", None, 200, {"trust_relationships": []}),
        ("alice", "GET /wallets?name=OBB&scope=managed", None, 200, {"total": 1, "wallets": [{"name": "bobby"}]}),
        ("alice", "GET /wallets?scope=child", None, 200, {"total": 0, "wallets": []}),
        ("alice", "GET /wallets?created_at_start_date=2090&created_at_end_date=2024", None, 200, {"total": 0}),
        ("alice", "GET /wallets?limit=1", None, 200, {"wallets": [{
            "id": AN_ID, "name": "bobby", "about": None, "logo_url": None, "created_at": A_TIME,
            "tokens_in_wallet": 0}]}),
        ("bobby", "GET /wallets", None, 200, {"total": 1, "wallets": [{"name": "bobby"}]}),
        ("alice", "GET /wallets", None, 200, {
            "query": {"limit": 1000, "offset": 0, "sort_by": "created_at", "order": "desc"}, "total": 2}),
        *(("alice", f"GET /transfers?sort_by={by}&before=2090&after=2020", None, 200, {
            "total": 1, "transfers": [{"id": "<sent>"}],
            "query": {"sort_by": by, "before": "2090-01-01T00:00:00.000Z", "after": "2020-01-01T00:00:00.000Z"}})
          for by in ("id", "source_wallet_id", "destination_wallet_id", "originator_wallet_id", "created_at",
                     "closed_at", "state")),
        ("alice", "GET /transfers?wallet=erin", None, 200, {"transfers": [], "total": 0}),
        ("alice", "GET /transfers?wallet=missing", None, 404, "Could not find entity by wallet name: missing"),
        ("alice", "GET /transfers?wallet=<unknown>", None, 404, "Could not find wallet by id: <unknown>"),
        ("alice", "GET /tokens?wallet=missing", None, 404, "Could not find entity by wallet name: missing"),
        ("alice", "GET /tokens?wallet=dave", None, 403, "Wallet does not belong to the logged in wallet"),
        ("alice", "GET /tokens?limit=1", None, 200, {"tokens": [{
            "id": AN_ID, "capture_id": AN_ID, "wallet_id": "<alice>", "transfer_pending": False,
            "transfer_pending_id": None, "created_at": A_TIME, "updated_at": A_TIME, "claim": False,
            "links": {"capture": lambda url: url.startswith("/webmap/tree?uuid=")}}]}),
        ("alice", "GET /transfers?limit=1", None, 200, {"transfers": [{"id": "<sent>", "token_count": 1}]}),
        ("carol", "GET /tokens/<alice:0>/transactions", None, 200, {"history": [{
            "id": AN_ID, "token_id": "<alice:0>", "transfer_id": "<sent>", "source_wallet_id": "<alice>",
            "destination_wallet_id": "<carol>", "processed_at": A_TIME, "claim": False, "sender_wallet": "alice",
            "receiver_wallet": "carol"}]}),
        ("alice", "GET /transfers/<sent>/tokens", None, 200, {"tokens": [{
            "id": "<alice:0>", "token_id": "<alice:0>", "transfer_id": "<sent>", "source_wallet_id": "<alice>",
            "destination_wallet_id": "<carol>", "processed_at": A_TIME, "claim": False}]}),
        ("alice", "GET /trust_relationships?search=CAR", None, 200, {
            "query": {"search": "CAR", "limit": 500, "offset": 0, "sort_by": "created_at", "order": "desc"},
            "trust_relationships": [{
                "id": "<send>", "type": "send", "request_type": "send", "state": "trusted", "created_at": A_TIME,
                "updated_at": A_TIME, "originating_wallet": "alice", "actor_wallet": "alice", "target_wallet": "carol",
                "actor_wallet_id": "<alice>", "target_wallet_id": "<carol>", "originator_wallet_id": "<alice>",
                "active": True}]}),
        ("alice", "GET /wallets/<bobby>/trust_relationships", None, 200, {
            "total": 2, "query": {"exclude_managed": False}}),
        ("bobby", "GET /wallets/<bobby>/trust_relationships", None, 200, {"total": 1}),
        ("alice", "GET /wallets/<alice>/trust_relationships?exclude_managed=true", None, 200, {"total": 1}),
        ("dave", "GET /wallets/<alice>/trust_relationships", None, 422, NOT_CONTROLLED),
        ("alice", "GET /wallets/x/trust_relationships", None, 422, '"wallet_id" must be a valid GUID'),
        ("alice", "GET /events", None, 422, '"limit" is required'),
        ("alice", "GET /events?limit=1&offset=1", None, 422, '"offset" is not allowed'),
        ("alice", "GET /events?limit=1&since=abc", None, 422, f'"since" {NOT_ISO}'),
        ("alice", "GET /events?limit=1", None, 200, {"events": [{
            "id": AN_ID, "wallet_id": AN_ID, "type": "wallet_created", "created_at": A_TIME,
            "payload": {"childWallet": "alice"}}]}),
    ]  # fmt: skip
    return rows


# `alice:0` went to carol.
SENT: Final[Row] = (
    "alice", "POST /transfers sent", {"tokens": ["<alice:0>"], "sender_wallet": "alice", "receiver_wallet": "carol"},
    201, {"state": "completed", "token_count": 1},
)  # fmt: skip


def test_lists(world: World) -> None:
    assert world.problem(SENT) is None
    # The history of a token is for who holds it now.
    rows = [("carol" if "/transactions" in row[1] else row[0], *row[1:]) for row in rows_of_lists()]
    check(world, rows)


AUTH: Final[list[Row]] = [
    ("alice", "POST /auth", {"wallet": "alice", "password": PASSWORD}, 200, {"token": A_TOKEN}),
    ("alice", "POST /auth", {"wallet": "missing", "password": "x"}, 404,
     "Could not find entity by wallet name: missing"),
    ("alice", "POST /auth", {"wallet": "no body", "password": "x"}, 422, 'Invalid wallet name: "no body"'),
    ("alice", "POST /auth", {"wallet": "alice", "password": "x"}, 401, "Invalid Credentials"),
    ("alice", "POST /auth", {}, 422, '"wallet" is required;"password" is required'),
    ("alice", "POST /auth", {"wallet": "", "password": ""}, 422, f"{not_empty('wallet')};{not_empty('password')}"),
    ("alice", "POST /auth", {"wallet": 1, "password": 2}, 422, '"wallet" must be a string;"password" must be a string'),
    ("alice", "POST /auth", {"wallet": "al", "password": "x"}, 422,
     '"wallet" length must be at least 3 characters long'),
    ("alice", "POST /auth", {"wallet": "alice", "password": "x", "x": 1}, 422, '"x" is not allowed'),
]  # fmt: skip
SYMBOLS: Final = "wallet can only contain numbers, letters and the - . @ symbols"
WALLETS: Final[list[Row]] = [
    ("alice", "POST /wallets mia", {"wallet": "mia", "about": "a wallet"}, 201,
     {"id": AN_ID, "wallet": "mia", "about": "a wallet"}),
    ("alice", "POST /wallets", {"wallet": "m.i-a@2"}, 201, {"id": AN_ID, "wallet": "m.i-a@2", "about": None}),
    ("alice", "POST /wallets", {"wallet": "long", "about": "x" * 10_000}, 201, {"about": "x" * 10_000}),
    ("alice", "POST /wallets", {"wallet": "mia"}, 409, 'The wallet "mia" already exists'),
    ("alice", "POST /wallets", {}, 422, '"wallet" is required'),
    ("alice", "POST /wallets", {"wallet": ""}, 422, not_empty("wallet")),
    ("alice", "POST /wallets", {"wallet": 5}, 422, '"wallet" must be a string'),
    ("alice", "POST /wallets", {"wallet": "mi"}, 422, '"wallet" length must be at least 3 characters long'),
    ("alice", "POST /wallets", {"wallet": "m" * 255}, 422,
     '"wallet" length must be less than or equal to 254 characters long'),
    ("alice", "POST /wallets", {"wallet": "mi a"}, 422, SYMBOLS),
    ("alice", "POST /wallets", {"wallet": "mi_a"}, 422, SYMBOLS),
    ("alice", "POST /wallets", {"wallet": "mia2", "about": None}, 422, '"about" must be a string'),
    ("alice", "POST /wallets", {"wallet": "mia2", "about": 5}, 422, '"about" must be a string'),
    ("alice", "POST /wallets", {"wallet": "mia2", "about": ""}, 422, not_empty("about")),
    ("alice", "POST /wallets", {"wallet": "mia2", "x": 1}, 422, '"x" is not allowed'),
    ("alice", "POST /wallets", {"wallet": "", "about": "", "x": 1}, 422,
     f'{not_empty("wallet")};{not_empty("about")};"x" is not allowed'),
    ("alice", "GET /wallets?scope=child&name=mia", None, 200, {"total": 1, "wallets": [{"name": "mia"}]}),
    ("alice", "GET /wallets/<mia>", None, 200, {
        "id": "<mia>", "logo_url": None, "about": "a wallet", "cover_url": None, "display_name": None, "wallet": "mia",
        "tokens_in_wallet": 0}),
    ("dave", "GET /wallets/<mia>", None, 403, "Have no permission to access this wallet"),
    ("dave", "GET /wallets/<unknown>", None, 404, "Could not find wallet by id: <unknown>"),
    ("dave", "GET /wallets/x", None, 422, '"wallet_id" must be a valid GUID'),
    ("alice", "GET /wallets/<mia>/pending-transfers", None, 200, {
        "wallet_id": "<mia>", "wallet_name": "mia", "pending_outgoing": {"total_amount": 0, "count": 0},
        "pending_incoming": {"total_amount": 0, "count": 0}, "net_pending": 0}),
    ("alice", "PATCH /wallets/<mia>", form(None, display_name="  Mia  ", about="     ", add_to_web_map="true"), 200, {
        "id": "<mia>", "name": "mia", "logo_url": None, "created_at": A_TIME, "about": "     ", "cover_url": None,
        "display_name": "Mia"}),
    ("alice", "PATCH /wallets/<mia>", form(None, display_name="M"), 422,
     '"display_name" length must be at least 2 characters long'),
    ("alice", "PATCH /wallets/<mia>", form(None, display_name="M" * 31), 422,
     '"display_name" length must be less than or equal to 30 characters long'),
    ("alice", "PATCH /wallets/<mia>", form(None, about="four"), 422,
     '"about" length must be at least 5 characters long'),
    ("alice", "PATCH /wallets/<mia>", form(None, about="x" * 251), 422,
     '"about" length must be less than or equal to 250 characters long'),
    ("alice", "PATCH /wallets/<mia>", form(None, about="", display_name=""), 422,
     f"{not_empty('display_name')};{not_empty('about')}"),
    ("alice", "PATCH /wallets/<mia>", form(None, add_to_web_map="yes"), 422, '"add_to_web_map" must be a boolean'),
    ("alice", "PATCH /wallets/<mia>", form(None, name="other"), 422, '"name" is not allowed'),
    ("alice", "PATCH /wallets/x", form(None, about="planted"), 422, '"wallet_id" must be a valid GUID'),
    ("dave", "PATCH /wallets/<mia>", form(None, about="planted"), 422,
     NOT_CONTROLLED),
    ("dave", "PATCH /wallets/<unknown>", form(None, about="planted"), 422,
     NOT_CONTROLLED),
]  # fmt: skip
TOKENS: Final[list[Row]] = [
    ("alice", "GET /tokens/<alice:1>", None, 200, {"id": "<alice:1>", "wallet_id": "<alice>", "claim": False}),
    ("alice", "GET /tokens/x", None, 422, '"id" must be a valid GUID'),
    ("alice", "GET /tokens/<unknown>", None, 404, "Can not find token by id: <unknown>"),
    ("alice", "GET /tokens/<dave:1>", None, 403, "Have no permission to visit this token"),
    ("alice", "GET /tokens/x/transactions", None, 422, '"id" must be a valid GUID'),
    ("alice", "GET /tokens/<unknown>/transactions", None, 404, "Can not find token by id: <unknown>"),
    ("alice", "GET /tokens/<dave:1>/transactions", None, 403, "Have no permission to visit this token"),
    ("alice", "GET /tokens/<alice:1>/transactions", None, 200, {"history": []}),
]  # fmt: skip


def sent(receiver: str, sender: str = "alice", **fields: Any) -> dict[str, Any]:
    return {**fields, "sender_wallet": sender, "receiver_wallet": receiver}


def bundle(size: Any) -> dict[str, Any]:
    return {"bundle": {"bundle_size": size}}


OPEN: Final = {"type": "send", "active": True, "claim": False, "created_at": A_TIME}
TRANSFERS: Final[list[Row]] = [
    ("alice", "POST /transfers now", sent("carol", **bundle("2")), 201, {
        **OPEN, "id": AN_ID, "parameters": {"bundle": {"bundleSize": 2}}, "state": "completed", "closed_at": A_TIME,
        "originating_wallet": "alice", "source_wallet": "alice", "destination_wallet": "carol", "token_count": 2}),
    ("alice", "POST /transfers", sent("bobby", tokens=[]), 201, {"parameters": {"tokens": []}, "token_count": 0}),
    ("dave", "POST /transfers pending", sent("erin", "dave", tokens=["<dave:0>"], claim=False), 202, {
        **OPEN, "state": "pending", "parameters": {"tokens": ["<dave:0>"]}, "token_count": 1}),
    ("alice", "POST /transfers", sent("dave", claim="false", **bundle(1)), 202, {"claim": False}),
    ("erin", "POST /transfers requested", sent("erin", "dave", **bundle(2)), 202, {
        **OPEN, "state": "requested", "token_count": 2, "originating_wallet": "erin"}),
    ("erin", "POST /transfers named", sent("erin", "dave", tokens=["<dave:5>"]), 202, {"state": "requested"}),
    ("alice", "POST /transfers", sent("missing", **bundle(1)), 404, "Could not find entity by wallet name: missing"),
    ("alice", "POST /transfers", sent("<unknown>", **bundle(1)), 404, "Could not find wallet by id: <unknown>"),
    ("alice", "POST /transfers", sent("dave", tokens=["<unknown>"]), 404, "Can not find token by id: <unknown>"),
    ("alice", "POST /transfers", sent("dave", tokens=["x"]), 422, '"tokens[0]" must be a valid GUID'),
    ("alice", "POST /transfers", sent("dave", tokens=["<unknown>", "<unknown>"]), 422,
     '"tokens[1]" contains a duplicate value'),
    ("alice", "POST /transfers", sent("dave", **bundle(1000)), 409, "Do not have enough tokens to send"),
    ("alice", "POST /transfers", sent("dave", tokens=["<dave:4>"]), 403,
     "The token <dave:4> does not belong to the sender wallet"),
    ("dave", "POST /transfers", sent("erin", "dave", tokens=["<dave:0>"]), 403,
     "The token <dave:0> cannot be transferred for some reason--for example, it is part of another pending transfer"),
    ("alice", "POST /transfers", sent("dave", **bundle("x")), 422, '"bundle.bundle_size" must be a number'),
    ("alice", "POST /transfers", sent("dave", **bundle(0)), 422,
     '"bundle.bundle_size" must be greater than or equal to 1'),
    ("alice", "POST /transfers", sent("dave", **bundle(10_001)), 422,
     '"bundle.bundle_size" must be less than or equal to 10000'),
    ("alice", "POST /transfers", sent("dave", **bundle(1.5)), 422, '"bundle.bundle_size" must be an integer'),
    ("alice", "POST /transfers", sent("dave", bundle={"bundle_size": 1, "matching_all_tags": 1}), 422,
     '"bundle.matching_all_tags" is not allowed'),
    ("alice", "POST /transfers", sent("dave"), 422, '"bundle" is required'),
    ("alice", "POST /transfers", sent("dave", tokens=["<unknown>"], **bundle(1)), 422, '"bundle" is not allowed'),
    ("alice", "POST /transfers", {}, 422,
     '"bundle" is required;"sender_wallet" is required;"receiver_wallet" is required'),
    ("alice", "POST /transfers", sent(5, 6, **bundle(1)), 422,
     f"{one_of('sender_wallet', 'string')};{one_of('receiver_wallet', 'string')}"),
    ("alice", "POST /transfers", sent("dave", claim="x", **bundle(1)), 422, '"claim" must be a boolean'),
    ("alice", "POST /transfers", sent("alice", **bundle(1)), 422,
     "Cannot transfer to the same wallet as the originating one!"),
    ("alice", "GET /transfers/<now>", None, 200, {"id": "<now>", "token_count": 2}),
    ("alice", "GET /transfers/x", None, 422, '"transfer_id" must be a valid GUID'),
    ("alice", "GET /transfers/<pending>", None, 404, "Transfer does not exist or it is not related to this wallet"),
    ("alice", "GET /transfers/<unknown>/tokens", None, 404,
     "Transfer does not exist or it is not related to this wallet"),
    ("alice", "GET /transfers/x/tokens", None, 422, '"transfer_id" must be a valid GUID'),
    ("dave", "GET /transfers/<pending>/tokens", None, 200, {"tokens": [{
        "id": "<dave:0>", "transfer_pending": True, "transfer_pending_id": "<pending>"}]}),
    *(("dave", f"POST /transfers/x/{verb}", {}, 422, '"transfer_id" must be a valid GUID')
      for verb in ("accept", "decline")),
    ("dave", "DELETE /transfers/x", None, 422, '"transfer_id" must be a valid GUID'),
    ("dave", "POST /transfers/<pending>/accept", {}, 403,
     "Current account has no permission to accept this transfer"),
    ("erin", "POST /transfers/<requested>/accept", {}, 409, "The transfer state is not pending"),
    ("alice", "POST /transfers/<unknown>/accept", {}, 404, "Can not find transfer by id: <unknown>"),
    ("dave", "POST /transfers/<pending>/decline", {}, 403,
     "Current account has no permission to decline this transfer"),
    ("erin", "DELETE /transfers/<pending>", None, 403, "Current account has no permission to cancel this transfer"),
    ("dave", "POST /transfers/<requested>/fulfill", {}, 422, '"implicit" is required'),
    ("dave", "POST /transfers/<requested>/fulfill", {"implicit": False}, 422, '"implicit" must be [true]'),
    ("dave", "POST /transfers/<requested>/fulfill", {"implicit": True, "tokens": ["<dave:1>"]}, 422,
     '"implicit" is not allowed'),
    ("dave", "POST /transfers/<requested>/fulfill", {"tokens": ["x"]}, 422, '"tokens[0]" must be a valid GUID'),
    ("dave", "POST /transfers/<requested>/fulfill", {"tokens": ["<unknown>", "<unknown>"]}, 422,
     '"tokens[1]" contains a duplicate value'),
    ("dave", "POST /transfers/<requested>/fulfill", {"tokens": []}, 409,
     "Too few tokens to transfer, please provider 2 tokens for this transfer"),
    ("dave", "POST /transfers/<requested>/fulfill", {"tokens": ["<dave:1>", "<dave:2>", "<dave:3>"]}, 409,
     "Too many tokens to transfer, please provider 2 tokens for this transfer"),
    ("dave", "POST /transfers/<requested>/fulfill", {"tokens": ["<dave:1>", "<carol:1>"]}, 403,
     "the token:<carol:1> does not belong to the sender wallet"),
    ("dave", "POST /transfers/<requested>/fulfill", {"tokens": ["<dave:1>", "<unknown>"]}, 404,
     "Can not find token by id: <unknown>"),
    ("dave", "POST /transfers/<named>/fulfill", {"tokens": ["<dave:5>"]}, 409, "No need to specify tokens"),
    ("erin", "POST /transfers/<requested>/fulfill", {"implicit": True}, 403,
     "Current account has no permission to fulfill this transfer"),
    ("dave", "POST /transfers/<pending>/fulfill", {"implicit": True}, 409,
     "Operation forbidden, the transfer state is wrong"),
    ("dave", "POST /transfers/<named>/fulfill", {"implicit": "true"}, 200, {"state": "completed"}),
    ("dave", "POST /transfers/<requested>/decline", {}, 200, {"state": "cancelled"}),
    ("erin", "POST /transfers/<pending>/accept", {}, 200, {"state": "completed"}),
    ("dave", "POST /transfers/<requested>/decline", {}, 409, "The transfer state is neither pending nor requested"),
    ("dave", "DELETE /transfers/<pending>", None, 409, "The transfer state is neither pending nor requested"),
]  # fmt: skip


def asked(kind: Any, requestee: Any, requester: Any = None) -> dict[str, Any]:
    more = {} if requester is None else {"requester_wallet": requester}
    return {"trust_request_type": kind, "requestee_wallet": requestee, **more}


NOT_YOURS: Final = "No such trust relationship exists or it is not associated with the current wallet."
NO_TRUST: Final = '"trustRelationshipId" must be a valid GUID'
TRUSTS: Final[list[Row]] = [
    ("alice", "POST /trust_relationships sends", asked("send", "dave"), 201, {
        "id": AN_ID, "actor_wallet": "alice", "originator_wallet": "alice", "target_wallet": "dave", "type": "send",
        "request_type": "send", "state": "requested", "created_at": A_TIME, "updated_at": A_TIME, "active": True,
        "actor_wallet_id": "<alice>", "originator_wallet_id": "<alice>", "target_wallet_id": "<dave>"}),
    ("alice", "POST /trust_relationships", asked("receive", "erin", "bobby"), 201, {
        "actor_wallet": "bobby", "originator_wallet": "alice", "request_type": "receive", "type": "send"}),
    ("alice", "POST /trust_relationships", asked("send", "dave"), 409,
     "The trust relationship has been requested or trusted"),
    ("alice", "POST /trust_relationships", asked("lend", "dave"), 422,
     one_of("trust_request_type", "send", "receive", "manage", "yield", "deduct", "release")),
    ("alice", "POST /trust_relationships", {}, 422, '"trust_request_type" is required;"requestee_wallet" is required'),
    ("alice", "POST /trust_relationships", asked("send", "missing"), 404,
     "Could not find entity by wallet name: missing"),
    ("alice", "POST /trust_relationships", asked("send", "erin", "dave"), 403,
     "Have no permission to deal with this actor"),
    ("alice", "POST /trust_relationships", asked("send", "alice"), 422, "Requester and requestee cannot be same."),
    ("alice", "POST /trust_relationships", asked("send", "erin", "erin"), 403,
     "Have no permission to deal with this actor"),
    ("alice", "POST /trust_relationships", asked("send", "bobby"), 409,
     "The requesting wallet already manages the target wallet"),
    ("bobby", "POST /trust_relationships", asked("send", "alice"), 409,
     "The requesting wallet is managed by the target wallet"),
    ("alice", "POST /wallets", {"wallet": "mia"}, 201, {"wallet": "mia"}),
    ("alice", "POST /trust_relationships", asked("send", "mia", "bobby"), 409,
     "Cannot send trust relationship request to a sub wallet with the same parent"),
    ("alice", "GET /trust_relationships/<sends>", None, 200, {
        "id": "<sends>", "originating_wallet": "alice", "active": True, "target_wallet_id": "<dave>"}),
    ("erin", "GET /trust_relationships/<sends>", None, 403, "Have no permission to get this relationship"),
    ("erin", "GET /trust_relationships/<unknown>", None, 404, "Cannot find trust relationship by id: <unknown>"),
    ("erin", "GET /trust_relationships/x", None, 422, NO_TRUST),
    *(("erin", f"POST /trust_relationships/<sends>/{verb}", {}, 404, NOT_YOURS) for verb in ("accept", "decline")),
    *(("erin", f"POST /trust_relationships/x/{verb}", {}, 422, NO_TRUST) for verb in ("accept", "decline")),
    ("dave", "POST /trust_relationships/<sends>/accept", {}, 200, {"state": "trusted", "originating_wallet": "alice"}),
    ("dave", "POST /trust_relationships/<sends>/decline", {}, 200, {"state": "cancelled_by_target"}),
    ("dave", "POST /trust_relationships/<sends>/accept", {}, 200, {"state": "trusted"}),
    ("erin", "DELETE /trust_relationships/<sends>", None, 403, "Have no permission to cancel this relationship"),
    ("erin", "DELETE /trust_relationships/x", None, 422, NO_TRUST),
    ("alice", "DELETE /trust_relationships/<sends>", None, 200, {"state": "cancelled_by_originator"}),
    ("bobby", "POST /trust_relationships circle", asked("manage", "dave"), 201, {"state": "requested"}),
    ("dave", "POST /trust_relationships turn", asked("manage", "bobby"), 201, {"state": "requested"}),
    ("dave", "POST /trust_relationships/<circle>/accept", {}, 200, {"state": "trusted"}),
    ("bobby", "POST /trust_relationships/<turn>/accept", {}, 403,
     "Operation forbidden, because this would lead to a management circle"),
]  # fmt: skip
CREATE, TRANSFER = "POST /wallets/batch-create-wallet", "POST /wallets/batch-transfer"
NAMES: Final = "wallet_name\n"
BATCHES: Final[list[Row]] = [
    ("alice", CREATE, form(f"{NAMES}ash\nelm\n"), 201, {
        "wallets_created": 2, "wallets_already_exists": [], "wallet_other_failure_count": 0,
        "extra_wallet_information_saved": 0, "extra_wallet_information_not_saved": []}),
    ("alice", CREATE, form(f"{NAMES}ash\noak\n"), 201, {
        "wallets_created": 1, "wallets_already_exists": ['The wallet "ash" already exists']}),
    ("alice", CREATE, form(b"\x89PNG\r\n\x1a\n\0\0", filename="x.png", kind="image/png"), 422,
     "Only CSV files are supported."),
    ("alice", CREATE, form(f"{NAMES}fir\n", token_transfer_amount_default=1), 422,
     '"token_transfer_amount_default" missing required peer "sender_wallet"'),
    ("alice", CREATE, form("wallet_name,token_transfer_amount_overwrite\nfir,1\n"), 422,
     "sender_wallet is required for transfer."),
    ("alice", CREATE, form(f"{NAMES}fir\n", sender_wallet="alice", token_transfer_amount_default=1000), 409,
     "Sender does not have enough tokens."),
    ("alice", CREATE, form(f"{NAMES}fir\nfir\n"), 422, {"message": '"[1]" contains a duplicate value'}),
    ("alice", CREATE, form(f"{NAMES}fir\n", x=1), 422, '"x" is not allowed'),
    ("alice", TRANSFER, form(f"{NAMES}ash\nelm\n", sender_wallet="alice", token_transfer_amount_default=1), 200, {
        "message": "Batch transfer successful"}),
    ("alice", TRANSFER, form(f"{NAMES}ash\n", token_transfer_amount_default=1), 422, '"sender_wallet" is required'),
    ("alice", TRANSFER, form(f"{NAMES}missing\n", sender_wallet="alice", token_transfer_amount_default=1), 404,
     {"code": 404}),
    ("alice", TRANSFER, form(f"{NAMES}ash\n", sender_wallet="alice", token_transfer_amount_default=1000), 409,
     "Sender does not have enough tokens."),
]  # fmt: skip


@pytest.mark.parametrize(
    "rows", [AUTH, WALLETS, TOKENS, TRANSFERS, TRUSTS], ids=["auth", "wallets", "tokens", "transfers", "trusts"]
)
def test_calls(world: World, rows: Sequence[Row]) -> None:
    check(world, rows)


def test_batches(world: World) -> None:
    ApiKey.objects.update(batch_access=False)
    refused: list[Row] = [
        ("alice", CREATE, form(f"{NAMES}ash\n"), 401, "Invalid API access, no permission to access this endpoint"),
        ("alice", TRANSFER, form(f"{NAMES}ash\n"), 401, "Invalid API access, no permission to access this endpoint"),
        ("alice", CREATE, {}, 415, "Invalid content type. Endpoint only supports multipart/form-data"),
    ]
    check(world, refused)
    ApiKey.objects.update(batch_access=True)
    check(world, BATCHES)


def headed(**headers: str | None) -> Callable[[Caller], Any]:
    return lambda caller: caller.send("POST", "/wallet/v2/wallets", {"wallet": "sapling"}, **headers)


def test_credentials_and_bodies(world: World, api_key: str) -> None:
    ended, switched_off = wallets.create_api_key(name="ended")
    wallets.revoke_api_key(api_key_id=ended.pk)
    alice, rows = world.callers["alice"], []
    for headers, status, message in (
        ({"content-type": "text/plain"}, 415, "Invalid content type. API only supports application/json"),
        ({"treetracker-api-key": None}, 401, "Invalid access - no API key"),
        ({"treetracker-api-key": "unknown"}, 401, "Invalid API access"),
        ({"treetracker-api-key": switched_off}, 401, "Invalid API access, apiKey was deprecated"),
        ({"authorization": None}, 401, "ERROR: Authentication, no token supplied for protected path"),
        ({"authorization": "Bearer x"}, 401, "ERROR: Authentication, token not verified"),
        ({"authorization": "x"}, 401, "ERROR: Authentication, token not verified"),
    ):
        response = headed(**headers)(alice)
        if (response.status_code, response.json()) != (status, {"code": status, "message": message}):
            rows.append((headers, response.status_code, response.json()))
    assert rows == []
