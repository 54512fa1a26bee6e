"""A Python client that openapi-python-client generates from docs/openapi.json, and its calls to the running server."""

import compileall
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from config.dev.embedded import ROOT
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.clients.environment import LOCKERS_ON
from tests.support.api_description import api_description
from transfers import operations as transfers
from wallets import operations as wallets

pytestmark = pytest.mark.django_db(transaction=True)
NAME: Final = "coppice_generated_client"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("generated")
    # As docs/partners.md says.
    configuration = folder / "generator.yml"
    configuration.write_text("content_type_overrides:\n  application/x-ndjson: application/octet-stream\n")
    generated = subprocess.run(
        [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", str(ROOT / "docs" / "openapi.json"),
            "--output-path", str(folder / NAME), "--meta", "none", "--fail-on-warning",
            "--config", str(configuration),
        ],
        # It formats what it writes with the Ruff that it finds.
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (generated.returncode, "warning" in generated.stdout.lower()) == (0, False), generated.stdout
    sys.path.insert(0, str(folder))
    yield folder / NAME
    sys.path.remove(str(folder))
    for name in [each for each in sys.modules if each.partition(".")[0] == NAME]:
        del sys.modules[name]


def test_every_operation_becomes_a_function_and_every_schema_a_class_that_compile(package: Path) -> None:
    described = api_description()
    ids = {op["operationId"] for methods in described["paths"].values() for op in methods.values()}
    functions = {path.stem for path in package.glob("api/*/*.py")} - {"__init__"}
    models = {path.stem for path in package.glob("models/*.py")}

    assert functions == {each.replace(".", "_") for each in ids}
    assert {"transfer", "wallet", "token", "trust", "locker_task", "receipt", "transfer_page"} <= models
    assert len(models) < 240
    assert compileall.compile_dir(package, quiet=1, workers=1)


def test_the_functions_of_the_generated_client_do_what_they_say(package: Path) -> None:
    api_key = wallets.create_api_key(name="partner")[1]
    alice = wallets.create_wallet(name="alice", password=PASSWORD)
    bobby = wallets.create_wallet(name="bobby", password=PASSWORD)
    transfers.issue_tokens(wallet=alice, count=3)

    def call(operation: str, tag: str, client: Any, *path: Any, **asked: Any) -> Any:
        function = importlib.import_module(f"{NAME}.api.{tag}.{operation.replace('.', '_')}")
        return function.sync_detailed(*path, client=client, **asked)

    client_module, models = importlib.import_module(f"{NAME}.client"), importlib.import_module(f"{NAME}.models")
    with web_server(LOCKERS_ON) as address, ExitStack() as opened:

        def client(token: str) -> Any:
            made = client_module.AuthenticatedClient(
                base_url=f"http://{address}", token=token, headers={"TREETRACKER-API-KEY": api_key}
            )
            opened.callback(made.get_httpx_client().close)
            return made

        def login(wallet: str) -> Any:
            asked = models.Credentials(wallet=wallet, password=PASSWORD)
            return client(call("auth.login", "authentication", client("none yet"), body=asked).parsed.token)

        sender, receiver = login("alice"), login("bobby")
        listed = call("wallets.list", "wallets", sender, limit=10).parsed
        bundle = models.NewBundleTransfer(
            bundle=models.BundleSize(bundle_size=2), sender_wallet="alice", receiver_wallet="bobby"
        )
        sent = call("transfers.create", "transfers", sender, body=bundle, idempotency_key="order-1")
        again = call("transfers.create", "transfers", sender, body=bundle, idempotency_key="order-1")
        accepted = call("transfers.accept", "transfers", receiver, sent.parsed.id, body=models.Nothing()).parsed
        page = call("transfers.list", "transfers", sender, limit=10, state=models.TransferState.COMPLETED).parsed
        tokens = call("transfers.tokens", "transfers", sender, sent.parsed.id, limit=10).parsed
        refused = call("transfers.create", "transfers", sender, body=bundle)
        asked = models.NewTrust(trust_request_type=models.NewTrustTrustRequestType.SEND, requestee_wallet="bobby")
        trust = call("trusts.create", "trusts", sender, body=asked).parsed
        events = call("events.list", "events", receiver, limit=100).parsed
        coins = call("coin_wallets.list", "coins", receiver).parsed
        task = call("servers.echo", "coins", receiver).parsed
        shown = call("tasks.get", "tasks", receiver, task.id).parsed

    assert [(each.name, each.tokens_in_wallet) for each in listed.wallets] == [("alice", 3)]
    assert (sent.status_code, sent.parsed.state, sent.parsed.closed_at) == (202, "pending", None)
    assert (again.parsed, again.headers["Idempotency-Replayed"]) == (sent.parsed, "true")
    assert isinstance(accepted, models.Transfer)
    assert (accepted.state, accepted.parameters.bundle.bundle_size) == (models.TransferState.COMPLETED, 2)
    assert page.transfers == [accepted]
    assert {str(each.wallet_id) for each in tokens.tokens} == {str(bobby.pk)}
    assert (refused.status_code, refused.parsed.message) == (403, "Do not have enough tokens to send")
    assert (trust.state, trust.target_wallet) == (models.TrustState.REQUESTED, "bobby")
    assert [each.type_.value for each in events.events][-1] == "trust_request"
    assert [(each.name, each.balance) for each in coins.wallets] == [("bobby", 0)]
    assert (shown.id, shown.type_, shown.status, shown.finished) == (task.id, "echo", "running", None)
