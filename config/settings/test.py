"""
Settings of the test run: those of production with fast password hashing.

Without `DATABASE_URL` and `REDIS_URL` they name servers of this run alone, which `tests/conftest.py`
starts. The processes of one run share them, because they inherit the environment filled here.

Nothing else that a shell may have set changes what is tested; `COPPICE_EMBEDDED_PREFER=wheel` has the private
servers run from their wheels on a machine that has others.
"""

import os
import re
import secrets
import tempfile
from urllib.parse import urlsplit

from config.dev.embedded import fill_environment, forget_the_shells_database

# Which server programs are taken, and what chooses or shows more of the tests.
_KEPT = {
    "COPPICE_EMBEDDED_PREFER", "COPPICE_STORM", "COPPICE_FUZZ", "COPPICE_CHAOS_SEED", "COPPICE_PICTURES",
}  # fmt: skip
# Read by Coppice, by what it runs on (Celery, granian, rich), and by every HTTP client.
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


# Once, in the process of pytest: what its children find was set for them.
if "PYTEST_VERSION" in os.environ and "COPPICE_TEST_RUN" not in os.environ:
    _forget_the_shell()
    os.environ["COPPICE_TEST_RUN"] = str(os.getpid())

os.environ.setdefault("COPPICE_SECRET_KEY", "a signing key for tests: 0123456789 abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("COPPICE_VAULT_KEY", "dGVzdCB2YXVsdCBrZXksIDMyIGJ5dGVzIGxvbmchISE=")
# Lockers are on; a test that asks servers names its own. Nothing listens at these ports.
os.environ.setdefault("COPPICE_RAIDA_HOSTS", ",".join(f"127.0.0.1:{number}" for number in range(1, 26)))
if not os.environ.get("DATABASE_URL") or not os.environ.get("REDIS_URL"):
    # Not by the process alone: in a container its number may be that of a run that was killed.
    name = f"coppice-tests-{os.getpid()}-{secrets.token_hex(4)}"
    os.environ["COPPICE_STATE_DIR"] = os.path.join(tempfile.gettempdir(), name)
    fill_environment()

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Tests that run side by side share neither counters nor queues. The last eight of sixteen databases are theirs.
    url, database = os.environ["REDIS_URL"], 8 + int(worker.removeprefix("gw")) % 8
    os.environ["REDIS_URL"] = (
        f"{url.partition('?')[0]}?db={database}"
        if url.startswith("unix:")
        else urlsplit(url)._replace(path=f"/{database}").geturl()
    )

from config.settings.base import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", "wallets.hashers.TreetrackerHasher"]
# The tests speak plain HTTP, as the web server behind a proxy does.
HTTPS_REQUIRED = False
# Static files come from where they lie: a fresh clone has collected none.
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True
