"""
Settings of the test run: those of production with fast password hashing.

Without `DATABASE_URL` and `REDIS_URL` they name servers of this run alone, which `tests/conftest.py`
starts. The processes of one run share them, because they inherit the environment filled here.
"""

import os
import tempfile

from config.embedded import fill_environment

os.environ.setdefault("COPPICE_SECRET_KEY", "a signing key for tests: 0123456789 abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("COPPICE_VAULT_KEY", "dGVzdCB2YXVsdCBrZXksIDMyIGJ5dGVzIGxvbmchISE=")
if not os.environ.get("DATABASE_URL") or not os.environ.get("REDIS_URL"):
    os.environ["COPPICE_STATE_DIR"] = os.path.join(tempfile.gettempdir(), f"coppice-tests-{os.getpid()}")
    fill_environment()

from config.settings.base import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", "wallets.hashers.TreetrackerHasher"]
# The tests speak plain HTTP, as the web server behind a proxy does.
SECURE_SSL_REDIRECT = False
# Static files come from where they lie: a fresh clone has collected none.
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True
