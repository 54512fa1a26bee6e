"""The client package against docs/openapi.json: every endpoint, every parameter, every field."""

import ast
import inspect
import json
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pytest
from coppice_client import AsyncClient, Client, calls
from coppice_client import types as bodies
from coppice_client.exchange import Call, Exchange, Following, Listing, Waiting
from coppice_client.version import VERSION

from config.dev.embedded import ROOT

DESCRIPTION: Final = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))

# Paths that other programs use for the same, transmit codes in paths, and files of rows.
LEFT_OUT: Final = {
    "GET /api/system/tasks",
    "POST /api/transactions/locker/download",
    "GET /api/transactions/locker/peek",
    "POST /api/transactions/locker/peek",
    "POST /api/transactions/locker/put-one-coin",
    "POST /api/transactions/locker/upload",
    "POST /api/v1/break",
    "GET /api/v1/echo",
    "GET /api/v1/locker/{code}",
    "POST /api/v1/locker/{code}",
    "GET /api/v1/transactions/{name}/{receipt_id}",
    "POST /api/v1/wallets",
    "GET /api/wallets/balance",
    "POST /wallets/batch-create-wallet",
    "POST /wallets/batch-transfer",
}
# Public pages, which need no credentials and are no part of the description.
NOT_DESCRIBED: Final = {"checkpoints"}
# Fields that no answer of a call of this package has: they come with query parameters that it does not send.
OTHER_FIELDS: Final = {"total", "query"}
# A field or parameter, and the argument of a call that it has, where their names differ.
RENAMED: Final = {
    ("action_token", "code"),
    ("dstname", "receiver"),
    ("name", "wallet"),
    ("new_password", "new"),
    ("old_password", "old"),
    ("receiver_wallet", "receiver"),
    ("recipient_email", "email"),
    ("requestee_wallet", "wallet"),
    ("requester_wallet", "requester"),
    ("sender_wallet", "sender"),
    ("srcname", "sender"),
    ("trust_relationship_id", "trust_id"),
    ("wallet", "name"),
}
# What is described so is not in the answers of the paths that this package calls: a type may leave it out.
OF_V2: Final = re.compile(r"[Bb]elow `/wallet/v2`( alone)?\.$")


class Described(NamedTuple):
    name: str
    action: Any
    operation: str
    answer: Any

    @property
    def exchange(self) -> Exchange:
        match self.action:
            case Call():
                return self.action.exchange
            case Waiting():
                return self.action.task.exchange
            case Listing():
                return Exchange("GET", self.action._path, self.action._query or {})
        assert isinstance(self.action, Following)
        return Exchange("GET", "/events", self.action._query or {})

    @property
    def description(self) -> Any:
        method, path = self.operation.split(" ")
        return DESCRIPTION["paths"][path][method.lower()]


def sample(name: str, annotation: Any) -> Any:
    """Return an argument, so that every parameter is sent."""
    options = typing.get_args(annotation)
    if name in {"since", "until", "at", "created_since", "expires_at"}:
        return datetime(2026, 1, 1, tzinfo=UTC)
    if name == "metadata":
        return {"shop": "north"}
    if annotation is bool or bool in options:
        return True
    if name in {"on_progress", "on_trouble"}:
        return None
    if name == "files":
        return [("coins.bin", b"\x00")]
    if name == "amount":
        return Decimal("0.5")
    if name == "tokens" and int in options:
        return 2
    if "Sequence" in str(annotation):
        return ["0acf8c3d-3008-4b55-877b-241d984721d2"]
    if annotation in (int, float) or float in options:
        return 3
    literals = [each for each in options if typing.get_origin(each) is typing.Literal] or [annotation]
    if typing.get_origin(literals[0]) is typing.Literal:
        return typing.get_args(literals[0])[0]
    return f"the-{name}"


