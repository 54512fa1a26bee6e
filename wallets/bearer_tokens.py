"""
The text of bearer tokens: `header.payload.secret`, the first two parts base64url of JSON as in a JSON Web Token.

Clients of the public service decode the payload when a wallet logs in. Coppice reads nothing in a token: its digest is
looked up (`wallets.queries.credentials`), so a token with another header or payload is unknown. The third part is
random and no signature.
"""

import base64
import secrets
import time
from datetime import UTC, timedelta
from typing import Any, Final

import orjson
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from wallets.models import Wallet

# Characters of a token. Servers and proxies bound header fields, `config.api.authentication` this one at 2,048.
LONGEST: Final = 2000
ISSUER: Final = "coppice"
# The first characters of the secret are stored and shown to operators; 256 random bits remain.
_SHOWN: Final = 6
_SECRET_BYTES: Final = 40


def lifetime() -> timedelta:
    """Return how long a new token is valid."""
    return timedelta(days=settings.BEARER_TOKEN_DAYS)


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


# No registered algorithm: nothing can take the secret for a signature that it can verify.
_HEADER: Final = _part({"alg": "opaque", "typ": "JWT"})


@sensitive_variables()
def new_token(wallet: Wallet) -> str:
    """
    Return a new bearer token, of at most 2,000 characters, for a wallet with all its columns.

    The payload has `id`, `iat`, `exp`, `iss` and, as far as they fit, the wallet's public fields that are set.
    """
    issued = int(time.time())
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    needed = {"iat": issued, "exp": issued + int(lifetime().total_seconds()), "iss": ISSUER}
    created_at = wallet.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    claims: dict[str, Any] = {"id": str(wallet.pk)}
    token = f"{_HEADER}.{_part(claims | needed)}.{secret}"
    for name, value in (
        ("name", wallet.name),
        ("created_at", created_at),
        ("display_name", wallet.display_name),
        ("logo_url", wallet.logo_url),
        ("about", wallet.about),
    ):
        if not value:
            continue
        longer = f"{_HEADER}.{_part(claims | {name: value} | needed)}.{secret}"
        if len(longer) <= LONGEST:
            claims[name] = value
            token = longer
    return token


@sensitive_variables()
def shown_part(token: str) -> str:
    """Return the characters by which operators recognise a token: the first six of its secret part."""
    return token.rpartition(".")[2][:_SHOWN]
