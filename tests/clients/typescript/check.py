"""
A TypeScript client of the types that openapi-typescript generates from docs/openapi.json, and its calls.

Needs Node.js and the packages of package-lock.json, so `make test` does not collect it. `.ci/run` does:

    npm ci --prefix tests/clients/typescript
    .venv/bin/python -m pytest tests/clients/typescript/check.py
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from config.dev.embedded import ROOT
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.clients.environment import LOCKERS_ON
from transfers import operations as transfers
from wallets import operations as wallets

pytestmark = pytest.mark.django_db(transaction=True)
HERE: Final = Path(__file__).parent
PACKAGES: Final = HERE / "node_modules"


def run(*command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_generated_types_compile_and_a_client_of_them_does_what_it_says(tmp_path: Path) -> None:
    api_key = wallets.create_api_key(name="partner")[1]
    alice = wallets.create_wallet(name="alice", password=PASSWORD)
    wallets.create_wallet(name="bobby", password=PASSWORD)
    transfers.issue_tokens(wallet=alice, count=3)
    for name in ("package.json", "tsconfig.json", "calls.ts"):
        shutil.copy(HERE / name, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    tools = PACKAGES / ".bin"

    said = run(
        str(tools / "openapi-typescript"), str(ROOT / "docs" / "openapi.json"), "--output", "api.ts", folder=tmp_path
    )
    assert "warn" not in said.lower()
    types = (tmp_path / "api.ts").read_text(encoding="utf-8")
    assert 'post: operations["transfers.create"];' in types
    run(str(tools / "tsc"), folder=tmp_path)
    with web_server(LOCKERS_ON) as address:
        written = run("node", "built/calls.js", folder=tmp_path, COPPICE=f"http://{address}", API_KEY=api_key,
                      PASSWORD=PASSWORD)  # fmt: skip

    found: dict[str, Any] = json.loads(written)
    assert found == {
        "wallets": [["alice", 3]],
        "sent": ["pending", None],
        "replayed": "true",
        "accepted": ["completed", 2],
        "tokens": 2,
        "transfers": [True],
        "refused": [403, "Do not have enough tokens to send"],
        "trust": ["requested", "bobby"],
        "event": "trust_request",
        "coins": [["bobby", 0]],
        "task": ["echo", "running", None],
    }
