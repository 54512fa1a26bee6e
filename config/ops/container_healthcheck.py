"""
`python -m config.ops.container_healthcheck worker|beat`: exit status 0 if the heartbeat of this machine's worker, or
beat, is recent.

For the health checks of containers, every few seconds: it loads neither Django nor Celery.
"""

import os
import socket
import sys
import time
from typing import Final

from config.ops import redis_status

SILENT_SECONDS: Final = 30.0


def last_sign(part: str, url: str) -> float:
    """
    Return when the part was last alive, in seconds since the epoch; 0 if never.

    :raises config.ops.redis_status.BrokerSilent: nobody knows
    """
    if part == "beat":
        return redis_status.last_ring(url)
    return redis_status.workers(url).get(f"celery@{socket.gethostname()}", 0.0)


if __name__ == "__main__":
    try:
        age = time.time() - last_sign(sys.argv[1], os.environ["REDIS_URL"])
    except redis_status.BrokerSilent:
        sys.exit("the broker does not answer")
    if age > SILENT_SECONDS:
        sys.exit("no sign of life lately")
