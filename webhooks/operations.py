"""
Changing webhooks, and sending again.

Rights: a wallet that controls the wallet of the events may do everything, except that the secret is only for those who
control the wallet that set the URL (`Webhook.owner`). Events are sent to a URL only while the wallet that set it
controls the wallet of the events: `disable_without_control`, the fan-out and each claim of a delivery check that.

Lock order: the trust that gives the control, the webhook, its deliveries.
"""

import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from transfers import events
from trusts import queries as trusts
from wallets import operations as wallet_operations
from wallets import queries as wallets
from wallets.errors import WalletNotControlled
from wallets.models import Wallet
from wallets.sql_files import load
from wallets.states import EventType
from webhooks import addresses, secrets
from webhooks.errors import (
    DeliveryNotFound,
    SecretOfAnotherWallet,
    TooManyWebhooks,
    UrlOfAnotherWallet,
    WebhookIsDisabled,
    WebhookNotFound,
)
from webhooks.messages import body_of, test_event
from webhooks.models import Webhook, WebhookDelivery, WebhookMessage
from webhooks.states import (
    OLD_SECRET_IS_VALID,
    TEST_TYPE,
    WEBHOOKS_PER_WALLET,
    DeliveryState,
    DisabledBy,
    WebhookState,
)

# The first key of the advisory locks under which the webhooks of a wallet are counted.
_COUNTING: Final = 20261205
# A receiver that is down for days may leave a million.
_CANCELLED_AT_ONCE: Final = 5000


class NewSecret(NamedTuple):
    """A webhook with its new secret, which is readable only now."""

    webhook: Webhook
    secret: str

    def __repr__(self) -> str:
        return f"NewSecret(webhook={self.webhook!r})"


@sensitive_variables("secret")
def create(*, actor: Wallet, url: str, wallet: str | None = None, event_types: Collection[str] = ()) -> NewSecret:
    """
    Create a webhook for the events of the named wallet, or of the actor's; of some types, or of all.

    :raises InvalidWebhookUrl: the URL cannot be called
    :raises InvalidWalletName, WalletNotFound, WalletNotControlled: `wallet` is no wallet that the actor controls
    :raises TooManyWebhooks: the wallet has as many as it may have
    """
    addresses.read(url)
    of = actor if wallet is None else wallets.wallet_by_name_or_id(wallet)
    with transaction.atomic(savepoint=False):
        if not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=of.pk):
            raise WalletNotControlled("Wallet do not belongs to wallet logged in")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_COUNTING, str(of.pk)])
        if Webhook.objects.filter(wallet=of).count() >= WEBHOOKS_PER_WALLET:
            raise TooManyWebhooks(WEBHOOKS_PER_WALLET)
        webhook_id = uuid.uuid4()
        secret, sealed = secrets.new(webhook_id=webhook_id)
        webhook = Webhook.objects.create(
            id=webhook_id,
            wallet=of,
            owner=actor,
            url=url,
            event_types=sorted(set(event_types)),
            secret=sealed,
            after_number=_settled(),
        )
        webhook.refresh_from_db(fields=["created_at", "changed_at"])
    return NewSecret(webhook, secret)


def _settled() -> int:
    """Return the number up to which all events have happened, and begin the fan-out there if it never ran."""
    number = events.settled_number()
    with connection.cursor() as cursor:
        cursor.execute(load("webhooks", "begin_fan_out"), {"number": number})
    return number


def _locked(*, actor: Wallet, webhook_id: UUID, is_to_delete: bool = False) -> Webhook:
    """
    Return a webhook whose row is locked until commit, and the trust by which the actor controls its wallet.

    :raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control
    """
    wallet_id = Webhook.objects.filter(pk=webhook_id).values_list("wallet_id", flat=True).first()
    if wallet_id is None or not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=wallet_id):
        raise WebhookNotFound
    return lock(webhook_id, is_to_delete=is_to_delete)


def lock(webhook_id: UUID, *, is_to_delete: bool = False) -> Webhook:
    """
    Return a webhook whose row is locked until commit; to delete it, after those who create deliveries of it.

    :raises WebhookNotFound: no such webhook
    """
    rows = Webhook.objects.select_for_update(no_key=not is_to_delete, of=("self",)).select_related("wallet", "owner")
    webhook = rows.filter(pk=webhook_id).first()
    if webhook is None:
        raise WebhookNotFound
    return webhook


