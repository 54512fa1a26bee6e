"""Each public definition of the codec, and of the local network, is used by the product and not only by tests."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = [
    path for app in ("config", "lockers", "transfers", "trusts", "wallets") for path in (ROOT / app).rglob("*.py")
]
CHECKED = [
    *sorted((ROOT / "lockers" / "raida").glob("*.py")),
    *sorted((ROOT / "lockers" / "localnet").glob("*.py")),
    ROOT / "lockers" / "transport.py",
    ROOT / "lockers" / "server_request.py",
    ROOT / "lockers" / "server_letters.py",
]
# The network in a separate thread, for tests.
FOR_TESTS = {"LocalNetwork"}
RE_EXPORTS = {"__all__"}


def definitions(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        for target in node.targets if isinstance(node, ast.Assign) else ():
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def uses(tree: ast.Module) -> set[str]:
    """The names that a module reads, as a name or as an attribute; an import alone is no use."""
    found: set[str] = set()
    attributes: set[str] = set()
    imported: list[ast.alias] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                found.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            imported += node.names
        elif isinstance(node, ast.Attribute):
            attributes.add(node.attr)
    return found | attributes | {alias.name for alias in imported if alias.asname in found}


# Not when the module is imported: each process of a run imports it, and one runs it.
@functools.cache
def used() -> set[str]:
    """The names that the product reads."""
    return set().union(*(uses(ast.parse(path.read_text())) for path in PRODUCT))


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_definition_is_used_by_the_product(path: Path) -> None:
    assert set(definitions(ast.parse(path.read_text()))) - used() - FOR_TESTS - RE_EXPORTS == set()


def test_an_unused_definition_is_found() -> None:
    tree = ast.parse("def unused(): ...\ndef used(): ...\nONE, TWO = 1, 2\nused(ONE)")

    assert set(definitions(tree)) - uses(tree) == {"unused", "TWO"}
