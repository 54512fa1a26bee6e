"""The addresses on which the web server listens."""

import http.client
import os
import subprocess
import time
from contextlib import closing

import pytest

from config.dev.embedded import ROOT
from config.web import server
from tests.ports import reserved_port
from tests.support.databases import database_url


def test_both_kinds_of_addresses_are_served_by_one_server(
    transactional_db: None, capfd: pytest.CaptureFixture[str]
) -> None:
    environment = os.environ | {
        "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "config.settings.test", "COPPICE_SECURE": "false",
    }  # fmt: skip
    with reserved_port() as port:
        command = server.command(port=port, host="::", processes=1, is_reserved=True)
        process = subprocess.Popen(command, env=environment, cwd=ROOT)
        try:
            statuses = [_asked(host, port) for host in ("127.0.0.1", "::1")]
        finally:
            process.terminate()
            process.wait(timeout=60)

    assert statuses == [200, 200]
    # Addresses of IPv4 are shown as such, and not as addresses of IPv6.
    logged = capfd.readouterr().err
    assert [f'"client":"{host}"' in logged for host in ("127.0.0.1", "::1")] == [True, True]


def _asked(host: str, port: int) -> int:
    """Return the status of /metrics, which answers loopback addresses alone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with closing(http.client.HTTPConnection(host, port, timeout=60)) as connection:
                connection.request("GET", "/metrics")
                response = connection.getresponse()
                response.read()
                return response.status
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
