"""What several test modules use is in tests/support: no module imports a test module. The longest files are there."""

import ast
from pathlib import Path

from config.dev.embedded import ROOT
from tests.conftest import LONGEST


def imported(path: Path) -> set[str]:
    """Return the modules that a module imports, and the names that it imports from them, dotted."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
        for package in ("config", "lockers", "tests", "transfers", "trusts", "wallets")
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
