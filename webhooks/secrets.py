"""Secrets of webhooks: `whsec_` and base64, as in the Standard Webhooks specification, sealed at rest."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.views.decorators.debug import sensitive_variables
from standardwebhooks.webhooks import Webhook as Signer

from lockers import vault

PREFIX: Final = "whsec_"
_BYTES: Final = 32


def context_of(webhook_id: UUID) -> str:
    """Return the context in which secrets of a webhook are sealed. Both of its columns share it."""
    return f"webhook/{webhook_id}"


@sensitive_variables()
def new(*, webhook_id: UUID) -> tuple[str, bytes]:
    """Return a new secret as the receiver gets it, and sealed."""
    raw = secrets.token_bytes(_BYTES)
    return PREFIX + base64.b64encode(raw).decode(), vault.seal(raw, context=context_of(webhook_id))


@sensitive_variables()
def signature(sealed: Sequence[bytes], *, webhook_id: UUID, message_id: str, at: datetime, body: str) -> str:
    """
    Return the header `webhook-signature`: a `v1` signature with each of the sealed secrets.

    :raises SealBroken: a secret was sealed with a key that is not configured
    """
    signers = [Signer(vault.open_sealed(each, context=context_of(webhook_id))) for each in sealed]
    return " ".join(signer.sign(message_id, at, body) for signer in signers)
