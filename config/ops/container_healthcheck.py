"""
`python -m config.ops.container_healthcheck worker|beat`: exit status 0 if this container's worker, or beat, has a
recent heartbeat.

Containers run it every few seconds, so it loads neither Django nor Celery.
"""

import os
import socket
import sys
import time
from typing import Final

from config.ops import redis_status

SILENT_SECONDS: Final = 30.0


def last_heartbeat(part: str, url: str) -> float:
    """
    Return the last heartbeat of the part, in seconds since the epoch; 0 for never.

    :raises config.ops.redis_status.BrokerSilent: no answer
    """
    if part == "beat":
        return redis_status.last_published(url)
    return redis_status.workers(url).get(f"celery@{socket.gethostname()}", 0.0)


if __name__ == "__main__":
    try:
        age = time.time() - last_heartbeat(sys.argv[1], os.environ["REDIS_URL"])
    except redis_status.BrokerSilent:
        sys.exit("the broker does not answer")
    if age > SILENT_SECONDS:
        sys.exit("no recent heartbeat")
