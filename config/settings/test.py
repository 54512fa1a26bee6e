"""
Settings of the test run: those of production with fast password hashing.

Without `DATABASE_URL` and `REDIS_URL` they name servers of this run alone, which `tests/conftest.py`
starts. The processes of one run share them, because they inherit the environment filled here.
"""

import os
import tempfile
from urllib.parse import urlsplit

from config.embedded import fill_environment

os.environ.setdefault("COPPICE_SECRET_KEY", "a signing key for tests: 0123456789 abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("COPPICE_VAULT_KEY", "dGVzdCB2YXVsdCBrZXksIDMyIGJ5dGVzIGxvbmchISE=")
if not os.environ.get("DATABASE_URL") or not os.environ.get("REDIS_URL"):
    os.environ["COPPICE_STATE_DIR"] = os.path.join(tempfile.gettempdir(), f"coppice-tests-{os.getpid()}")
    fill_environment()

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Tests that run side by side share neither counters nor queues. The last eight of sixteen databases are theirs.
    url, database = os.environ["REDIS_URL"], 8 + int(worker.removeprefix("gw")) % 8
    os.environ["REDIS_URL"] = (
        f"{url.partition('?')[0]}?db={database}"
        if url.startswith("unix:")
        else urlsplit(url)._replace(path=f"/{database}").geturl()
    )

from config.settings.base import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", "wallets.hashers.TreetrackerHasher"]
# The tests speak plain HTTP, as the web server behind a proxy does.
SECURE_SSL_REDIRECT = False
# Static files come from where they lie: a fresh clone has collected none.
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True
