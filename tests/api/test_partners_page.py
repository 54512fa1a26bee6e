"""Every command of `docs/partners.md`, run against the running server in the order of the page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lockers import audit as locker_audit
from lockers.models import Coin, LockerTask, PaymentRequest
from lockers.raida.coins import UNITS_PER_COIN
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.chaos.worker import Worker
from tests.support.databases import database_url
from tests.support.local_network import LocalNetwork
from tests.support.partners_page import PAGE, ROOT, blocks
from transfers import audit as transfer_audit
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import Token

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["bash", "-euo", "pipefail", "-c", blocks("sh")], id="curl"),
        pytest.param([sys.executable, "-c", blocks("python")], id="Python"),
    ],
)
def test_every_command_of_the_page_works(address: str, api_key: str, command: Any) -> None:
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
    # The program also sends a transfer with terms, and deletes it.
    kept = Transfer.objects.exclude(state="cancelled")
    assert list(kept.values_list("state", "token_count")) == [("completed", 2)]
    assert Token.objects.filter(wallet=bob).count() == 2
    assert list(transfer_audit.audit_findings()) == []


def test_the_locker_program_of_the_page_goes_from_no_account_to_taken_coins(
    transactional_db: None, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("NO CURL: install curl to run the commands of docs/partners.md")
    with LocalNetwork(tmp_path / "raida", base_port=0) as network:
        hosts = {"COPPICE_RAIDA_HOSTS": ",".join(network.hosts), "COPPICE_STATE_DIR": str(tmp_path)}
        worker = Worker(network, tmp_path / "worker", has_beat=False)
        try:
            with web_server(hosts) as address:
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", blocks("bash")],
                    env=os.environ
                    | hosts
                    | {
                        "DATABASE_URL": database_url(),
                        "DJANGO_SETTINGS_MODULE": "config.settings.test",
                        "COPPICE": f"http://{address}",
                        # Its path may hold a space, which the shell would split at.
                        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                        "MANAGE": f"{Path(sys.executable).name} manage.py",
                        "COINS": str(tmp_path / "coins.bin"),
                        "SHOP_PASSWORD": "correct horse",
                        "CUSTOMER_PASSWORD": "battery staple",
                    },
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
        finally:
            worker.stop()

    assert done.returncode == 0, done.stdout + done.stderr
    held = Coin.objects.filter(state="bank").values_list("wallet__name", "denomination").order_by("denomination")
    # The customer has paid both with coins and with a code.
    assert sorted(held) == [("shop", 0), ("shop", 0), ("shop", 1), ("shop", 1)]
    assert list(PaymentRequest.objects.values_list("state", "paid")) == [("paid", 10 * UNITS_PER_COIN)] * 2
    assert '"name":"customer","balance":20,' in done.stdout
    assert sorted(LockerTask.objects.values_list("kind", "state")) == [
        (kind, "completed") for kind in ("import", "peek", "put", "put", "take", "take", "transfer")
    ]
    assert list(locker_audit.audit_findings()) == []


def test_the_page_leads_on_and_is_led_to() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert "(docs/partners.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (PAGE.parent / "openapi.json").exists()
    assert "](openapi.json)" in page
    assert blocks("sh").count("curl ") == 5
