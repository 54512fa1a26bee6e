"""The endpoints `/action-tokens`: claim links, by the names of the public service's next edition."""

from functools import partial
from typing import Any
from uuid import UUID

from rest_framework.request import Request

from config.api import claim_limits, key_scopes, parsers
from config.api import error_codes as codes
from config.api.authentication import Anonymous, caller
from config.api.errors import Invalid, RequestRefused
from config.api.openapi import Access, Files, Takes, describe
from config.api.pools import Pool, answered_on
from config.api.renderers import FileRenderer, Response
from config.api.treetracker import action_token_serializers as serializers
from config.api.treetracker import transfer_serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from config.web import claim_links
from config.web.addresses import client_address
from transfers import action_token_lists, action_tokens, bulk, errors
from wallets import errors as wallet_errors
from wallets import queries as wallet_queries

_NOBODY = UUID("11111111-1111-4111-8111-111111111111")
_NO_WALLET = wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody")
_INVALID_NAME = wallet_errors.InvalidWalletName("invalid wallet name:no body")
_NOT_YOURS = wallet_errors.WalletNotControlled("Wallet does not belong to the logged in wallet")
_TOO_MANY = RequestRefused(codes.TOO_MANY_WRONG_CLAIM_CODES, claim_limits.TOO_MANY)
_CANNOT_BE_MADE = [
    _NO_WALLET,
    _INVALID_NAME,
    _NOT_YOURS,
    errors.ExpiryPassed(),
    errors.LinkNeedsApproval(),
    errors.TooFewAvailable(2),
    *key_scopes.LIMITS,
]
_describe = partial(describe, tag="claim links")
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}


