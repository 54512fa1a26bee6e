"""The admin's tables: sessions, second factors and recovery codes."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Session(models.Model):
    """
    A browser in which a user is signed in, stored under a digest of the session key in its cookie.

    The database and its backups therefore give no access, and `id` may appear in URLs and logs. Deleting the row ends
    the session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.BinaryField(max_length=32, unique=True)
    # Signed, not encrypted; see `config.admin.sessions` for the content.
    data = models.TextField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    address = models.CharField(max_length=45, blank=True)
    agent = models.CharField(max_length=300, blank=True)
    has_second_factor = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        permissions = [
            ("act_end_session", "Can end sessions of others"),
            ("act_create_person", "Can create accounts of people"),
            ("act_change_role", "Can change roles of people"),
            ("act_change_mail", "Can change mail addresses of people"),
            ("act_change_active", "Can deactivate and activate people"),
            ("act_set_person_password", "Can set passwords of people"),
            ("act_reset_second_factor", "Can reset second factors of people"),
        ]

    def __str__(self) -> str:
        return f"session {str(self.id)[:8]}"


class SecondFactor(models.Model):
    """
    A person's authenticator app (TOTP, RFC 6238: SHA-1, 6 digits, 30 seconds).

    The secret is sealed with the vault key. `last_step` is the time step of the last code that was accepted: only
    later ones are. `failures` in a row make the next attempt wait, from `failed_at` on.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="second_factor")
    secret = models.BinaryField()
    last_step = models.BigIntegerField()
    failures = models.IntegerField(default=0)
    failed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"second factor of {self.user_id}"


class RecoveryCode(models.Model):
    """A code that replaces the authenticator app once. Stored as a SHA-256 digest of 80 random bits."""

    id = models.BigAutoField(primary_key=True)
    factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.BinaryField(max_length=32, unique=True)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"recovery code {self.pk}"
