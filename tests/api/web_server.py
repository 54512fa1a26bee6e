"""The product's own web server over the test database, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from urllib.parse import quote, urlencode

from django.db import connection

from tests.ports import reserved_port


def database_url() -> str:
    """Return the URL of the database that the running test uses."""
    settings = connection.settings_dict
    where = {"host": settings["HOST"]} | ({"port": settings["PORT"]} if settings["PORT"] else {})
    user = quote(settings["USER"], safe="") + (
        f":{quote(settings['PASSWORD'], safe='')}" if settings["PASSWORD"] else ""
    )
    return f"postgresql://{user}@/{quote(settings['NAME'], safe='')}?{urlencode(where)}"


@contextmanager
def web_server(more: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Run granian as in production, but with one worker, and give its `host:port`; `more` joins its environment."""
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
        "COPPICE_SECURE": "false",
        **more,
    }
    with reserved_port() as port:
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen([*command, "--blocking-threads", "4", "config.wsgi:application"], env=environment)
        try:
            _wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            finally:
                process.kill()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"granian did not start: exit status {process.poll()}")
