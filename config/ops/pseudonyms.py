"""
Pseudonymise a closed wallet: the ledger stays whole, and no longer says whose wallet it was.

A wallet can be closed when it holds nothing and nothing waits for it (`what_is_left`). Its name becomes `closed-<id>`;
texts, images, password, logins, restricted keys, addresses and webhooks go. Where its name, or what an operator wrote
about it, was copied, the copy is rewritten in the same transaction: in events, also those of other wallets, in the
operators' log and their proposals, and in what an import read. docs/operations.md lists what remains until its
retention ends.

No lock delays requests that began before it. One of the wallet, authenticated with a login that has ended since, or one
of another wallet that has read the old name, may commit texts, logins or copies of the name afterwards. So the old name
is stored in `FormerName`, and `finish`, which beat calls, erases all of this again: `IN_FLIGHT_SECONDS` later, and not
while a transaction is open that began before then, or of which it cannot see when it began. It also deletes the old
name.

Events and the operators' log are append-only; their triggers let this module alone rewrite these columns
(`coppice.pseudonymises`, a setting of the transaction).
"""

import logging
import secrets
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q

from config.admin.models import FormerName
from transfers.models import ApprovalChange
from wallets import errors, images, names
from wallets.models import BearerToken, IdempotentAnswer, KnownOrigin, RestrictedKey, Wallet
from wallets.operator_log import thing
from wallets.wording import counted
from webhooks.models import Webhook, WebhookDelivery

log = logging.getLogger("coppice.admin")

# After this time a request that began before has begun its last transaction.
IN_FLIGHT_SECONDS: Final = 120
_TOKENS_COUNTED: Final = 1000
# What keeps a wallet open, by its words; each is read by an index.
_LEFT: Final = {
    "token": "SELECT count(*) FROM (SELECT FROM wallets_token WHERE wallet_id = %(id)s LIMIT %(tokens)s) AS few",
    "open transfer": (
        "SELECT count(*) FROM transfers_transfer WHERE state <> 'completed' AND state IN ('requested', 'pending')"
        " AND (source_id = %(id)s OR destination_id = %(id)s)"
    ),
    "active claim link": "SELECT count(*) FROM transfers_actiontoken WHERE sender_id = %(id)s AND state = 'active'",
    "open trust": (
        # `number > 0` always holds. PostgreSQL uses the indexes of both sides only with this condition, and none of
        # open trusts, which it may read whole, if the states are no constants.
        "SELECT count(*) FROM (SELECT state FROM trusts_trust WHERE actor_id = %(id)s AND number > 0 UNION ALL"
        " SELECT state FROM trusts_trust WHERE target_id = %(id)s AND number > 0) AS trust"
        " WHERE state IN ((SELECT 'requested'), (SELECT 'trusted'))"
    ),
    "coin": (
        "SELECT count(*) FROM lockers_coin WHERE wallet_id = %(id)s"
        " AND state NOT IN ('counterfeit', 'sent', 'broken', 'void', 'missed')"
    ),
    "open task": (
        "SELECT count(*) FROM lockers_lockertask WHERE wallet_id = %(id)s AND state NOT IN ('completed', 'error')"
    ),
    "open payment request": (
        "SELECT count(*) FROM lockers_paymentrequest WHERE wallet_id = %(id)s AND state IN ('open', 'partly_paid')"
    ),
}
# The fields of the payload of an event that are the name of a wallet. A name never belongs to another wallet.
_NAMES_IN_EVENTS: Final = (
    "walletSender", "walletReceiver", "managerWallet", "requesterWallet", "requesteeWallet", "childWallet", "wallet",
)  # fmt: skip


def pseudonym(wallet_id: UUID) -> str:
    """Return the name of a wallet that was pseudonymised. A longer one is chosen if another wallet has it."""
    return f"closed-{wallet_id.hex}"


def is_pseudonymised(wallet: Wallet) -> bool:
    """Return whether the wallet was pseudonymised."""
    return wallet.name.startswith(pseudonym(wallet.pk))


