"""
`python -m config.alive worker|beat`: exit status 0 if this machine's worker, or beat, showed a sign of life lately.

For the health checks of containers, every few seconds: it loads neither Django nor Celery.
"""

import os
import socket
import sys
import time
from typing import Final

from config import broker

SILENT_SECONDS: Final = 30.0


def last_sign(part: str, url: str) -> float:
    """
    Return when the part was last alive, in seconds since the epoch; 0 if never.

    :raises config.broker.BrokerSilent: nobody knows
    """
    if part == "beat":
        return broker.last_ring(url)
    return broker.workers(url).get(f"celery@{socket.gethostname()}", 0.0)


if __name__ == "__main__":
    try:
        age = time.time() - last_sign(sys.argv[1], os.environ["REDIS_URL"])
    except broker.BrokerSilent:
        sys.exit("the broker does not answer")
    if age > SILENT_SECONDS:
        sys.exit("no sign of life lately")