class ActionTokenViewSet(ApiViewSet):
    """Links with which a person without a wallet claims tokens."""

    maximum_bytes = parsers.MAXIMUM_LIST_BYTES

    @_describe(
        "action_tokens.list",
        "List claim links",
        answers=serializers.ACTION_TOKEN_PAGE,
        takes=Takes(query=serializers.LIST_QUERY),
    )
    def list(self, request: Request) -> Response:
        """
        Lists the claim links of the caller's wallet and of those that it manages, the newest first. `state` selects by
        the stored state: a link whose time has passed is shown as `expired` at once, and stored so some seconds later.
        """
        query = serializers.read_list(request.query_params)
        page = action_token_lists.action_tokens_visible_to(actor_id=caller(request).pk, **query)
        return Response(serializers.action_tokens(page, query))

    @_describe(
        "action_tokens.create",
        "Create a claim link",
        answers={201: serializers.CREATED},
        takes=Takes(
            body=[serializers.NEW_OF_BUNDLE, serializers.NEW_OF_TOKENS],
            examples={"Any two tokens": serializers.BUNDLE_EXAMPLE, "These tokens": serializers.LIST_EXAMPLE},
        ),
        refusals=[
            *_CANNOT_BE_MADE,
            wallet_errors.TokenNotFound(f"can not found token by id:{_NOBODY}"),
            errors.TokensOutsideSender([_NOBODY]),
            errors.TokensCommitted([_NOBODY]),
            errors.TokensNotTransferable([_NOBODY]),
            Invalid('"bundle" is required'),
        ],
    )
    def create(self, request: Request) -> Response:
        """
        Creates a link of a number of tokens (`bundle`), or of named tokens (`tokens`). The caller controls the sender:
        it is that wallet, or manages it. The tokens are reserved until the link is claimed, cancelled or expired. No
        event is written and no transfer is listed until then.

        Anyone who has `action_token` may claim the tokens, once. It is in this response alone, and in the stored
        response to a request with an `Idempotency-Key`, which is encrypted.
        """
        values = serializers.read_new(request.data)
        wanted: dict[str, Any] = {
            "actor": caller(request),
            "sender": values.get("sender_wallet"),
            "wish": serializers.wish(values),
        }
        if "tokens" in values:
            link = action_tokens.offer_tokens(token_ids=values["tokens"], **wanted)
        else:
            [link] = action_tokens.offer_bundles(size=values["bundle"]["bundle_size"], **wanted)
        return Response(serializers.created(link, page=claim_links.page_address(request._request)), status=201)

    @answered_on(Pool.WAITING)
    @_describe(
        "action_tokens.create_batch",
        "Create many claim links",
        answers=Files(["text/csv", "application/pdf"]),
        takes=Takes(
            body=serializers.NEW_BATCH,
            examples={
                "A sheet to print": {"count": 24, "bundle": {"bundle_size": 1}, "format": "pdf"},
            },
        ),
        refusals=[*_CANNOT_BE_MADE, errors.BatchTooLarge(bulk.MAXIMUM_TOKENS)],
    )
    def batch(self, request: Request) -> Response:
        """
        Creates up to 1,000 links of equally many tokens, all or none, and returns them as a table (CSV), or as a sheet
        of QR codes to print and cut (PDF, A4, twelve on a page). The caller controls the sender.

        The codes are in this response alone. Send an `Idempotency-Key`, so that a response that was lost can be asked
        for again.
        """
        values = serializers.read_batch(request.data)
        size, count = values["bundle"]["bundle_size"], values["count"]
        if size * count > bulk.MAXIMUM_TOKENS:
            raise errors.BatchTooLarge(bulk.MAXIMUM_TOKENS)
        actor, sender = caller(request), values.get("sender_wallet")
        links = action_tokens.offer_bundles(
            actor=actor, sender=sender, size=size, count=count, wish=serializers.wish(values)
        )
        page = claim_links.page_address(request._request)
        kind = values["format"]
        name = actor.name if sender is None else wallet_queries.wallet_by_name_or_id(sender).name
        content = (
            claim_links.table(links, page=page)
            if kind == "csv"
            else claim_links.sheet(links, page=page, sender=name, message=values.get("message", ""))
        )
        return self._file(request, content, kind)

    def _file(self, request: Request, content: bytes, kind: str) -> Response:
        request.accepted_renderer = FileRenderer()
        headers = {"Content-Disposition": f'attachment; filename="claim-links.{kind}"'}
        return Response(content, content_type=_MEDIA_TYPES[kind], headers=headers)

    def content_type_of_answer(self, request: Request) -> str:
        if self.action != "batch":
            return super().content_type_of_answer(request)
        return _MEDIA_TYPES[serializers.read_batch(request.data)["format"]]

    @_describe(
        "action_tokens.cancel",
        "Cancel a claim link",
        answers=serializers.ACTION_TOKEN,
        takes=Takes(is_idempotent=True, path=serializers.PATH),
        refusals=[errors.ActionTokenNotFound(), errors.ActionTokenNotActive("redeemed")],
    )
    def destroy(self, request: Request, action_token_id: str) -> Response:
        """
        Cancels an active link: its tokens are free again. The caller controls the sender. Of a claim and a cancellation
        at the same time one succeeds.
        """
        row = action_tokens.cancel(actor=caller(request), action_token_id=path_id("action_token_id", action_token_id))
        return Response(serializers.action_token(row))

    @_describe(
        "action_tokens.get",
        "Show a claim link",
        answers=serializers.ACTION_TOKEN,
        takes=Takes(path=serializers.PATH),
        refusals=[errors.ActionTokenNotFound()],
    )
    def retrieve(self, request: Request, action_token_id: str) -> Response:
        """Returns a link in any state. The caller controls its sender."""
        row = action_token_lists.action_token_visible_to(
            actor_id=caller(request).pk, action_token_id=path_id("action_token_id", action_token_id)
        )
        return Response(serializers.action_token(row))

    @_describe(
        "action_tokens.redeem",
        "Claim the tokens of a link",
        answers=transfer_serializers.CLAIMED,
        takes=Takes(body=serializers.REDEEMED, examples={"Request": {"action_token": "3q2-7wAAAAAAAAAAAAAAAAAA"}}),
        refusals=[
            *key_scopes.LIMITS,
            errors.ActionTokenNotVerified(),
            errors.ActionTokenExpired(),
            errors.ActionTokenCancelled(),
            errors.ActionTokenRedeemed(),
            errors.ActionTokenForAnother(),
            errors.SameWallet(),
            _NO_WALLET,
            _INVALID_NAME,
            _NOT_YOURS,
            _TOO_MANY,
        ],
    )
    def redeem(self, request: Request) -> Response:
        """
        Moves the tokens of a link into the caller's wallet, or into one that it manages, and returns the completed
        transfer, which has the id of the link. Any wallet may claim but the sender: the code is the permission. Exactly
        one claim of a link succeeds. Both wallets get the event `transfer_completed`.

        Many wrong codes from one address are refused with 429.
        """
        values = serializers.REDEMPTION.read_body(request.data)
        code = values["action_token"]
        with claim_limits.claiming(address=client_address(request._request), code=code):
            row = action_tokens.redeem(
                actor=caller(request), code=code, wallet=values.get("wallet"), email=values.get("email", "")
            )
        return Response(transfer_serializers.transfer(row, actions=None))


class ActionTokenDescriptionViewSet(ApiViewSet):
    """What a claim link is, for a person without an account."""

    authentication_classes = [Anonymous]
    permission_classes = []
    idempotent = False

    @_describe(
        "action_tokens.describe",
        "Describe a claim link",
        answers=serializers.DESCRIBED,
        takes=Takes(
            body=serializers.ASKED,
            examples={"Request": {"action_token": "3q2-7wAAAAAAAAAAAAAAAAAA"}},
            is_idempotent=False,
        ),
        refusals=[errors.ActionTokenNotVerified(), _TOO_MANY],
        access=Access.NONE,
    )
    def create(self, request: Request) -> Response:
        """
        Says who sends, how many tokens, until when, and whether the link was claimed, cancelled or has expired. Anyone
        who has the code may ask, without an API key. The code is in the body, so that no log of addresses has it.
        """
        code = serializers.QUESTION.read_body(request.data)["action_token"]
        with claim_limits.claiming(address=client_address(request._request), code=code):
            return Response(serializers.described(action_token_lists.described(code=code)))
