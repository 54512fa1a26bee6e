"""The endpoints below `/webhooks`."""

from functools import partial
from typing import Any, Final
from uuid import UUID

from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request

from config.api import openapi, pagination
from config.api.authentication import caller
from config.api.openapi import NOTHING, Takes
from config.api.renderers import Response
from config.api.validation import path_id
from config.api.views import ApiViewSet
from config.api.webhooks import serializers
from wallets import errors as wallet_errors
from webhooks import errors, operations, queries
from webhooks.states import WEBHOOKS_PER_WALLET, WebhookState

_describe: Final = partial(openapi.describe, tag="webhooks", has_problems=True)
_WALLET_ERRORS: Final = [
    wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
    wallet_errors.InvalidWalletName("invalid wallet name:no body"),
    wallet_errors.WalletNotControlled("Wallet do not belongs to wallet logged in"),
]
_WRONG_URL: Final = errors.InvalidWebhookUrl('"url" must begin with https://')


class WebhookViewSet(ApiViewSet):
    """URLs to which the events of wallets are sent."""

    @_describe(
        "webhooks.list",
        "List webhooks",
        answers=serializers.WEBHOOK_PAGE,
        takes=Takes(query=serializers.WEBHOOKS_QUERY),
        refusals=_WALLET_ERRORS,
    )
    def list(self, request: Request) -> Response:
        """Lists the webhooks of the caller's wallet and of those that it manages, or of the one named `wallet`."""
        page = pagination.read(
            request, serializers.WALLET_FILTER, scope="webhooks", default_limit=serializers.DEFAULT_LIMIT
        )
        rows = queries.webhooks_visible_to(
            actor_id=caller(request).pk,
            wallet=page.values.get("wallet"),
            limit=page.fetch,
            offset=page.offset,
            after=pagination.by_creation(page.position),
        )
        return page.response("webhooks", rows, write=serializers.webhook, position=_key)

    @_describe(
        "webhooks.create",
        "Create a webhook",
        answers={201: serializers.WEBHOOK_WITH_SECRET},
        takes=Takes(body=serializers.NEW_BODY, examples={"Request": serializers.NEW_EXAMPLE}),
        refusals=[_WRONG_URL, errors.TooManyWebhooks(WEBHOOKS_PER_WALLET), *_WALLET_ERRORS],
    )
    @sensitive_variables("created")
    def create(self, request: Request) -> Response:
        """
        Creates a webhook for the events of a wallet: what happens from then on is sent to the URL. The answer has the
        secret of the signatures, and no later one does. A wallet has at most ten. A webhook that a manager creates for
        a wallet is disabled when the manager loses control of it.
        """
        values = serializers.NEW.read_body(request.data)
        created = operations.create(actor=caller(request), **values)
        return Response(serializers.webhook(created.webhook, secret=created.secret), status=201)

    @_describe(
        "webhooks.get",
        "Get a webhook",
        answers=serializers.WEBHOOK,
        takes=Takes(path=serializers.WEBHOOK_PATH),
        refusals=[errors.WebhookNotFound()],
    )
    def retrieve(self, request: Request, webhook_id: str) -> Response:
        """Returns a webhook of a wallet that the caller controls, without its secret."""
        row = queries.webhook_visible_to(actor_id=caller(request).pk, webhook_id=_id(webhook_id))
        return Response(serializers.webhook(row))

    @_describe(
        "webhooks.update",
        "Change a webhook",
        answers=serializers.WEBHOOK,
        takes=Takes(
            body=serializers.CHANGES_BODY,
            examples={"Request": serializers.CHANGES_EXAMPLE},
            path=serializers.WEBHOOK_PATH,
        ),
        refusals=[errors.WebhookNotFound(), _WRONG_URL, errors.UrlOfAnotherWallet()],
    )
    def partial_update(self, request: Request, webhook_id: str) -> Response:
        """
        Changes the URL, the types of events or the state of a webhook of a wallet that the caller controls. Deliveries
        that wait go to the new URL.
        """
        values = serializers.CHANGES.read_body(request.data)
        if "state" in values:
            values["state"] = WebhookState(values["state"])
        row = operations.change(actor=caller(request), webhook_id=_id(webhook_id), **values)
        return Response(serializers.webhook(row))

    @_describe(
        "webhooks.delete",
        "Delete a webhook",
        answers=serializers.DELETED,
        takes=Takes(path=serializers.WEBHOOK_PATH, is_idempotent=True),
        refusals=[errors.WebhookNotFound()],
    )
    def destroy(self, request: Request, webhook_id: str) -> Response:
        """Deletes a webhook of a wallet that the caller controls, and its deliveries. Nothing more is sent."""
        parsed = _id(webhook_id)
        operations.delete(actor=caller(request), webhook_id=parsed)
        return Response({"id": parsed, "deleted": True})

    @_describe(
        "webhooks.rotate_secret",
        "Rotate the secret of a webhook",
        answers=serializers.WEBHOOK_WITH_SECRET,
        takes=Takes(body=NOTHING, examples={"Request": {}}, path=serializers.WEBHOOK_PATH),
        refusals=[errors.WebhookNotFound(), errors.SecretOfAnotherWallet()],
    )
    @sensitive_variables("rotated")
    def rotate_secret(self, request: Request, webhook_id: str) -> Response:
        """
        Replaces the secret, and returns the new one. For 24 hours messages have a signature with each of the two, so
        that a receiver can change over without missing one. The caller controls the wallet that set the URL.
        """
        serializers.EMPTY.read_body(request.data)
        rotated = operations.rotate_secret(actor=caller(request), webhook_id=_id(webhook_id))
        return Response(serializers.webhook(rotated.webhook, secret=rotated.secret))

    @_describe(
        "webhooks.test",
        "Send a test",
        answers={202: serializers.DELIVERY},
        takes=Takes(body=NOTHING, examples={"Request": {}}, path=serializers.WEBHOOK_PATH),
        refusals=[errors.WebhookNotFound(), errors.WebhookIsDisabled()],
    )
    def test(self, request: Request, webhook_id: str) -> Response:
        """Sends a message of the type `webhook.test`, whatever types of events the webhook has, within seconds."""
        serializers.EMPTY.read_body(request.data)
        row = operations.send_test(actor=caller(request), webhook_id=_id(webhook_id))
        return Response(serializers.delivery(row), status=202)

    @_describe(
        "webhooks.deliveries",
        "List the deliveries of a webhook",
        answers=serializers.DELIVERY_PAGE,
        takes=Takes(query=serializers.DELIVERIES_QUERY, path=serializers.WEBHOOK_PATH),
        refusals=[errors.WebhookNotFound()],
    )
    def deliveries(self, request: Request, webhook_id: str) -> Response:
        """Lists the deliveries that are kept, by default for 30 days, the newest first, each with its last attempt."""
        parsed = _id(webhook_id)
        page = pagination.read(
            request,
            serializers.STATE_FILTER,
            scope="webhook deliveries",
            default_limit=serializers.DEFAULT_LIMIT,
            parameters=[parsed],
        )
        rows = queries.deliveries_of(
            webhook=queries.webhook_visible_to(actor_id=caller(request).pk, webhook_id=parsed),
            state=page.values.get("state"),
            limit=page.fetch,
            offset=page.offset,
            before=pagination.by_creation(page.position),
        )
        return page.response("deliveries", rows, write=serializers.delivery, position=_key)

    @_describe(
        "webhooks.resend",
        "Send a delivery again",
        answers={202: serializers.DELIVERY},
        takes=Takes(body=NOTHING, examples={"Request": {}}, path=serializers.DELIVERY_PATH),
        refusals=[errors.WebhookNotFound(), errors.DeliveryNotFound(), errors.WebhookIsDisabled()],
    )
    def resend(self, request: Request, webhook_id: str, delivery_id: str) -> Response:
        """
        Sends a message again within seconds, under the same `webhook-id`, whether it arrived or not, and begins the
        schedule of retries anew.
        """
        serializers.EMPTY.read_body(request.data)
        row = operations.resend(
            actor=caller(request), webhook_id=_id(webhook_id), delivery_id=path_id("delivery_id", delivery_id)
        )
        return Response(serializers.delivery(row), status=202)


def _id(webhook_id: str) -> UUID:
    return path_id("webhook_id", webhook_id)


def _key(row: Any) -> list[Any]:
    return [row.created_at, row.pk]
