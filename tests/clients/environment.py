"""Variables of web servers that generated clients call."""

from typing import Final

# Tasks are begun and not run, so these servers are never asked.
LOCKERS_ON: Final = {"COPPICE_RAIDA_HOSTS": ",".join(f"127.0.0.1:{port}" for port in range(1, 26))}
