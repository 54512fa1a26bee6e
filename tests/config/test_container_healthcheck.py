"""The health check of a container."""

import os
import socket
import subprocess
import sys
from typing import Any

from config import tasks
from config.dev.embedded import ROOT
from config.ops import redis_status


def test_a_container_asks_for_its_own_worker_and_for_beat_without_loading_django(settings: Any) -> None:
    def alive(part: Any) -> Any:
        script = (
            f"import sys, runpy; sys.argv[1:] = ['{part}'];"
            " runpy.run_module('config.ops.container_healthcheck', run_name='__main__');"
            " assert 'django' not in sys.modules"
        )
        command = [sys.executable, "-c", script]
        environment = {"REDIS_URL": settings.REDIS_URL, "PATH": os.environ["PATH"]}
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=60).returncode

    with redis_status.redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(redis_status.WORKERS_KEY, redis_status.PUBLISHED_KEY)
    redis_status.record_worker(settings.REDIS_URL, "celery@another-container")
    assert (alive("worker"), alive("beat")) == (1, 1)
    redis_status.record_worker(settings.REDIS_URL, f"celery@{socket.gethostname()}")
    tasks.heartbeat.apply_async(expires=0.001)
    assert (alive("worker"), alive("beat")) == (0, 0)