def what_is_left(wallet_id: UUID) -> list[str]:
    """Return in words what keeps a wallet from being closed, an empty list if nothing does."""
    found = []
    with connection.cursor() as cursor:
        for what, statement in _LEFT.items():
            cursor.execute(statement, {"id": wallet_id, "tokens": _TOKENS_COUNTED})
            if count := cursor.fetchone()[0]:
                is_more = what == "token" and count == _TOKENS_COUNTED
                found.append(f"{counted(count, what)} or more" if is_more else counted(count, what))
    return found


def pseudonymise(*, wallet_id: UUID) -> str:
    """
    Pseudonymise a wallet that nothing keeps open, and return its new name. Done again, nothing changes.

    :raises wallets.errors.NotPossible: it still holds something, or something waits for it
    """
    new = pseudonym(wallet_id)
    if Wallet.objects.filter(name_key=names.name_key(new)).exclude(pk=wallet_id).exists():
        new += f"-{secrets.token_hex(8)}"
    with transaction.atomic():
        # Trusts of a wallet, logins and changes of its password lock it too.
        wallet = Wallet.objects.select_for_update(no_key=True).get(pk=wallet_id)
        if is_pseudonymised(wallet):
            return wallet.name
        if left := what_is_left(wallet_id):
            raise errors.NotPossible(f"The wallet still has: {', '.join(left)}.")
        _remember(wallet)
        _erase(wallet, old=wallet.name, new=new)
    return new


def finish() -> int:
    """Erase again what identifies the owners of pseudonymised wallets, where that is due. Return how many."""
    return sum(_finish(each) for each in FormerName.objects.values_list("pk", flat=True))


def _finish(wallet_id: UUID) -> bool:
    with transaction.atomic():
        # In the order of `pseudonymise`. The run before may have it locked for minutes: no worker waits.
        wallet = Wallet.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=wallet_id).first()
        if wallet is None:
            return False
        with connection.cursor() as cursor:
            cursor.execute(_DUE, {"id": wallet_id})
            found = cursor.fetchone()
        if found is None:
            return False
        former, older, hidden = found
        if older or hidden:
            log.warning(
                "the second erasure of pseudonymised wallet %s waits for the end of %d older transactions, and of %d"
                " whose begin is hidden without pg_read_all_stats",
                wallet_id, older, hidden,
            )  # fmt: skip
            return False
        _erase(wallet, old=former, new=wallet.name)
        FormerName.objects.filter(pk=wallet_id).delete()
    return True


def _remember(wallet: Wallet) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_REMEMBER, {"id": wallet.pk, "name": wallet.name, "seconds": IN_FLIGHT_SECONDS})


def _erase(wallet: Wallet, *, old: str, new: str) -> None:
    """Replace the name of a locked wallet and its copies, and delete all else that identifies its owner."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        # Copies of the name have no index.
        cursor.execute("SET LOCAL enable_seqscan = on")
        cursor.execute("SET LOCAL coppice.pseudonymises = 'on'")
        arguments: dict[str, Any] = {
            "id": wallet.pk,
            "old": old,
            "old_key": names.name_key(old),
            "new": new,
            "names": list(_NAMES_IN_EVENTS),
            "thing": thing("wallet", wallet.pk),
        }
        for statement in (_EVENTS, _ACTIONS, _PROPOSALS, _IMPORTED):
            cursor.execute(statement, arguments)
        cursor.execute("SET LOCAL coppice.pseudonymises = 'off'")
    _forget(wallet)
    stored = [images.own_name(url, wallet_id=wallet.pk) for url in (wallet.logo_url, wallet.cover_url)]
    Wallet.objects.filter(pk=wallet.pk).update(
        name=new,
        name_key=names.name_key(new),
        password="",
        about="",
        display_name="",
        logo_url=None,
        cover_url=None,
        approval_above=None,
        approval_of_new_receivers=None,
    )
    for name in stored:
        if name is not None:
            transaction.on_commit(partial(images.delete, name))


def _forget(wallet: Wallet) -> None:
    """Delete logins with their addresses, restricted keys, known origins, stored answers and webhooks."""
    BearerToken.objects.filter(wallet=wallet).delete()
    RestrictedKey.objects.filter(wallet=wallet).delete()
    ApprovalChange.objects.filter(wallet=wallet).delete()
    KnownOrigin.objects.filter(kind="wallet", account=str(wallet.pk)).delete()
    IdempotentAnswer.objects.filter(wallet=wallet).delete()
    # Each condition has an index; joined with deliveries, or by OR, all rows may be read.
    own = Webhook.objects.filter(wallet=wallet).values_list("pk", flat=True)
    others = Webhook.objects.filter(~Q(owner=F("wallet")), owner=wallet).values_list("pk", flat=True)
    for webhook_id in {*own, *others}:
        WebhookDelivery.objects.filter(webhook=webhook_id)._raw_delete("default")
        Webhook.objects.filter(pk=webhook_id).delete()


_REMEMBER: Final = """
INSERT INTO desk_formername (wallet_id, name, due_at)
VALUES (%(id)s, %(name)s, clock_timestamp() + make_interval(secs => %(seconds)s))
"""
# The old name, if it is due, and the numbers of open transactions of other sessions that began before, and that may
# have: without pg_read_all_stats, the begin is hidden for sessions of other roles. Locks are not hidden, and each open
# transaction holds a lock on its virtual transaction id. Background processes have no role.
_DUE: Final = """
SELECT former.name, open.older, open.hidden
  FROM desk_formername AS former
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE xact_start < former.due_at) AS older,
              count(*) FILTER (WHERE xact_start IS NULL) AS hidden
         FROM pg_locks JOIN pg_stat_activity AS session USING (pid)
        WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND datname = current_database()
          AND usesysid IS NOT NULL AND pid <> pg_backend_pid()) AS open
 WHERE wallet_id = %(id)s AND due_at < clock_timestamp()
