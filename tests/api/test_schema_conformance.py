"""
Schemathesis against the running web server, a worker and 25 local servers: no 5xx, no answer outside the description.

Every endpoint is tried with what its description allows, with valid credentials and without, and with ids and names
that exist as well as with others. `COPPICE_FUZZ=2000` makes that many attempts for each endpoint instead of a few, and
tries what the description forbids too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.api.cloudcoin import synchronous_views
from lockers.models import LockerTask
from tests.api.caller import logged_in
from tests.api.web_server import web_server
from tests.chaos.worker import Worker
from tests.support.ledger_world import world
from tests.support.local_network import LocalNetwork
from transfers import audit as transfer_audit
from wallets.models import Token

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(0 if "COPPICE_FUZZ" in os.environ else 900)]

ROOT = Path(__file__).parents[2]
ATTEMPTS = int(os.environ.get("COPPICE_FUZZ", "3"))
# The coverage phase goes to every bound of every field; the others draw at random. What is past a bound, and methods
# that are not described, are tried in `test_hostile_values`, in a fraction of the time.
MODE = "all" if "COPPICE_FUZZ" in os.environ else "positive"
PHASES = "examples,coverage,fuzzing,stateful" if "COPPICE_FUZZ" in os.environ else "examples,coverage"
# The calls that wait for the end of their task do so for 25 seconds if it does not end, and Schemathesis, unless told
# otherwise, for 10: it would call an answer that is late by design a network error.
ANSWERED_SECONDS = 2 * int(synchronous_views.WAIT.total_seconds())
# These ask for more than the description says. A body that fits it may still be refused by a rule, and what it forbids
# may be let through where the public service does so: an id without hyphens, a number in quotes.
NOT_CHECKED = ["positive_data_acceptance", "negative_data_rejection", "missing_required_header"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    with LocalNetwork(tmp_path_factory.mktemp("raida"), base_port=0) as running:
        yield running


@pytest.fixture
def address(transactional_db: None, network: LocalNetwork, tmp_path: Path) -> Iterator[str]:
    worker = Worker(network, tmp_path / "worker", has_beat=False)
    hosts = {"COPPICE_RAIDA_HOSTS": ",".join(network.hosts), "COPPICE_RAIDA_TIMEOUT_SECONDS": "1"}
    try:
        with web_server(hosts) as running:
            yield running
    finally:
        worker.stop()


def configuration(words: dict[str, list[Any]], api_key: str, bearer: str) -> str:
    named = {
        "path.wallet_id": "wallets",
        "path.token_id": "tokens",
        "path.transfer_id": "transfers",
        "path.trust_id": "trusts",
        "path.name": "names",
        "query.wallet": "names",
        "body.wallet": "names",
        "body.name": "names",
        "body.sender_wallet": "names",
        "body.receiver_wallet": "names",
        "body.requestee_wallet": "names",
        "body.requester_wallet": "names",
    }
    lines = [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in words.items()]
    lines += ["[parameters]"]
    lines += [f'"{where}" = {{dictionary = "{name}", probability = 0.6}}' for where, name in named.items()]
    if bearer:
        lines += ["[auth.openapi.apiKey]", f'api_key = "{api_key}"', "[auth.openapi.bearer]", f'bearer = "{bearer}"']
    # Who names a locker that is not there is answered 500, as the reference has it; the description says so, and how.
    for method, path in [("GET", "peek"), ("POST", "download")]:
        lines += ["[[operations]]", f'include-path = "/api/transactions/locker/{path}"', f'include-method = "{method}"']
        lines += ["checks.not_a_server_error.enabled = false"]
    # It ends the session of the caller.
    lines += ["[[operations]]", 'include-path = "/auth/token"', "enabled = false"]
    lines += ["[checks]"]
    lines += [f"{check}.enabled = false" for check in NOT_CHECKED]
    return "\n".join(lines)


def test_every_answer_is_one_that_the_description_allows(address: str, tmp_path: Path, api_key: str) -> None:
    alice, bob = logged_in("alice", api_key), logged_in("bobby", api_key)
    words = world(alice, bob)
    before = Token.objects.count()

    # First without credentials, which begins no task.
    for bearer, phases in (("", "examples"), (str(alice.bearer), PHASES)):
        assert not LockerTask.objects.exists()
        (tmp_path / "schemathesis.toml").write_text(configuration(words, api_key, bearer))
        run = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run",
                f"http://{address}/openapi.json", "--max-examples", str(ATTEMPTS), "--warnings", "off",
                "--workers", "1", "--seed", "1", "--no-color", "--continue-on-failure", "--generation-database", "none",
                "--phases", phases, "--mode", MODE, "--request-timeout", str(ANSWERED_SECONDS),
            ],
            cwd=tmp_path,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True,
        )  # fmt: skip

        assert run.returncode == 0, run.stdout + run.stderr
        assert list(transfer_audit.audit_findings()) == []
        assert Token.objects.count() == before
