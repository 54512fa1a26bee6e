"""The mail server of COPPICE_EMAIL_URL."""

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
# Of each step of the dialogue.
TIMEOUT_SECONDS: Final = 10


def read(url: str) -> dict[str, Any]:
    """
    Return Django's settings of the server, an empty host for an empty URL.

    :raises ValueError: it is no URL of a mail server
    """
    parts = urlsplit(url)
    if url and (parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query):
        raise ValueError("not the URL of a mail server")
    return {
        "EMAIL_HOST": parts.hostname or "",
        "EMAIL_PORT": parts.port or _PORTS.get(parts.scheme, 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+starttls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": TIMEOUT_SECONDS,
    }
