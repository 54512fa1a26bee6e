"""Pages of API keys, bearer tokens and restricted keys."""

from datetime import timedelta
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join

from config.admin import base, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link
from config.admin.requests import requests_fact
from config.admin.templatetags import formats
from wallets.models import ApiKey, BearerToken, RestrictedKey, Wallet

# The characters of a secret that are stored.
_STORED: Final = 6


_FEWEST: Final = 3


class UsedFilter(filters.Choice):
    """Bearer tokens that can be revoked without anyone noticing."""

    title = "unused"
    parameter_name = "unused"
    values = (("90", "valid, not used for 90 days"), ("never", "valid, made over a day ago and never used"))

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        now = timezone.now()
        valid = queryset.filter(revoked_at=None, expires_at__gt=now)
        if value == "never":
            return valid.filter(last_used_at=None, created_at__lt=now - timedelta(days=1))
        long_ago = now - timedelta(days=90)
        return valid.filter(Q(last_used_at__lt=long_ago) | Q(last_used_at=None, created_at__lt=long_ago))


class ValidityFilter(filters.Choice):
    title = "state"
    parameter_name = "state"
    values = (("valid", "valid"), ("expired", "expired"), ("revoked", "revoked"))

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        now = timezone.now()
        if value == "revoked":
            return queryset.exclude(revoked_at=None)
        if value == "expired":
            return queryset.filter(revoked_at=None, expires_at__lte=now)
        return queryset.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def validity(row: ApiKey | BearerToken) -> str:
    """Return `valid`, `expired` or `revoked`."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= timezone.now() else "valid"


def _begins(secret: str) -> Q:
    """Return the condition that a secret begins in this way, as far as its beginning is stored. A letter is too few."""
    return Q(prefix__startswith=secret[:_STORED]) if len(secret) >= _FEWEST else Q(pk=None)


class KeyPage(base.LedgerPage):
    """Base of the pages of API keys and bearer tokens: the secret is not stored, only its first characters."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("digest")

    begins = base.column("begins with", lambda row: f"{row.prefix}…")
    state = base.column("state", lambda row: formats.pill(validity(row)))
    used = base.column("last used", lambda row: formats.moment(row.last_used_at))
    ends = base.column("expires", lambda row: formats.moment(row.expires_at))
    made = base.column("created", lambda row: formats.moment(row.created_at))


