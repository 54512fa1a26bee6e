"""
Settings for commands that need no server: `make lint`, and collecting static files for the image.

Those of production, with random secrets and the URLs of servers that do not exist.
"""

import base64
import os
import secrets

os.environ |= {
    "COPPICE_EMBEDDED": "off",
    "COPPICE_SECURE": "true",
    "COPPICE_DEBUG": "false",
    "COPPICE_SECRET_KEY": secrets.token_urlsafe(48),
    "COPPICE_VAULT_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}

from config.settings.base import *  # noqa: F403
