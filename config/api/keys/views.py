"""The endpoints `/keys`: restricted keys of the caller's wallet."""

from functools import partial
from typing import Any, Final

from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request

from config.api import openapi, pagination
from config.api.authentication import bearer_token_id, caller
from config.api.keys import serializers
from config.api.openapi import Takes
from config.api.renderers import Response
from config.api.validation import path_id
from config.api.views import ApiViewSet
from trusts import restricted_keys as making
from wallets import errors, restricted_keys

_describe: Final = partial(openapi.describe, tag="keys", has_problems=True)


class KeyViewSet(ApiViewSet):
    """Credentials that a wallet creates for programs, with a part of its rights."""

    @_describe(
        "keys.list",
        "List restricted keys",
        answers=serializers.KEY_PAGE,
        takes=Takes(query=serializers.PAGE_QUERY),
    )
    def list(self, request: Request) -> Response:
        """
        Lists the restricted keys of the caller's wallet, the newest first. Keys that have
        ended are listed for some time, 30 days by default.
        """
        page = pagination.read(request, scope="keys", default_limit=serializers.DEFAULT_LIMIT)
        rows = restricted_keys.keys_page(
            wallet=caller(request), limit=page.fetch, offset=page.offset, after=pagination.by_creation(page.position)
        )
        return page.response("keys", rows, write=serializers.key, position=lambda row: [row.created_at, row.pk])

    @_describe(
        "keys.create",
        "Create a restricted key",
        answers={201: serializers.KEY_WITH_SECRET},
        takes=Takes(body=serializers.NEW_BODY, examples={"Request": serializers.NEW_EXAMPLE}),
        refusals=[
            errors.WalletNotFound("Could not find entity by wallet name: oakwood"),
            errors.InvalidWalletName("invalid wallet name:no body"),
            errors.WalletNotControlled("Wallet do not belongs to wallet logged in"),
            errors.InvalidNetwork("203.0.113.7/24"),
            errors.ContradictoryKey("A key has transfers:write or transfers:pending-only, not both"),
            errors.TooManyRestrictedKeys(restricted_keys.PER_WALLET),
            errors.SessionNotFound(),
        ],
    )
    @sensitive_variables("made")
    def create(self, request: Request) -> Response:
        """
        Creates a key that a program sends in place of a bearer token. Its scopes say which operations it may use.
        It can be used for those of its wallets that the caller controls at that time, and from its networks. The
        response contains the secret; no later one does. A wallet has at most 50 valid keys. Keys stay valid when the
        password changes: end them with `keys.end`.
        """
        values = serializers.NEW.read_body(request.data)
        made = making.create(actor=caller(request), made_with=bearer_token_id(request), **values)
        return Response(serializers.key(made.row, secret=made.secret), status=201)

    @_describe(
        "keys.get",
        "Show a restricted key",
        answers=serializers.KEY,
        takes=Takes(path=serializers.KEY_PATH),
        refusals=[errors.RestrictedKeyNotFound()],
    )
    def retrieve(self, request: Request, key_id: str) -> Response:
        """Returns a restricted key of the caller's wallet, valid or not, without its secret."""
        row = restricted_keys.key_of(wallet=caller(request), key_id=path_id("key_id", key_id))
        return Response(serializers.key(row))

    @_describe(
        "keys.rename",
        "Rename a restricted key",
        answers=serializers.KEY,
        takes=Takes(
            body=serializers.CHANGES_BODY, examples={"Request": {"name": "the old shop"}}, path=serializers.KEY_PATH
        ),
        refusals=[errors.RestrictedKeyNotFound()],
    )
    def rename(self, request: Request, key_id: str) -> Response:
        """Gives a restricted key of the caller's wallet another name. What it may do never changes."""
        parsed = path_id("key_id", key_id)
        values: dict[str, Any] = serializers.CHANGES.read_body(request.data)
        return Response(serializers.key(restricted_keys.rename(wallet=caller(request), key_id=parsed, **values)))

    @_describe(
        "keys.end",
        "End a restricted key",
        answers=serializers.KEY,
        takes=Takes(path=serializers.KEY_PATH, is_idempotent=True),
        refusals=[errors.RestrictedKeyNotFound()],
    )
    def end(self, request: Request, key_id: str) -> Response:
        """
        Ends a restricted key of the caller's wallet: it is refused from now on. Transfers that it made stay, and so do
        webhooks, which `webhooks.list` shows.
        """
        row = restricted_keys.end(wallet=caller(request), key_id=path_id("key_id", key_id))
        return Response(serializers.key(row))
