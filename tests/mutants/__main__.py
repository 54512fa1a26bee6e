"""
Change the modules that decide without a row or a socket, one line at a time, and ask their direct tests.

    make mutants                        all of them
    make mutants ARGS="lockers/coin_outcomes.py"

What is changed, and how many changes were noticed, is written into `tests/MUTANTS.md` beside this directory. A change
that no test noticed has its reason there; the command fails on one without a reason, and where fewer than 90 % of a
module's changes were noticed. Works on a copy of the checkout; the tests need no server.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "tests" / "MUTANTS.md"
LEAST_PERCENT = 90

MODULES = {
    "lockers/coin_outcomes.py": ["tests/lockers/test_grading.py"],
    "lockers/coin_selection.py": ["tests/lockers/test_choosing.py", "tests/lockers/test_making_change.py"],
    "lockers/states.py": ["tests/lockers/test_tables.py"],
    "lockers/server_letters.py": ["tests/lockers/test_tables.py"],
    "lockers/task_results.py": ["tests/lockers/test_verdicts.py"],
    "lockers/worker/messages.py": [
        "tests/lockers/test_asking_in_halves.py",
        "tests/lockers/test_conversation.py",
        "tests/lockers/test_making_change.py",
        "tests/lockers/test_tables.py",
        "tests/raida/test_put_to_each.py",
    ],
    "lockers/raida/coins.py": ["tests/raida/test_coins.py"],
    "lockers/raida/codes.py": ["tests/raida/test_codes.py"],
    "lockers/raida/grades.py": ["tests/raida/test_grades.py"],
    "transfers/states.py": ["tests/transfers/test_states.py"],
    "trusts/states.py": ["tests/trusts/test_states.py"],
    "wallets/names.py": ["tests/wallets/test_name_rules.py"],
}
# These ask the database, and are tested with it.
WITH_ROWS = {"lockers.task_results.servers_that_answered"}

_CONFIGURATION = """
[tool.mutmut]
source_paths = ["config", "lockers", "transfers", "trusts", "wallets"]
only_mutate = {modules}
pytest_add_cli_args_test_selection = {tests}
# The tests of pure modules need none of the fixtures, and no server is started for them.
pytest_add_cli_args = ["--noconftest", "-p", "no:cacheprovider"]
also_copy = ["manage.py"]
use_git_change_detection = false
"""
_ENTRY = re.compile(r"- `(?P<function>[^`]+)`: `(?P<old>[^`]*)` → `(?P<new>[^`]*)`: (?P<reason>.+)")
_NAME = re.compile(r"(?P<module>.+)\.x(?P<function>_\w+|ǁ\w+ǁ\w+)__mutmut_\d+")
# Exit codes by which mutmut tells that tests passed, and that none ran.
_SURVIVED, _NO_TESTS = 0, 33
UNEXPLAINED = "**no reason yet**"

Survivor = tuple[str, str, str]


def main(chosen: list[str]) -> int:
    modules = {module: tests for module, tests in MODULES.items() if not chosen or module in chosen}
    with tempfile.TemporaryDirectory(prefix="coppice-mutants-") as directory:
        copy = Path(directory)
        _copy_to(copy, modules)
        subprocess.run([sys.executable, "-m", "mutmut", "run"], cwd=copy, check=True)
        found = {module: _read(copy, module) for module in modules}
    return _report(found)


def _copy_to(copy: Path, modules: dict[str, list[str]]) -> None:
    for name in ("config", "lockers", "tests", "transfers", "trusts", "wallets"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", copy)
    tests = sorted({test for each in modules.values() for test in each})
    configuration = (ROOT / "pyproject.toml").read_text() + _CONFIGURATION.format(
        modules=json.dumps(list(modules)), tests=json.dumps(tests)
    )
    (copy / "pyproject.toml").write_text(configuration)


def _read(copy: Path, module: str) -> tuple[int, int, list[Survivor]]:
    """Return how many changes were made to a module, how many were noticed, and the others."""
    codes = json.loads((copy / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    counted = {name: code for name, code in codes.items() if _function(name) not in WITH_ROWS}
    missed = [name for name, code in counted.items() if code in (None, _SURVIVED, _NO_TESTS)]
    return len(counted), len(counted) - len(missed), [_survivor(copy, name) for name in missed]


def _function(name: str) -> str:
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return f"{match['module']}.{match['function'].removeprefix('_').strip('ǁ').replace('ǁ', '.')}"


def _survivor(copy: Path, name: str) -> Survivor:
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=copy, check=True, capture_output=True, text=True
    ).stdout
    changed: dict[str, list[str]] = defaultdict(list)
    for line in shown.splitlines():
        if line[:1] in "+-" and line[:3] not in ("+++", "---"):
            changed[line[:1]].append(" ".join(line[1:].split()))
    return _function(name), " ".join(changed["-"]), " ".join(changed["+"])


def _report(found: dict[str, tuple[int, int, list[Survivor]]]) -> int:
    sections, failures = _sections(), []
    for module, (made, noticed, survivors) in found.items():
        reasons = {
            (entry["function"], entry["old"], entry["new"]): entry["reason"] for entry in sections.get(module, [])
        }
        percent = 100 * noticed // made
        print(f"{module}: {noticed} of {made} noticed, {percent} %")
        if percent < LEAST_PERCENT:
            failures.append(f"{module}: only {percent} % are noticed")
        lines = [f"## {module}: {noticed} of {made} noticed", ""]
        for function, old, new in survivors:
            reason = reasons.get((function, old, new), UNEXPLAINED)
            lines.append(f"- `{function}`: `{old}` → `{new}`: {reason}")
            if reason == UNEXPLAINED:
                failures.append(f"{module}: nothing noticed {function}: {old} → {new}")
        sections[module] = [match for line in lines[2:] if (match := _ENTRY.fullmatch(line))]
        _texts[module] = "\n".join(lines).rstrip()
    head = REPORT.read_text().partition("\n## ")[0].rstrip() if REPORT.exists() else "# Changes that no test notices"
    kept = [_texts[module] for module in MODULES if module in _texts]
    REPORT.write_text("\n\n".join([head, *kept]) + "\n")
    print("\n".join(failures) or "Each change that no test notices has its reason in tests/MUTANTS.md.")
    return 1 if failures else 0


# The report as it stands, by module.
_texts: dict[str, str] = {}


def _sections() -> dict[str, list[re.Match[str]]]:
    if not REPORT.exists():
        return {}
    sections: dict[str, list[re.Match[str]]] = {}
    for text in REPORT.read_text().split("\n## ")[1:]:
        module = text.partition(":")[0]
        _texts[module] = f"## {text.rstrip()}"
        sections[module] = [match for line in text.splitlines() if (match := _ENTRY.fullmatch(line))]
    return sections


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
