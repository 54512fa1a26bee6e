"""
Servers for the tests: those of `DATABASE_URL` and `REDIS_URL`, or private ones for this run.

The private ones are started once, before any worker of pytest-xdist is, and the workers inherit
their addresses. They are real and end with the run, however it ends.
"""

import contextlib
import os
import shutil

import pytest

from config.children import Children
from config.embedded import Postgres, Valkey, database_url, redis_url, state_directory

servers = contextlib.ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    state = state_directory()
    wanted = []
    if os.environ["DATABASE_URL"] == database_url(state):
        wanted.append(Postgres(state, durable=False))
    if os.environ["REDIS_URL"] == redis_url(state):
        wanted.append(Valkey(state))
    if wanted:
        if not state.name.startswith("coppice-tests-"):
            raise pytest.UsageError("The tests start servers in a directory of their own only.")
        state.mkdir(mode=0o711)
        servers.callback(shutil.rmtree, state, ignore_errors=True)
        children = servers.enter_context(Children(state))
        for server in wanted:
            server.start(children)


def pytest_unconfigure() -> None:
    servers.close()