@admin.register(ApiKey)
class ApiKeyPage(KeyPage):
    """API keys of partner applications."""

    called = ("API key", "API keys")
    list_display = ("name", "begins", "state", "used", "ends", "made")
    list_filter = (ValidityFilter, filters.made("created_at", "created"))
    ordering = ("-created_at", "-pk")
    # Few rows.
    sorts = {
        "name": ("name", "pk"),
        "used": ("last_used_at", "pk"),
        "ends": ("expires_at", "pk"),
        "made": ("created_at", "pk"),
    }
    search_help_text = "part of the name, or how the key begins"
    empty = "No API key yet. Each partner's application needs one; it is shown once."
    csv_columns = (
        *attributes("name"),
        ("begins with", lambda key: key.prefix),
        ("state", validity),
        ("batches", lambda key: "yes" if key.batch_access else "no"),
        *attributes("last_used_at", "expires_at", "revoked_at", "created_at"),
    )

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(Q(name__icontains=term) | (self.with_id(term) or _begins(term)))

    def detail(self, request: HttpRequest, row: ApiKey) -> dict[str, Any]:
        return {
            "title": f"API key {row.name}",
            "facts": [
                Fact("state", formats.pill(validity(row))),
                Fact("begins with", f"{row.prefix}…", note="the rest is known to its owner only"),
                Fact("batches", "may send batches" if row.batch_access else "may send no batches"),
                Fact("last used", formats.full(row.last_used_at) or "never", note="recorded at most once an hour"),
                *requests_fact(request, "refused", "its requests that were refused", api_key=row.pk, status="refused"),
                *requests_fact(request, "requests", "all its requests", api_key=row.pk),
                Fact("expires", formats.full(row.expires_at) or "never"),
                Fact("revoked", formats.full(row.revoked_at) or "no"),
                Fact("created", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("id", row.pk),
            ],
        }


@admin.register(BearerToken)
class BearerTokenPage(KeyPage):
    """Bearer tokens, with which wallets authenticate after login."""

    list_display = ("begins", "holder", "state", "used", "ends", "made")
    list_filter = (filters.WalletFilter, ValidityFilter, UsedFilter, filters.made("created_at", "created"))
    ordering = ("-created_at", "-pk")
    sorts = {"made": ("created_at", "pk")}
    search_help_text = "how the secret part begins"
    empty = "No wallet has logged in yet. A partner's application gets a bearer token with a wallet's password."
    is_partners_work = True
    csv_columns = (
        ("secret part", lambda token: token.prefix),
        *attributes("wallet.name"),
        ("state", validity),
        ("API key", lambda token: token.api_key and token.api_key.name),
        *attributes("address", "last_used_at", "expires_at", "revoked_at", "created_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return (
            super()
            .get_queryset(request)
            .select_related("wallet", "api_key")
            .defer("digest", "wallet__password", "api_key__digest")
        )

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(self.with_id(term) or _begins(term.rpartition(".")[2]))

    begins = base.column("secret part", lambda row: f"{row.prefix}…")
    holder = base.column("wallet", lambda row: link(row.wallet))

    def detail(self, request: HttpRequest, row: BearerToken) -> dict[str, Any]:
        return {
            "title": f"Bearer token of {row.wallet.name}",
            "facts": [
                Fact("state", formats.pill(validity(row))),
                Fact(
                    "secret part",
                    f"{row.prefix}…",
                    note="how the part after the token's last dot begins; the rest is known to its owner only",
                ),
                Fact("wallet", link(row.wallet)),
                Fact("API key", link(row.api_key) if row.api_key else "not recorded", note="with which it logged in"),
                Fact("address", row.address or "not recorded", note="from which it logged in"),
                Fact("last used", formats.full(row.last_used_at) or "never", note="recorded at most once an hour"),
                Fact("expires", formats.full(row.expires_at), note=formats.ago(row.expires_at)),
                Fact("revoked", formats.full(row.revoked_at) or "no"),
                Fact("created", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("id", row.pk),
            ],
        }


class EndedFilter(filters.StateFilter):
    """Valid, expired or ended restricted keys."""

    title = "state"
    parameter_name = "state"
    values = (("valid", "valid"), ("expired", "expired"), ("ended", "ended"))

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        now = timezone.now()
        if value == "ended":
            return queryset.exclude(ended_at=None)
        if value == "expired":
            return queryset.filter(ended_at=None, expires_at__lte=now)
        return queryset.filter(Q(expires_at=None) | Q(expires_at__gt=now), ended_at=None)


def state_of_key(row: RestrictedKey) -> str:
    """Return `valid`, `expired` or `ended`."""
    if row.ended_at is not None:
        return "ended"
    return "expired" if row.expires_at is not None and row.expires_at <= timezone.now() else "valid"


@admin.register(RestrictedKey)
class RestrictedKeyPage(base.LedgerPage):
    """Restricted keys, which wallets make for programs. The secret is not stored, only its first characters."""

    list_display = ("called_by", "begins", "holder", "may", "state", "used", "ends", "made")
    list_filter = (filters.WalletFilter, EndedFilter, filters.made("created_at", "created"))
    ordering = ("-created_at", "-pk")
    sorts = {"made": ("created_at", "pk")}
    search_help_text = "part of the name, or how the key begins"
    empty = "No restricted key yet. Wallets make them."
    is_partners_work = True
    csv_columns = (
        *attributes("name"),
        ("begins with", lambda key: key.prefix),
        *attributes("wallet.name"),
        ("scopes", lambda key: " ".join(key.scopes)),
        ("networks", lambda key: " ".join(key.networks)),
        ("state", state_of_key),
        *attributes("tokens_per_transfer", "tokens_per_day", "last_used_at", "expires_at", "ended_at", "created_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("wallet").defer("digest", "wallet__password")

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(Q(name__icontains=term) | Q(prefix__startswith=term[:11]))

    called_by = base.column("name", lambda row: row.name)
    begins = base.column("begins with", lambda row: f"{row.prefix}…")
    holder = base.column("wallet", lambda row: link(row.wallet))
    may = base.column("scopes", lambda row: ", ".join(row.scopes))
    state = base.column("state", lambda row: formats.pill(state_of_key(row)))
    used = base.column("last used", lambda row: formats.moment(row.last_used_at))
    ends = base.column("expires", lambda row: formats.moment(row.expires_at))
    made = base.column("created", lambda row: formats.moment(row.created_at))

    def detail(self, request: HttpRequest, row: RestrictedKey) -> dict[str, Any]:
        reached = Wallet.objects.only("name").filter(pk__in=row.wallet_ids).order_by("name_key")
        limits = [
            *([f"{row.tokens_per_transfer:,} in one transfer"] if row.tokens_per_transfer else []),
            *([f"{row.tokens_per_day:,} in a day"] if row.tokens_per_day else []),
        ]
        spent = f"{row.spent:,} on {row.spent_on:%Y-%m-%d} (UTC)" if row.spent_on else "none moved yet"
        return {
            "title": f"Restricted key {row.name} of {row.wallet.name}",
            "facts": [
                Fact("state", formats.pill(state_of_key(row))),
                Fact("begins with", f"{row.prefix}…", note="the rest is known to its owner only"),
                Fact("wallet", link(row.wallet), note="which made it"),
                Fact("scopes", ", ".join(row.scopes)),
                Fact(
                    "reaches",
                    format_html_join(", ", "{}", ((link(wallet),) for wallet in reached)),
                    note="as long as the wallet that made it controls them",
                ),
                Fact("networks", ", ".join(row.networks) or "all"),
                Fact("most tokens", ", ".join(limits) or "no limit", note=spent if row.tokens_per_day else ""),
                Fact("last used", formats.full(row.last_used_at) or "never", note="recorded at most once an hour"),
                *requests_fact(
                    request,
                    "refused",
                    "its requests that were refused",
                    restricted_key=row.pk,
                    status="refused",
                ),
                *requests_fact(request, "requests", "all its requests", restricted_key=row.pk),
                Fact("expires", formats.full(row.expires_at) or "never"),
                Fact("ended", formats.full(row.ended_at) or "no"),
                Fact("created", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("id", row.pk),
            ],
        }
