"""The mail server of COPPICE_EMAIL_URL."""

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
# Of each step of the dialogue.
TIMEOUT_SECONDS: Final = 10


def read(url: str) -> dict[str, dict[str, Any]]:
    """
    Return the value of Django's MAILERS (from Django 6.1 on): the server as "default", nothing for an empty URL.

    :raises ValueError: it is no URL of a mail server
    """
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("not the URL of a mail server")
    options = {
        "host": parts.hostname,
        "port": parts.port or _PORTS[parts.scheme],
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "use_tls": parts.scheme == "smtp+starttls",
        "use_ssl": parts.scheme == "smtps",
        "timeout": TIMEOUT_SECONDS,
    }
    return {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}}


def connection() -> BaseEmailBackend:
    """Return a connection to the server, not yet open. Only with COPPICE_EMAIL_URL."""
    # Django 5.2 does not know MAILERS.
    mailers = getattr(mail, "mailers", None)
    mailer = settings.MAILERS["default"]
    backend = mailers["default"] if mailers else import_string(mailer["BACKEND"])(**mailer["OPTIONS"])
    assert isinstance(backend, BaseEmailBackend)
    return backend
