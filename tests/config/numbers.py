"""
The numbers of the code: limits, times, sizes and defaults, each with the name under which the code has it.

`numbers.txt` in the directory `data` lists them; a test compares. After a number was changed on purpose:

    python -m tests.config.numbers
"""

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

from config.dev.embedded import ROOT
from config.environment import Environment

LIST: Final = Path(__file__).parent / "data" / "numbers.txt"
PACKAGES: Final = ("config", "lockers", "transfers", "trusts", "wallets", "webhooks")
# Examples of documents, what only a developer runs, and what is no rule of the product.
LEFT_OUT: Final = re.compile(
    r"/(migrations|localnet|dev|commands|templates|templatetags)/|example|settings|config/web/|charts|access_log"
)
# Keys of advisory locks, and what is computed from a table of Unicode.
_NO_RULES: Final = {
    "_ACTING", "_AUDITING", "_BEGINNINGS", "_CONFIRMING", "_COUNTING", "_IGNORABLE", "_KIND", "_LOCK"
}  # fmt: skip
_SQL: Final = re.compile(r"interval '[^'{]+'|\bLIMIT \d+|(?:<=|>=|<|>) (?!0\b)\d+")


def files(ending: str) -> list[Path]:
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob(f"*.{ending}"))
    return sorted(path for path in paths if not LEFT_OUT.search(path.relative_to(ROOT).as_posix()))


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or is made of numbers and names for them alone."""
    if isinstance(value, Mapping):
        return bool(value) and all(is_number(each) for each in value.values())
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return bool(value) and all(is_number(each) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return is_number(dataclasses.asdict(value))
    return isinstance(value, int | float | timedelta) and not isinstance(value, bool | Enum)


def shown(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, Mapping):
        return ", ".join(f"{getattr(key, 'name', key)}: {shown(each)}" for key, each in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return shown(dataclasses.asdict(value))
    return repr(value)


def _of_module(path: Path) -> Iterator[str]:
    place = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    targets = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper()
    ]
    module: Any = None
    for name in targets:
        module = module or importlib.import_module(place.removesuffix(".py").replace("/", "."))
        value = getattr(module, name)
        if is_number(value) and name not in _NO_RULES:
            yield f"{place} {name} = {shown(value)}"
    yield from _inside_functions(place, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "interval" in node.value:
            yield from (f"{place} {found}" for found in _SQL.findall(node.value))


def _inside_functions(place: str, tree: ast.Module) -> Iterator[str]:
    """Defaults of parameters, and the times and parts of lists that a function names."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs = [
            *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in pairs:
            if default is None or argument.arg == "status":
                continue
            if any(_is_literal(each) for each in ast.walk(default)):
                yield f"{place} {function.name}({argument.arg}={ast.unparse(default)})"
        for node in ast.walk(function):
            is_time = isinstance(node, ast.Call) and ast.unparse(node.func) == "timedelta"
            is_part = isinstance(node, ast.Slice) and node.upper is not None and _is_literal(node.upper)
            is_compared = isinstance(node, ast.Compare) and any(_is_literal(each) for each in node.comparators)
            if (is_time and any(_is_literal(each) for each in ast.walk(node))) or is_part or is_compared:
                text = ast.unparse(node)
                # Whether a status is a success is no rule of ours.
                if "status" not in text:
                    yield f"{place} {function.name}: {text}"


def _is_literal(node: ast.AST) -> bool:
    """Return whether a node is a number other than 0 and 1."""
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value not in (0, 1)


def _of_sql(path: Path) -> Iterator[str]:
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    yield from (f"{path.relative_to(ROOT).as_posix()} {found}" for found in _SQL.findall(text))


def _of_environment() -> Iterator[str]:
    for name, field in Environment.model_fields.items():
        if not inspect.isclass(field.default) and is_number(field.default):
            limits = "".join(f", {each!r}" for each in field.metadata)
            yield f"config/environment.py {name} = {shown(field.default)}{limits}"


def _of_settings() -> Iterator[str]:
    for place in ("config/settings/base.py", "config/celery_settings.py"):
        for node in ast.parse((ROOT / place).read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            if isinstance(node.value, ast.Dict):
                parts = [(f"{name}[{ast.unparse(key)}]", value) for key, value in _items(node.value)]
            else:
                parts = [(name, node.value)]
            for part, value in parts:
                if part != "SPECTACULAR_SETTINGS" and any(_is_literal(each) for each in ast.walk(value)):
                    yield f"{place} {part} = {ast.unparse(value)}"


def _items(node: ast.Dict) -> Iterator[tuple[ast.expr, ast.expr]]:
    return ((key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None)


def numbers() -> list[str]:
    of_modules = (line for path in files("py") for line in _of_module(path))
    return sorted(
        {*of_modules, *(line for path in files("sql") for line in _of_sql(path)), *_of_environment(), *_of_settings()}
    )


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    django.setup()
    LIST.write_text("\n".join(numbers()) + "\n", encoding="utf-8")
