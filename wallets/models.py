"""
What the wallets app stores: wallets, tokens, API keys and bearer tokens.

This app knows no other app. A token's reservation therefore names its transfer by id;
the foreign key behind that id is added by a migration of the transfers app.
"""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Wallet(models.Model):
    """
    A holder of tokens and coins, and the caller of every API request.

    `name` is kept as given; `name_key` (NFKC, case folded) is what is unique. A wallet
    without a password (empty string) cannot authenticate: only its manager acts for it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=254)
    name_key = models.CharField(max_length=1024, unique=True)
    password = models.CharField(max_length=256, blank=True)
    about = models.CharField(max_length=250, blank=True)
    display_name = models.CharField(max_length=30, blank=True)
    logo_url = models.CharField(max_length=2048, null=True, blank=True)  # noqa: DJ001 - the contract says null
    created_at = models.DateTimeField(db_default=Now())

    # What Django REST framework asks of `request.user`.
    is_authenticated = True
    is_anonymous = False
    is_active = True

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(name="") & ~Q(name_key=""), name="wallet_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Token(models.Model):
    """One planted tree. A token is a row, not a balance: rows are locked, never the wallet."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    capture_id = models.UUIDField(unique=True)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="tokens", db_index=False)
    transfer_pending_id = models.UUIDField(null=True, blank=True)
    # How often the token moved; its history has exactly the numbers 0 (issue) to `moves`.
    moves = models.IntegerField(default=0)
    # Position in the order of arrival, taken after the row was locked: the newest is highest.
    arrival = models.BigIntegerField()
    claim = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.id)


class ApiKey(models.Model):
    """A partner application's key. Stored as a SHA-256 digest; shown once, at creation."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    digest = models.BinaryField(max_length=32, unique=True)
    batch_access = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class BearerToken(models.Model):
    """What a wallet shows after it authenticated. Stored as a SHA-256 digest, good for 365 days, revocable."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="bearer_tokens")
    prefix = models.CharField(max_length=12)
    digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.prefix}…"
