"""
Settings for tests: those of production with fast password hashing.

Without `DATABASE_URL` and `REDIS_URL` they name private servers of this run, which `tests/conftest.py` starts. All
processes of a run inherit the environment set here, and so share them.

Other variables of the shell are removed, so that they do not affect the tests. `COPPICE_EMBEDDED_PREFER=wheel` takes
the private servers from their wheels, even where the machine has others.
"""

import os
import re
import secrets
import sys
import tempfile
from urllib.parse import urlsplit

from config.dev.embedded import fill_environment, forget_the_shells_database

# The choice of server programs, and options that select tests or show more of them.
_KEPT = {
    "COPPICE_EMBEDDED_PREFER", "COPPICE_STORM", "COPPICE_FUZZ", "COPPICE_CHAOS_SEED", "COPPICE_PICTURES",
}  # fmt: skip
# Read by Coppice, by the packages it uses (Celery, granian, rich), and by HTTP clients.
_FORGOTTEN = re.compile(
    r"(COPPICE|CELERY|GRANIAN|SCHEMATHESIS)_.*|PORT|KEEP|(NO|FORCE)_COLOR|TTY_\w+|COLUMNS|LINES|(http|https|all|ftp)_proxy",
    re.IGNORECASE,
)


def _forget_the_shell() -> None:
    # With DATABASE_URL, the password or certificate may be in libpq's variables, so these are kept.
    if not os.environ.get("DATABASE_URL"):
        forget_the_shells_database(os.environ)
    for name in set(os.environ) - _KEPT:
        if _FORGOTTEN.fullmatch(name):
            del os.environ[name]


# Once, in pytest's main process: its children inherit what it sets.
if "PYTEST_VERSION" in os.environ and "COPPICE_TEST_RUN" not in os.environ:
    _forget_the_shell()
    os.environ["COPPICE_TEST_RUN"] = str(os.getpid())

os.environ.setdefault("COPPICE_SECRET_KEY", "a signing key for tests: 0123456789 abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("COPPICE_VAULT_KEY", "dGVzdCB2YXVsdCBrZXksIDMyIGJ5dGVzIGxvbmchISE=")
# Tests ask as often as they like.
os.environ.setdefault("COPPICE_INQUIRIES_PER_MINUTE", "0")
# Lockers are on; a test that needs servers starts its own. These ports have no listener.
os.environ.setdefault("COPPICE_RAIDA_HOSTS", ",".join(f"127.0.0.1:{number}" for number in range(1, 26)))
if not os.environ.get("DATABASE_URL") or not os.environ.get("REDIS_URL"):
    # Not the process id alone: in a container a killed run may have had the same one.
    name = f"coppice-tests-{os.getpid()}-{secrets.token_hex(4)}"
    os.environ["COPPICE_STATE_DIR"] = os.path.join(tempfile.gettempdir(), name)
    fill_environment()

# Django and the REST framework import these where they are installed, which takes a process a sixth of its start. The
# packages of the tests bring them; a process that a test starts is without them, as in production.
if "pytest" not in sys.modules:
    for name in ("jinja2", "requests"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and "+sentinel:" not in os.environ["REDIS_URL"]:
    # Parallel pytest workers share neither counters nor queues: each has one of the databases 8 to 15. Servers with a
    # sentinel are those of one test.
    url, database = os.environ["REDIS_URL"], 8 + int(worker.removeprefix("gw")) % 8
    os.environ["REDIS_URL"] = (
        f"{url.partition('?')[0]}?db={database}"
        if url.startswith("unix:")
        else urlsplit(url)._replace(path=f"/{database}").geturl()
    )

from config.settings.base import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", "wallets.hashers.TreetrackerHasher"]
# Tests use plain HTTP, like the web server behind a proxy.
HTTPS_REQUIRED = False
# Serve static files from the apps' directories: a fresh clone has collected none.
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True