def described() -> Iterator[Described]:
    patterns = {
        f"{method.upper()} {path}": re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>the-\\w+)", path))
        for path, methods in DESCRIPTION["paths"].items()
        for method in methods
    }
    for name, function in vars(calls).items():
        if not inspect.isfunction(function) or name in NOT_DESCRIBED:
            continue
        hints = typing.get_type_hints(function)
        answer = hints.pop("return")
        action = function(**{each: sample(each, annotation) for each, annotation in hints.items()})
        one = Described(name, action, "", answer)
        sent = one.exchange
        (operation,) = (
            each
            for each, pattern in patterns.items()
            if each.startswith(f"{sent.method} ") and pattern.fullmatch(sent.path)
        )
        yield one._replace(operation=operation)


ALL: Final = list(described())


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = DESCRIPTION["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def fields(schema: Mapping[str, Any]) -> dict[str, tuple[Mapping[str, Any], bool]]:
    """Return of each field of an object its schema, and whether every object has it."""
    schema = resolved(schema)
    found = {name: (each, name in schema.get("required", ())) for name, each in schema.get("properties", {}).items()}
    for part in schema.get("allOf", ()):
        found |= fields(part)
    options = [
        fields(part)
        for word in ("anyOf", "oneOf")
        for part in schema.get(word, ())
        if not OF_V2.search(resolved(part).get("description", ""))
    ]
    for option in options:
        for name, (each, is_required) in option.items():
            found[name] = (each, is_required and all(name in other for other in options))
    return found


def element(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return resolved(resolved(schema)["items"])


def assert_same(kind: Any, schema: Mapping[str, Any], where: str) -> None:
    """Compare a type with a schema: the names of fields, whether they are always there, and nested ones."""
    if typing.get_origin(kind) is typing.NotRequired:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is list:
        assert_same(typing.get_args(kind)[0], element(schema), f"{where}[]")
        return
    if not typing.is_typeddict(kind):
        assert kind is not dict, where
        return
    known = {name: each for name, each in fields(schema).items() if name not in OTHER_FIELDS}
    if kind in {bodies.CoinWallet, bodies.CoinWalletWithTransactions}:
        # One schema: answers about a single wallet always have transactions, the list never has.
        transactions, _ = known.pop("transactions")
        known |= {"transactions": (transactions, True)} if kind is bodies.CoinWalletWithTransactions else {}
    hints = typing.get_type_hints(kind, include_extras=True)
    known = {
        name: each for name, each in known.items() if name in hints or not OF_V2.search(each[0].get("description", ""))
    }
    assert set(hints) == set(known), where
    optional = {name for name, each in hints.items() if typing.get_origin(each) is typing.NotRequired}
    assert optional == {name for name, (_, is_required) in known.items() if not is_required}, where
    for name, hint in hints.items():
        assert_same(hint, known[name][0], f"{where}.{name}")


def test_every_endpoint_has_a_call_or_is_left_out_knowingly() -> None:
    offered = {
        f"{method.upper()} {path}"
        for path, methods in DESCRIPTION["paths"].items()
        for method in methods
        if method in {"get", "post", "patch", "put", "delete"}
    }

    assert {one.operation for one in ALL} == offered - LEFT_OUT
    assert offered >= LEFT_OUT


@pytest.mark.parametrize("one", ALL, ids=[one.name for one in ALL])
def test_a_call_sends_what_is_described(one: Described) -> None:
    sent = one.exchange
    parameters = {each["name"] for each in one.description.get("parameters", ()) if each["in"] == "query"}
    # Of a parameter of style deepObject, each key is sent.
    assert {each.partition("[")[0] for each in sent.query} <= parameters
    takes_key = any(each["name"] == "Idempotency-Key" for each in one.description.get("parameters", ()))
    assert (sent.key is not None) == takes_key

    content = one.description.get("requestBody", {}).get("content", {})
    if sent.files:
        form = fields(content["multipart/form-data"]["schema"])
        assert set(sent.form or {}) <= set(form)
    elif sent.json is not None:
        names = fields(content["application/json"]["schema"])
        assert set(sent.json) <= set(names)
        assert {name for name, (_, is_required) in names.items() if is_required} <= set(sent.json)
    else:
        assert not content or one.name == "locker_code"


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a body with the name of its field."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from texts(each, name)
    elif isinstance(value, str):
        yield place, value


def test_each_text_is_sent_in_the_field_of_its_name() -> None:
    for one in ALL:
        sent = one.exchange
        path = re.sub(r"\{(\w+)\}", r"(?P<\1>the-\\w+)", one.operation.partition(" ")[2])
        found = re.fullmatch(path, sent.path)
        assert found is not None
        told = [*found.groupdict().items(), *texts(sent.query), *texts(sent.json), *texts(sent.form)]
        arguments = [(place, text.removeprefix("the-")) for place, text in told if text.startswith("the-")]
        if sent.key is not None:
            arguments.append(("idempotency_key", sent.key.removeprefix("the-")))

        wrong = {pair for pair in arguments if pair[0] != pair[1]} - RENAMED
        assert not wrong, one.name
        hints = typing.get_type_hints(getattr(calls, one.name))
        given = {each for each, hint in hints.items() if each != "return" and sample(each, hint) == f"the-{each}"}
        assert {argument for _, argument in arguments} == given, one.name


def test_each_command_that_changes_something_tells_its_key_when_it_is_interrupted() -> None:
    """`Session.changes` remembers it: repeated with another one, the command would do everything a second time."""
    seen = 0
    for path in sorted((ROOT / "clients/python/src/coppice_client/cli").glob("*_commands.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            keys = [
                ast.unparse(each.value)
                for each in ast.walk(function)
                if isinstance(each, ast.keyword) and each.arg == "idempotency_key"
            ]
            made = {ast.unparse(each) for each in ast.walk(function) if isinstance(each, ast.Assign)}
            remembered = {"session.changes(idempotency_key)"}
            if "key = session.changes(idempotency_key)" in made:
                remembered.add("key")
            assert set(keys) <= remembered, f"{path.name} {function.name}"
            seen += len(keys)
    assert seen > 10


def test_all_coins_are_exported_only_without_an_amount() -> None:
    for amount, sent in (
        (None, {"all": True}),
        (0, {"amount": 0}),
        (Decimal(0), {"amount": "0"}),
        ("", {"amount": ""}),
    ):
        assert calls.export_coins(amount).exchange.json == {"name": calls.OWN, "type": "bin"} | sent


@pytest.mark.parametrize("one", ALL, ids=[one.name for one in ALL])
def test_an_answer_has_the_fields_of_its_type(one: Described) -> None:
    success = next(each for status, each in one.description["responses"].items() if status.startswith("2"))
    if "application/json" not in success.get("content", {}):
        assert one.answer == Call[bytes]
        return
    schema = success["content"]["application/json"]["schema"]
    match one.action:
        case Listing():
            (kind,) = typing.get_args(one.answer)
            assert_same(kind, element(fields(schema)[one.action._name][0]), kind.__name__)
        case Following():
            assert_same(bodies.Event, element(fields(schema)["events"][0]), "Event")
        case Waiting():
            assert_same(bodies.Task, schema, "Task")
        case Call() if one.answer == Call[bodies.StartedTask]:
            # Each call has some of the optional fields.
            assert set(fields(schema)) <= set(typing.get_type_hints(bodies.StartedTask))
        case _:
            (kind,) = typing.get_args(one.answer)
            if kind is not str:
                wrapped = fields(schema)["wallets"][0] if one.name == "coin_wallets" else schema
                assert_same(kind, wrapped, one.name)


def test_both_clients_have_the_same_methods() -> None:
    names = {one.name for one in ALL}
    for kind in (Client, AsyncClient):
        public = {name for name in dir(kind) if not name.startswith("_")}
        assert public - {"run", "iterate", "close"} == names | NOT_DESCRIBED

    with Client("https://trees.example.org") as client:
        for name in names - {"login"}:
            assert (
                inspect.signature(getattr(client, name)).parameters
                == inspect.signature(getattr(calls, name)).parameters
            )


def test_the_version_is_that_of_the_package() -> None:
    package = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text(encoding="utf-8"))

    assert package["project"]["version"] == VERSION