def change(
    *,
    actor: Wallet,
    webhook_id: UUID,
    url: str | None = None,
    event_types: Collection[str] | None = None,
    state: WebhookState | None = None,
) -> Webhook:
    """
    Change what is given. Who sets a URL becomes its owner. A webhook that is enabled gets what happens from then on.

    :raises InvalidWebhookUrl: the URL cannot be called
    :raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control
    :raises UrlOfAnotherWallet: it cannot be enabled, because its owner no longer controls the wallet
    """
    if url is not None:
        addresses.read(url)
    with transaction.atomic(savepoint=False):
        webhook = _locked(actor=actor, webhook_id=webhook_id)
        if url is not None:
            webhook.url, webhook.owner = url, actor
        if event_types is not None:
            webhook.event_types = sorted(set(event_types))
        webhook.save(update_fields=["url", "owner", "event_types"])
        if state is WebhookState.DISABLED:
            disable(webhook, by=DisabledBy.REQUEST)
        elif state is WebhookState.ENABLED:
            enable(webhook)
        Webhook.objects.filter(pk=webhook.pk).update(changed_at=Now())
        webhook.refresh_from_db(fields=["changed_at"])
    return webhook


def enable(webhook: Webhook) -> None:
    """
    Enable a webhook whose row is locked. No effect if it is enabled.

    :raises UrlOfAnotherWallet: its owner no longer controls the wallet
    """
    if webhook.state == WebhookState.ENABLED:
        return
    if not trusts.controls_until_commit(actor_id=webhook.owner_id, wallet_id=webhook.wallet_id):
        raise UrlOfAnotherWallet
    # What `cancel_of_disabled` has left.
    while _cancel_pending(webhook):
        pass
    webhook.state, webhook.disabled_by, webhook.disabled_at = WebhookState.ENABLED, "", None
    webhook.failing_since, webhook.after_number = None, _settled()
    webhook.save(update_fields=["state", "disabled_by", "disabled_at", "failing_since", "after_number"])


def disable(webhook: Webhook, *, by: DisabledBy) -> None:
    """
    Disable a webhook whose row is locked, and cancel pending deliveries of it. No effect if it is disabled.

    Nothing more is sent. If there are many, `cancel_of_disabled` cancels the others. The wallet gets an event, except
    at its own request.
    """
    if webhook.state == WebhookState.DISABLED:
        return
    Webhook.objects.filter(pk=webhook.pk).update(
        state=WebhookState.DISABLED, disabled_by=by, disabled_at=Now(), changed_at=Now()
    )
    webhook.refresh_from_db(fields=["state", "disabled_by", "disabled_at", "changed_at"])
    _cancel_pending(webhook)
    if by is not DisabledBy.REQUEST:
        payload = {"webhookId": webhook.pk, "disabledBy": by.value}
        wallet_operations.record_events([(webhook.wallet_id, EventType.WEBHOOK_DISABLED, payload)])


def _cancel_pending(webhook: Webhook) -> int:
    """Cancel some pending deliveries of a webhook whose row is locked, and return how many; 0 if none is left."""
    with connection.cursor() as cursor:
        cursor.execute(load("webhooks", "cancel_pending"), {"webhook": webhook.pk, "most": _CANCELLED_AT_ONCE})
        return int(cursor.rowcount)


def cancel_of_disabled() -> int:
    """
    Cancel some pending deliveries of each disabled webhook, and return how many.

    There are such deliveries if there were many when it was disabled, or if the fan-out did not see that it was.
    """
    with connection.cursor() as cursor:
        cursor.execute(load("webhooks", "waiting_and_disabled", waiting=load("webhooks", "parts/waiting")))
        found = [row[0] for row in cursor.fetchall()]
    number = 0
    for webhook_id in found:
        # It may be deleted or enabled meanwhile.
        with suppress(WebhookNotFound), transaction.atomic():
            webhook = lock(webhook_id)
            if webhook.state == WebhookState.DISABLED:
                number += _cancel_pending(webhook)
    return number


