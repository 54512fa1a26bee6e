"""
What several test modules use is in tests/support: no module imports a test module. The longest files are there.

No module of the product or the client is longer than 500 lines.
"""

import ast
import re
from pathlib import Path
from typing import Final

from config.dev.embedded import ROOT
from tests.conftest import LONGEST

# Beside the definitions of tests: reading the text takes a hundredth of the time of parsing it.
_NAMES_A_TEST_MODULE: Final = re.compile(r"^(?!\s*(?:async )?def ).*\btest_\w", re.MULTILINE)


def imported(path: Path) -> set[str]:
    """Return the modules that a module imports, and the names that it imports from them, dotted, if tests are named."""
    text = path.read_text(encoding="utf-8")
    if not _NAMES_A_TEST_MODULE.search(text):
        return set()
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base} | {f"{base}.{each.name}" for each in node.names}
    return found


def test_no_module_imports_a_test_module() -> None:
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    modules = [
        path
        for package in ("config", "lockers", "tests", "transfers", "trusts", "wallets", "webhooks")
        for path in (ROOT / package).rglob("*.py")
    ]
    assert {"test_put", "test_supervisor"} <= tests

    importing = {
        (str(path.relative_to(ROOT)), name)
        for path in modules
        for name in imported(path)
        if name.startswith((".", "tests.")) and tests & set(name.split("."))
    }

    assert importing == set()


def test_the_files_that_begin_first_exist() -> None:
    assert [file for file in LONGEST if not (ROOT / "tests" / file).is_file()] == []


def test_a_test_names_each_row_in_which_the_surface_differs_from_the_public_service() -> None:
    """`test_row_13_…` and `test_row_4_and_5_…` check rows of the Treetracker contract."""
    names = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"^def test_row_(\d+)_(?:and_(\d+)_)?", names, re.MULTILINE)

    assert {int(row) for rows in named for row in rows if row} == set(range(1, 36))


def test_no_module_has_more_than_500_lines() -> None:
    modules = [
        path
        for package in ("clients/python/src", "config", "lockers", "transfers", "trusts", "wallets", "webhooks")
        for path in (ROOT / package).rglob("*.py")
        if path.parent.name != "migrations"
    ]
    assert len(modules) > 200

    lines = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in modules}
    assert {name: number for name, number in lines.items() if number > 500} == {}