"""
# Another wallet may have the old name now: an event that is not older than that wallet may name it, and is not changed.
_EVENTS: Final = """
UPDATE wallets_event AS event
   SET payload = (
           SELECT jsonb_object_agg(key, CASE WHEN key = ANY (%(names)s::text[]) AND value = to_jsonb(%(old)s::text)
                                             THEN to_jsonb(%(new)s::text)
                                             WHEN key = 'keyName' AND event.wallet_id = %(id)s THEN to_jsonb(''::text)
                                             ELSE value END)
             FROM jsonb_each(event.payload))
 WHERE EXISTS (SELECT FROM unnest(%(names)s::text[]) AS name WHERE event.payload ->> name = %(old)s)
       AND NOT EXISTS (SELECT FROM wallets_wallet AS other WHERE other.name_key = %(old_key)s AND other.id <> %(id)s
                          AND other.created_at <= event.created_at)
    OR event.wallet_id = %(id)s AND event.payload ->> 'keyName' <> ''
"""
# What an operator wrote about the wallet, except the reason to pseudonymise it, and what the confirmation showed.
_ACTIONS: Final = """
UPDATE wallets_operatoraction
   SET object_label = CASE WHEN object_kind = 'wallet' AND object_id = %(id)s::text THEN %(new)s
                           ELSE left(replace(object_label, %(old)s, %(new)s), 254) END,
       reason = '',
       before = replace(before::text, to_json(%(old)s::text)::text, to_json(%(new)s::text)::text)::jsonb - 'reason',
       after = replace(after::text, to_json(%(old)s::text)::text, to_json(%(new)s::text)::text)::jsonb
               - ARRAY['will', 'proposed_for']
 WHERE things @> ARRAY[%(thing)s]::varchar[] AND verb <> 'pseudonymised_wallet'
"""
# Proposals of actions on the wallet and its tasks: the log names both. The input of an open one is sealed, and stays.
_PROPOSALS: Final = """
UPDATE desk_proposal SET title = left(replace(title, %(old)s, %(new)s), 254), shown = '[]', reason = ''
 WHERE object_id = %(id)s::text
    OR 'proposal:' || id IN (
           SELECT unnest(things) FROM wallets_operatoraction WHERE things @> ARRAY[%(thing)s]::varchar[])
"""
_IMPORTED: Final = """
UPDATE treetracker_import_importedrow
   SET source = jsonb_build_object('name', %(new)s::text), written = jsonb_build_object('name', %(new)s::text),
       note = ''
 WHERE kind = 'wallet' AND source_id = %(id)s
"""
