"""
What each trust gives to whom, on every path: kind, state, direction, actor and path, all combined.

The paths are in `powers`. Two tests check that none is missing: one by the URL configuration, one by the code.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection
from django.urls import get_resolver

from tests.api.endpoints import endpoints
from tests.trusts import powers
from tests.trusts.powers import ACTORS, PATHS, SIDES, Asked, Model, World, undone
from trusts import operations
from trusts.models import Trust
from trusts.states import TrustRequestType, TrustState
from wallets import operations as wallets
from wallets.sql_files import load

STATES: Final = ("no trust", *TrustState.values, "ended by an operator")


@pytest.fixture
def api_key(db: None) -> str:
    return wallets.create_api_key(name="partner")[1]


def bring_about(world: World, kind: str, state: str) -> set[tuple[str, str, str]]:
    """Have alice, or mona in her name, request a trust from bobby and bring it into the state; return what it gives."""
    alice, bobby = world.wallet("alice"), world.wallet("bobby")
    # Who asked for a trust has no power by it.
    originator = world.wallet("mona" if kind in {"receive", "yield"} else "alice")
    world.tried = None
    if state == "no trust":
        return set()
    trust_id = operations.request_trust(
        actor=originator, request_type=TrustRequestType(kind), requestee="bobby", requester="alice"
    ).id
    world.tried = trust_id
    if state != "requested":
        operations.accept_trust(actor=bobby, trust_id=trust_id)
    match state:
        case "cancelled_by_originator":
            operations.delete_trust(actor=alice, trust_id=trust_id)
        case "cancelled_by_target":
            operations.decline_trust(actor=bobby, trust_id=trust_id)
        case "ended by an operator":
            operations.end_trust(trust_id=trust_id)
        case _:
            assert Trust.objects.get(pk=trust_id).state == state
    return {(kind, "alice", "bobby")} if state == "trusted" else set()


def questions(state: str) -> Iterator[tuple[str, str, str, powers.Path]]:
    """
    Give who asks for which path with which wallet and other wallet.

    Where there is no trust all is asked. What cannot depend on the trust is not asked again for each kind and state:
    in force, it is seen whether more comes of it than it says; out of force, whether anything does.
    """
    for who in ACTORS:
        for wallet, other in (SIDES, SIDES[::-1]):
            for path in PATHS:
                is_stranger = who not in SIDES
                if path.once or (who in {"fred", "steve"} and not path.is_between):
                    is_asked = wallet == SIDES[0] and (state == "no trust" or not is_stranger)
                elif state == "no trust" or path.is_between:
                    is_asked = state in {"no trust", "trusted"} or not is_stranger
                elif state == "trusted":
                    # A manager has power over the one side and must not get it over the other.
                    is_asked = who in {"alice", "bobby", {"alice": "yves", "bobby": "mona"}[wallet]}
                else:
                    is_asked = who == other
                if is_asked:
                    yield who, wallet, other, path


def mistakes(world: World, model: Model, state: str) -> Iterator[str]:
    for who, wallet, other, path in questions(state):
        asked = Asked(world, who, wallet, other)
        found, expected = path.answer(asked), path.expected(model, asked)
        if found != expected:
            yield f"{state}: {who}, {path.name}, {wallet}: {found}, not {expected}"


@pytest.mark.parametrize("kind", TrustRequestType.values)
def test_a_trust_gives_what_its_kind_says_while_it_is_in_force_and_nothing_else(api_key: str, kind: Any) -> None:
    world, model = powers.build(api_key)
    found: list[str] = []

    for state in STATES if kind == "send" else STATES[1:]:
        with undone():
            given = bring_about(world, kind, state)
            found += mistakes(world, Model(model.in_force | given), state)

    assert found == []


# That no path is left out.

# Endpoints that give no power over the wallet of another.
OF_ONESELF: Final = {
    "POST /auth": "asks for the password",
    "POST /auth/password": "of the caller alone",
    "GET /auth/sessions": "of the caller alone",
    "DELETE /auth/sessions/{session_id}": "of the caller alone",
    "DELETE /auth/token": "of the caller alone",
    "GET /wallets/{wallet_id}/export": "of the caller alone",
    "GET /keys": "of the caller alone",
    "GET /keys/{key_id}": "of the caller alone",
    "PATCH /keys/{key_id}": "of the caller alone",
    "DELETE /keys/{key_id}": "of the caller alone",
    "POST /wallets": "creates a wallet",
    "POST /action-tokens/describe": "asks for the code",
    "POST /api/v1/wallets": "creates a wallet",
    "POST /api/v1/locker/peek": "asks for the code",
    "GET /api/v1/locker/{code}": "asks for the code",
    "GET /api/transactions/locker/peek": "asks for the code",
    "POST /api/transactions/locker/peek": "asks for the code",
    "GET /api/v1/echo": "asks the servers",
    "GET /api/v1/payment-requests/{payment_request_id}/payments/{payment_id}": "asks for an id that cannot be guessed",
}


def test_every_endpoint_is_a_path_of_the_matrix_or_asks_for_no_power() -> None:
    covered = {endpoint for path in PATHS for endpoint in path.endpoints}

    assert {f"{method} {path}" for method, path, _ in endpoints(get_resolver())} == covered | set(OF_ONESELF)
    assert not covered & set(OF_ONESELF)


ROOT: Final = Path(__file__).parents[2]
# Apps whose code acts for wallets. What operators see and do goes by their own rights.
APPS: Final = ("wallets", "trusts", "transfers", "lockers", "webhooks", "config")
OF_OPERATORS: Final = ("config/admin/", "/migrations/", "/management/", "/admin.py", "/token_reports.py")
# It rewrites the statements of others: see tests/api/test_key_matrix.py.
NARROWING: Final = ("trusts/restricted_sql.py",)

Place = tuple[str, str]


def definitions() -> dict[Place, ast.AST]:
    """What the product's modules define, by path and name; of a class its methods."""
    found: dict[Place, ast.AST] = {}
    for path in sorted(file for app in APPS for file in (ROOT / app).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if any(part in f"/{name}" for part in OF_OPERATORS + NARROWING):
            continue
        for node in ast.parse(path.read_text()).body:
            match node:
                case ast.FunctionDef():
                    found[name, node.name] = node
                case ast.ClassDef():
                    methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                    found |= {(name, f"{node.name}.{method.name}"): method for method in methods}
                case ast.Assign() | ast.AnnAssign() if node.value is not None:
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    for target in targets:
                        for each in ast.walk(target):
                            if isinstance(each, ast.Name):
                                found[name, each.id] = node.value
    return found


def mentions(node: ast.AST) -> set[str]:
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def texts(node: ast.AST) -> str:
    """Return the texts in the code, those of the SQL files that it loads included."""
    found = []
    for each in ast.walk(node):
        match each:
            case ast.Constant(value=str(text)):
                found.append(text)
            case ast.Call(func=ast.Name(id="load"), args=[ast.Constant(value=str(app)), ast.Constant(value=str(name))]):
                found.append(load(app, name))
    return " ".join(found)


def reads_trusts(node: ast.AST) -> bool:
    """Whether it holds SQL that asks for powers in force."""
    return "trusts_power" in texts(node)


def places_that_read_trusts() -> tuple[list[Place], dict[Place, set[Place]]]:
    """
    Return the places of the code that ask who has a power, and of each place by which others it is mentioned.

    These are the SQL itself, what is built on it in the modules of trusts that read, and whatever mentions one of these
    elsewhere.
    """
    defined = definitions()
    named = {place: mentions(node) for place, node in defined.items()}
    queries = ("trusts/queries.py", "trusts/controlled_wallets.py", "trusts/trust_lists.py")
    readers = {place[1] for place, node in defined.items() if place[0] in queries and reads_trusts(node)}
    while more := {place[1] for place in defined if place[0] in queries and named[place] & readers} - readers:
        readers |= more
    public = {name for name in readers if not name.startswith("_")} - {"audit_findings"}
    places = [
        place
        for place, node in defined.items()
        if (place[1] in readers if place[0] in queries else named[place] & public or reads_trusts(node))
    ]
    users: dict[Place, set[Place]] = {}
    todo = list(places)
    while todo:
        file, name = place = todo.pop()
        users[place] = {
            other
            for other in defined
            if other != place and name in named[other] and (other[0] == file or (file in queries and name in public))
        }
        todo += users[place] - set(users) - set(todo)
    return places, users


def run_code(ask: Callable[[], Any]) -> set[Place]:
    """Return the functions of the product that were on the stack when a statement was sent."""
    found: set[Place] = set()

    def note(execute: Callable[..., Any], *arguments: Any) -> Any:
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(str(ROOT)):
                name = Path(code.co_filename).relative_to(ROOT).as_posix()
                found.add((name, code.co_qualname.partition(".<locals>")[0]))
            frame = frame.f_back
        return execute(*arguments)

    with connection.execute_wrapper(note):
        ask()
    return found


def test_every_place_of_the_code_that_reads_trusts_is_reached_by_a_path(api_key: str) -> None:
    world, _ = powers.build(api_key)
    bring_about(world, "send", "trusted")
    places, users = places_that_read_trusts()

    def ask_all() -> None:
        for path in PATHS:
            assert path.answer(Asked(world, "mona", "alice", "bobby")) != "refused", path.name

    run = run_code(ask_all)

    def is_reached(place: Place, seen: frozenset[Place] = frozenset()) -> bool:
        # What is never on the stack, as a constant, counts when all that mention it do.
        mentioned = users[place] - seen
        return place in run or (bool(mentioned) and all(is_reached(user, seen | {place}) for user in mentioned))

    assert len(places) > 40
    assert [" ".join(place) for place in places if not is_reached(place)] == []
