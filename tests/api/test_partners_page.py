"""Every command of `docs/partners.md`, run against the running server in the order of the page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.caller import PASSWORD
from transfers import operations as transfers
from transfers import queries as transfer_queries
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import Token

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "partners.md"

pytestmark = pytest.mark.django_db(transaction=True)


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["bash", "-euo", "pipefail", "-c", blocks("sh")], id="curl"),
        pytest.param([sys.executable, "-c", blocks("python")], id="Python"),
    ],
)
def test_every_command_of_the_page_works(address, api_key, command):
    if command[0] == "bash" and shutil.which("curl") is None:
        pytest.skip("NO CURL: install curl to run the commands of docs/partners.md")
    alice = wallets.create_wallet(name="alice", password=PASSWORD)
    bob = wallets.create_wallet(name="bob", password=PASSWORD)
    transfers.issue_tokens(wallet=alice, count=100)

    done = subprocess.run(
        command,
        env=os.environ
        | {
            "COPPICE": f"http://{address}",
            "API_KEY": api_key,
            "ALICE_PASSWORD": PASSWORD,
            "BOB_PASSWORD": PASSWORD,
        },
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(Transfer.objects.values_list("state", "token_count")) == [("completed", 2)]
    assert Token.objects.filter(wallet=bob).count() == 2
    assert list(transfer_queries.audit_findings()) == []


def test_the_page_leads_on_and_is_led_to():
    page = PAGE.read_text(encoding="utf-8")

    assert "(docs/partners.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (PAGE.parent / "openapi.json").exists()
    assert "](openapi.json)" in page
    assert blocks("sh").count("curl ") == 5
