"""What processes say of the environment in which they are started."""

import os
import re
import subprocess
import sys
from typing import Any

from config.dev.embedded import ROOT
from tests.config.conftest import manage


def test_the_tests_forget_what_a_shell_has_set_and_keep_what_chooses_servers() -> None:
    forgotten = {
        "COPPICE_DEBUG": "maybe", "COPPICE_LOG_LEVEL": "LOUD", "COPPICE_METRICS_TOKEN": "t", "PGHOST": "elsewhere",
        "PGOPTIONS": "-c search_path=nowhere", "CELERY_BROKER_URL": "redis://elsewhere/0", "GRANIAN_PORT": "1",
        "HTTP_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "FORCE_COLOR": "1", "PORT": "1",
    }  # fmt: skip
    kept = {"COPPICE_EMBEDDED_PREFER": "wheel", "COPPICE_FUZZ": "1", "REDIS_URL": "redis://elsewhere/1"}
    script = "import os, sys, config.settings.test; print(*(set(os.environ) & set(sys.argv[1:])))"
    environment = {key: value for key, value in os.environ.items() if key != "COPPICE_TEST_RUN"}

    def left(**more: Any) -> Any:
        command = [sys.executable, "-W", "ignore", "-c", script, *forgotten, *kept]
        environ = {**environment, "DATABASE_URL": "", "PYTEST_XDIST_WORKER": "", **forgotten, **kept, **more}
        shown = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True)
        return set(shown.stdout.split())

    assert left() == set(kept)
    # The password of a database that is named may be in one of these.
    assert left(DATABASE_URL="postgresql://db/x") == {*kept, "PGHOST", "PGOPTIONS"}


def test_everything_wrong_is_named_at_once_without_a_traceback_and_without_values(
    bare_environment: dict[str, str],
) -> None:
    refused = manage(
        "check",
        environment={
            **bare_environment,
            "COPPICE_EMBEDDED": "off",
            "COPPICE_SECRET_KEY": "hush-hush",
            "COPPICE_VAULT_KEY": "not/base64!",
            "COPPICE_VAULT_OLD_KEYS": "bm90IDMyIGJ5dGVz,",
            "DATABASE_URL": "mysql://root:hush-hush@db/x",
            "COPPICE_RAIDA_TIMEOUT_SECONDS": "soon",
            "COPPICE_LOG_LEVEL": "LOUD",
        },
    )

    assert refused.returncode == 1
    assert refused.stdout == ""
    named = re.findall(r"^  ([A-Z_]+): ", refused.stderr, re.MULTILINE)
    assert named == [
        "COPPICE_SECRET_KEY",
        "COPPICE_VAULT_KEY",
        "COPPICE_VAULT_OLD_KEYS",
        "DATABASE_URL",
        "REDIS_URL",
        "COPPICE_LOG_LEVEL",
        "COPPICE_RAIDA_TIMEOUT_SECONDS",
    ]
    assert "REDIS_URL: is not set" in refused.stderr
    assert "Traceback" not in refused.stderr
    for value in ("hush", "not/base64", "bm90", "mysql", "soon", "LOUD"):
        assert value not in refused.stderr


def test_a_command_without_its_database_says_so_without_a_traceback(bare_environment: dict[str, str]) -> None:
    refused = manage("migrate", "--skip-checks", environment=bare_environment)

    assert refused.returncode == 1
    assert "The database does not answer" in refused.stderr
    assert "make run" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_process_that_is_given_another_url_names_the_variable(bare_environment: dict[str, str]) -> None:
    refused = manage(
        "check",
        environment={**bare_environment, "COPPICE_EMBEDDED": "off", "COPPICE_BROKER_URL": "redis://:hush@h/0"},
    )

    assert refused.returncode == 1
    assert "COPPICE_BROKER_URL: must name one server" in refused.stderr
    assert "hush" not in refused.stderr
