"""
Known origins: the addresses and API keys from which accounts have logged in, as keyed digests, the newest of each
account.

A client from a known origin is not refused because others guessed the account's password too often
(`config.api.throttles`). An origin grants nothing else. It is kept when the password changes; otherwise an attacker who
keeps guessing could lock the owner out from then on. It is stored in PostgreSQL, so that an empty Redis forgets none.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from wallets.models import KnownOrigin
from wallets.states import OriginMeans

KEPT: Final = timedelta(days=90)
# Limits the guesses from clients that share an origin with the owner of the account.
AT_MOST: Final[Mapping[OriginMeans, int]] = {OriginMeans.ADDRESS: 16, OriginMeans.API_KEY: 4}

Origins = Mapping[OriginMeans, str]


def _digest(means: str, value: str) -> bytes:
    return salted_hmac("wallets.origins", f"{means}:{value}", algorithm="sha256").digest()


def known(*, kind: str, account: str, origins: Origins) -> list[OriginMeans]:
    """Return those of the origins from which the account has logged in within 90 days."""
    digests = {_digest(means, value): means for means, value in origins.items()}
    found = KnownOrigin.objects.filter(
        kind=kind, account=account, digest__in=list(digests), last_login_at__gt=Now() - KEPT
    ).values_list("digest", flat=True)
    return sorted(digests[bytes(digest)] for digest in found)


def remember(*, kind: str, account: str, origins: Origins) -> None:
    """Record that the account has logged in from the origins, at most once a day. The newest of each means are kept."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO wallets_knownorigin AS known (kind, account, means, digest, last_login_at)"
            " SELECT %s, %s, means, digest, now() FROM unnest(%s::text[], %s::bytea[]) AS origin (means, digest)"
            "  ORDER BY digest"
            " ON CONFLICT (kind, account, digest) DO UPDATE SET last_login_at = now()"
            "  WHERE known.last_login_at < now() - interval '1 day'"
            " RETURNING id",
            [kind, account, [str(means) for means in origins], [_digest(*origin) for origin in origins.items()]],
        )
        if cursor.fetchone() is None:
            return
        for means in origins:
            cursor.execute(
                "DELETE FROM wallets_knownorigin WHERE id = ANY (ARRAY("
                "SELECT id FROM wallets_knownorigin WHERE kind = %s AND account = %s AND means = %s"
                " ORDER BY last_login_at DESC, id DESC OFFSET %s FOR UPDATE SKIP LOCKED))",
                [kind, account, str(means), AT_MOST[means]],
            )


def expired() -> QuerySet[KnownOrigin]:
    """Return the rows that have expired."""
    return KnownOrigin.objects.filter(last_login_at__lt=Now() - KEPT)
