"""Password hashes that Coppice can verify but never makes for a new password."""

import base64
import hashlib
import hmac
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher
from django.utils.crypto import constant_time_compare


class TreetrackerHasher(BasePasswordHasher):
    """
    One round of HMAC-SHA512, keyed with the salt: how the public wallet service stores passwords.

    A migrated wallet keeps its hash as `treetracker_hmac_sha512$<salt>$<128 hex digits>`, so that
    its owner can log in; the first successful login replaces the hash (the Treetracker contract, row 23).
    The salt's own text is the key: it is base64, and is not decoded.
    """

    algorithm = "treetracker_hmac_sha512"

    def salt(self) -> str:
        return base64.b64encode(hashlib.sha256(super().salt().encode()).digest()).decode()

    def encode(self, password: str, salt: str) -> str:
        digest = hmac.new(salt.encode(), password.encode(), hashlib.sha512).hexdigest()
        return f"{self.algorithm}${salt}${digest}"

    def decode(self, encoded: str) -> dict[str, str]:
        # The salt is any text, so it may hold the separator; the digest does not.
        algorithm, _, rest = encoded.partition("$")
        salt, _, digest = rest.rpartition("$")
        return {"algorithm": algorithm, "salt": salt, "hash": digest}

    def verify(self, password: str, encoded: str) -> bool:
        return constant_time_compare(encoded, self.encode(password, self.decode(encoded)["salt"]))

    def safe_summary(self, encoded: str) -> Any:
        return {"algorithm": self.algorithm}

    def must_update(self, encoded: str) -> bool:
        return True

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Do nothing: `passwords.verify` computes a hash of the preferred kind in addition."""
