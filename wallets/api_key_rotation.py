"""Rotating API keys: a new key replaces an old one, which stays valid for a time."""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from wallets import errors, names, operations
from wallets.models import ApiKey


@sensitive_variables("plaintext")
def rotate(*, api_key_id: UUID, overlap: timedelta) -> tuple[ApiKey, str]:
    """
    Create an API key with the name and the rights of another, which is valid for `overlap` more, or revoked if that is
    zero. Returns the new key with its plain text, which is not stored.

    :raises ApiKeyEnded: the old key was revoked, or has expired
    """
    with transaction.atomic(savepoint=False):
        # Locked, so that of two rotations of a key without an overlap the second is refused.
        if not operations.is_valid_until_commit(api_key_id, is_to_change=True):
            raise errors.ApiKeyEnded
        old = ApiKey.objects.get(pk=api_key_id)
        new, plaintext = operations.create_api_key(name=old.name)
        ApiKey.objects.filter(pk=new.pk).update(batch_access=old.batch_access)
        if overlap:
            operations.end_api_key(api_key_id=api_key_id, after=overlap)
        else:
            operations.revoke_api_key(api_key_id=api_key_id)
    new.refresh_from_db(fields=["batch_access"])
    return new, plaintext


def valid_keys(name_or_id: str) -> QuerySet[ApiKey]:
    """Return the valid API keys that have this id, name or prefix, the oldest first."""
    key_id = names.parse_uuid(name_or_id)
    named = Q(name=name_or_id) | Q(prefix=name_or_id) if key_id is None else Q(pk=key_id)
    valid = Q(expires_at=None) | Q(expires_at__gt=Now())
    return ApiKey.objects.filter(named, valid, revoked_at=None).defer("digest").order_by("created_at", "pk")
