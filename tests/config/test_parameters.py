"""No function of the product takes more than eight parameters: more of them are a class with a name."""

import ast

from config.dev.embedded import ROOT

MOST = 8
PACKAGES = ("config", "lockers", "transfers", "trusts", "wallets", "webhooks")


def test_no_function_has_more_than_eight_parameters() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 100
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                count = len([name for name in names if name not in {"self", "cls"}])
                if count > MOST:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} takes {count}")

    assert found == []