def disable_without_control() -> int:
    """Disable webhooks whose owner no longer controls the wallet of the events; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(load("webhooks", "without_control"))
        found = [row[0] for row in cursor.fetchall()]
    number = 0
    for webhook_id in found:
        # It may be deleted meanwhile.
        with suppress(WebhookNotFound), transaction.atomic():
            webhook = lock(webhook_id)
            if not trusts.controls_until_commit(actor_id=webhook.owner_id, wallet_id=webhook.wallet_id):
                disable(webhook, by=DisabledBy.CONTROL_LOST)
                number += 1
    return number


def delete(*, actor: Wallet, webhook_id: UUID) -> None:
    """
    Delete a webhook and its deliveries.

    :raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control
    """
    with transaction.atomic(savepoint=False):
        webhook = _locked(actor=actor, webhook_id=webhook_id, is_to_delete=True)
        WebhookDelivery.objects.filter(webhook=webhook)._raw_delete("default")
        webhook.delete()


@sensitive_variables("secret")
def rotate_secret(*, actor: Wallet, webhook_id: UUID) -> NewSecret:
    """
    Replace the secret. The one before signs too for another 24 hours; an earlier one no longer.

    :raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control
    :raises SecretOfAnotherWallet: a wallet that the actor does not control set the URL
    """
    with transaction.atomic(savepoint=False):
        webhook = _locked(actor=actor, webhook_id=webhook_id)
        if not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=webhook.owner_id):
            raise SecretOfAnotherWallet
        secret, sealed = secrets.new(webhook_id=webhook.pk)
        Webhook.objects.filter(pk=webhook.pk).update(
            secret=sealed,
            previous_secret=webhook.secret,
            previous_until=Now() + OLD_SECRET_IS_VALID,
            changed_at=Now(),
        )
        webhook.refresh_from_db(fields=["previous_until", "changed_at"])
    return NewSecret(webhook, secret)


def send_test(*, actor: Wallet, webhook_id: UUID) -> WebhookDelivery:
    """
    Send a message of the type `webhook.test`, whatever types the webhook has.

    :raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control
    :raises WebhookIsDisabled: it is disabled
    """
    with transaction.atomic(savepoint=False):
        return test(_locked(actor=actor, webhook_id=webhook_id))


def test(webhook: Webhook) -> WebhookDelivery:
    """
    Send a test to a webhook whose row is locked.

    :raises WebhookIsDisabled: it is disabled
    """
    _refuse_disabled(webhook)
    event = test_event(webhook)
    message = WebhookMessage.objects.create(id=event.id, type=TEST_TYPE, body=body_of(event))
    delivery = WebhookDelivery.objects.create(webhook=webhook, message=message)
    delivery.refresh_from_db(fields=["created_at", "due_at"])
    return delivery


def resend(*, actor: Wallet, webhook_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    """
    Send a message again now, under the same id, with the whole schedule of retries.

    :raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control
    :raises DeliveryNotFound: it has no such delivery
    :raises WebhookIsDisabled: it is disabled
    """
    with transaction.atomic(savepoint=False):
        return send_again(_locked(actor=actor, webhook_id=webhook_id), delivery_id)


def send_again(webhook: Webhook, delivery_id: UUID) -> WebhookDelivery:
    """
    Send a message again to a webhook whose row is locked.

    An attempt that is in flight loses its claim: its result is not stored.

    :raises DeliveryNotFound: the webhook has no such delivery
    :raises WebhookIsDisabled: it is disabled
    """
    rows = WebhookDelivery.objects.select_for_update(no_key=True, of=("self",)).select_related("message")
    delivery = rows.filter(webhook=webhook, pk=delivery_id).first()
    if delivery is None:
        raise DeliveryNotFound
    _refuse_disabled(webhook)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.PENDING, failures=0, due_at=Now(), lease_until=None
    )
    delivery.refresh_from_db(fields=["state", "failures", "due_at", "lease_until"])
    return delivery


def _refuse_disabled(webhook: Webhook) -> None:
    if webhook.state == WebhookState.DISABLED:
        raise WebhookIsDisabled


def fan_out() -> int:
    """
    Create the deliveries of events that have happened since the last call, and return how many events were read.

    Events are read in the order of the feed, up to its settled position, each exactly once: the position of the fan-out
    moves in the transaction that creates the deliveries. Of concurrent calls one works.
    """
    # Read before, in its own statement (`wallets.event_sequence`).
    settled = events.settled_number()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(load("webhooks", "begin_fan_out"), {"number": settled})
        cursor.execute("SELECT number FROM webhooks_fanout WHERE id = 1 FOR NO KEY UPDATE SKIP LOCKED")
        row = cursor.fetchone()
        if row is None or row[0] >= settled:
            return 0
        after = int(row[0])
        upto = min(settled, after + _NUMBERS_AT_ONCE)
        cursor.execute("SELECT EXISTS (SELECT FROM webhooks_webhook WHERE state = 'enabled')")
        is_used = cursor.fetchone() == (True,)
        wallet_ids = _subscribed(events.wallets_between(after=after, upto=upto)) if is_used else []
        rows = events.events_between(wallet_ids=wallet_ids, after=after, upto=upto) if wallet_ids else []
        if rows:
            _store(rows)
        cursor.execute("UPDATE webhooks_fanout SET number = %s WHERE id = 1", [upto])
    return upto - after


def _subscribed(wallet_ids: Sequence[UUID]) -> list[UUID]:
    """Return those of the wallets that have an enabled webhook."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT wallet_id FROM webhooks_webhook WHERE wallet_id = ANY (%s) AND state = 'enabled'",
            [list(wallet_ids)],
        )
        return [row[0] for row in cursor.fetchall()]


# Numbers of events in one transaction of the fan-out.
_NUMBERS_AT_ONCE: Final = 1000


def _store(rows: Sequence[events.EventRow]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            load("webhooks", "fan_out"),
            {
                "ids": [row.id for row in rows],
                "numbers": [row.number for row in rows],
                "wallets": [row.wallet_id for row in rows],
                "types": [row.type for row in rows],
                "bodies": [body_of(row) for row in rows],
            },
        )
