"""The endpoints `/auth`, `/wallets` and `/tokens`."""

from contextlib import nullcontext
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings
from django.http import QueryDict, StreamingHttpResponse
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from config.api import error_codes as codes
from config.api import limits, pagination, throttles
from config.api.authentication import ApiKeyAuthentication, api_key_id, caller
from config.api.errors import Invalid, RequestRefused
from config.api.openapi import LATER_PAGE, Access, Files, Takes, describe
from config.api.parsers import FormParser
from config.api.pools import Pool, answered_on
from config.api.renderers import Response
from config.api.treetracker import v2, wallet_serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from config.ops import wallet_export
from config.postgresql import replica
from config.web.addresses import client_address
from transfers import counters
from trusts import operations as trust_operations
from trusts import queries as trust_queries
from wallets import errors, images, operations, queries

_NO_WALLET_OF_THIS_ID = errors.WalletNotFound("Could not find wallet by id: 11111111-1111-4111-8111-111111111111")
_NO_WALLET_OF_THIS_NAME = errors.WalletNotFound("Could not find entity by wallet name: nobody")
_INVALID_NAME = errors.InvalidWalletName("invalid wallet name:no body")
_LIKE_AN_ID = errors.MisleadingWalletName(
    "invalid wallet name:11111111-1111-4111-8111-111111111111 has the form of an id"
)
# How long an export waits for a replica that lacks the newest writes, before the primary is read.
_EXPORT_WAITS_SECONDS: Final = 0.5


class AuthViewSet(ApiViewSet):
    """Exchange a wallet's name or id and its password for a bearer token."""

    authentication_classes = [ApiKeyAuthentication]
    permission_classes = []
    # A stored answer would contain the bearer token.
    idempotent = False

    @answered_on(Pool.PASSWORDS)
    @describe(
        "auth.login",
        "Log in",
        answers=wallet_serializers.BEARER,
        takes=Takes(
            body=wallet_serializers.CREDENTIALS_BODY,
            examples={"By name": {"wallet": "alice", "password": "test1234"}},
            is_idempotent=False,
        ),
        refusals=[
            errors.InvalidCredentials("Invalid credentials"),
            errors.ApiKeyEnded(),
            _NO_WALLET_OF_THIS_NAME,
            _INVALID_NAME,
            Invalid('"password" is required'),
            RequestRefused(codes.TOO_MANY_LOGIN_ATTEMPTS, "Too many login attempts, try again later"),
        ],
        access=Access.API_KEY,
        tag="authentication",
    )
    def create(self, request: Request) -> Response:
        """
        Exchanges the name or the id of a wallet and its password for a bearer token, which identifies the wallet in
        other requests. Any application with an API key may call it. A wallet without a password cannot log in.

        The token is valid for 365 days unless the installation has another period, or until it is revoked or the
        password changes. `auth.sessions` lists the valid ones. It has the shape of a JSON Web
        Token; its payload has the `id` and `name` of the wallet, `iat`, `exp` and `iss`. It is not signed: treat it as
        a password.

        A wrong password is 401, an unknown wallet 404. After several failures further attempts are refused with 429 and
        `Retry-After`. The answer is never stored, so an `Idempotency-Key` has no effect.
        """
        values = wallet_serializers.CREDENTIALS.read_body(request.data)
        with throttles.login(
            kind="wallet",
            account=queries.account_of(values["wallet"]),
            address=client_address(request),
            api_key_id=api_key_id(request),
        ):
            token = operations.authenticate(
                name_or_id=values["wallet"],
                password=values["password"],
                api_key_id=api_key_id(request),
                address=client_address(request) or None,
                **({"name_lengths": v2.LOGIN_NAME_LENGTHS} if v2.is_v2(request) else {}),
            )
        return Response({"token": token})


class WalletViewSet(ApiViewSet):
    """The caller's wallet and the wallets that it manages."""

    takes_cached_credentials = frozenset({"list"})
    prepared_by_forms = frozenset({"partial_update"})

    def get_parsers(self) -> list[BaseParser]:
        # There is no request while the API description is made.
        method = getattr(self.request, "method", None)
        return [*super().get_parsers(), *([FormParser()] if method == "PATCH" else [])]

    @describe(
        "wallets.list",
        "List wallets",
        answers=wallet_serializers.WALLET_PAGE,
        takes=Takes(query=wallet_serializers.WALLETS_QUERY),
        tag="wallets",
    )
    def list(self, request: Request) -> Response:
        """Lists the caller's wallet and the wallets that it manages, with the numbers of their tokens."""
        is_v2 = v2.is_v2(request)
        page = pagination.read(
            request,
            wallet_serializers.WALLET_FILTERS if is_v2 else wallet_serializers.WALLET_FILTERS_OF_V1,
            scope="wallets",
            later=wallet_serializers.LATER_WALLETS,
        )
        rows = counters.wallets_page(
            actor_id=caller(request).pk,
            limit=page.limit,
            offset=page.offset,
            after=page.position,
            has_more_fields=is_v2,
            **wallet_serializers.selected_wallets(page),
        )
        return page.json_response("wallets", rows)

    @describe(
        "wallets.create",
        "Create a wallet",
        answers={200: wallet_serializers.CREATED_WALLET, 201: wallet_serializers.CREATED_WALLET},
        takes=Takes(
            body=wallet_serializers.NEW_WALLET_BODY,
            examples={"Request": {"wallet": "sapling", "about": "planted in spring"}},
        ),
        refusals=[
            _INVALID_NAME,
            _LIKE_AN_ID,
            errors.WalletNameTaken("The wallet 'sapling' has been existed"),
            errors.WalletNameLength('"wallet" length must be at least 3 characters long'),
        ],
        tag="wallets",
    )
    def create(self, request: Request) -> Response:
        """
        Creates a wallet that the caller's wallet manages. It has no password, so it cannot log in; its manager acts for
        it. Any wallet may create wallets. A name that is taken is 403. Below `/wallet/v2` the answer has the status
        201.
        """
        shape = wallet_serializers.NEW_WALLET_OF_V2 if v2.is_v2(request) else wallet_serializers.NEW_WALLET
        values = shape.read_body(request.data)
        created = trust_operations.open_managed_wallet(
            actor=caller(request), name=values["wallet"], about=values.get("about", "")
        )
        return Response(wallet_serializers.created_wallet(created))

    @describe(
        "wallets.get",
        "Show a wallet",
        answers=wallet_serializers.WALLET,
        takes=Takes(path=wallet_serializers.WALLET_PATH),
        refusals=[
            _NO_WALLET_OF_THIS_ID,
            errors.WalletNotControlled("Have no permission to access this wallet"),
        ],
        tag="wallets",
    )
    def retrieve(self, request: Request, wallet_id: str) -> Response:
        """
        Returns the caller's wallet, or one that it manages, with the numbers of its tokens. Another wallet is 403, an
        unknown id 404.
        """
        parsed = path_id("wallet_id", wallet_id)
        wallet = trust_queries.wallet_controlled_by(actor_id=caller(request).pk, wallet_id=parsed)
        return Response(wallet_serializers.from_json(counters.wallet_json(wallet_id=wallet.pk)))

    @answered_on(Pool.WAITING)
    @describe(
        "wallets.export",
        "Export everything about a wallet",
        answers=Files(["application/x-ndjson"]),
        takes=Takes(path=wallet_serializers.WALLET_PATH),
        refusals=[
            _NO_WALLET_OF_THIS_ID,
            errors.WalletNotControlled("Have no permission to access this wallet"),
            RequestRefused(codes.EXPORT_IN_PROGRESS, limits.EXPORT_IN_HAND),
        ],
        tag="wallets",
    )
    def export(self, request: Request, wallet_id: str) -> StreamingHttpResponse:
        """
        Returns everything that is stored about the caller's wallet, as NDJSON from one snapshot: a line for each row
        (`{"table": …, "row": {…}}`), and a last one with the number of the lines before it and the SHA-256 of their
        bytes (`{"lines": …, "sha256": …}`). An export without that line is not complete. Passwords, tokens, codes and
        authenticity numbers are not in it, nor their digests. A manager cannot export the wallets that it manages.
        """
        wallet = queries.wallet_by_id(path_id("wallet_id", wallet_id))
        if wallet.pk != caller(request).pk:
            raise errors.WalletNotControlled("Have no permission to access this wallet")
        written = replica.position() if replica.is_configured() else replica.BEGINNING
        return StreamingHttpResponse(
            limits.Export(
                wallet.pk,
                lambda: replica.read_lines(
                    lambda: wallet_export.lines(wallet_id=wallet.pk),
                    after=written,
                    patience_seconds=_EXPORT_WAITS_SECONDS,
                ),
                api_key_id=api_key_id(request),
            ),
            content_type="application/x-ndjson",
            headers={"Content-Disposition": f'attachment; filename="wallet-{wallet.pk}.ndjson"'},
        )

    @answered_on(Pool.IMAGES)
    @describe(
        "wallets.update",
        "Change the description of a wallet",
        answers=wallet_serializers.WALLET,
        takes=Takes(
            body=wallet_serializers.WALLET_CHANGES_BODY,
            examples={"Request": {"about": "planted in spring"}},
            form=wallet_serializers.WALLET_FORM_BODY,
            path=wallet_serializers.WALLET_PATH,
        ),
        refusals=[
            _NO_WALLET_OF_THIS_ID,
            errors.WalletNotControlled("You do not have permission to update this wallet"),
            errors.NotAnImage(),
            errors.TooManyPixels(images.MAXIMUM_PIXELS),
            errors.ImageTooLarge(),
            RequestRefused(codes.IMAGE_UPLOAD_IN_PROGRESS, limits.IMAGE_IN_HAND),
            RequestRefused(codes.IMAGE_UPLOADS_OF_KEY_IN_PROGRESS, limits.IMAGES_OF_KEY_IN_HAND),
            errors.ImageNotStored(),
        ],
        tag="wallets",
    )
    def partial_update(self, request: Request, wallet_id: str) -> Response:
        """
        Changes texts and images of the caller's wallet, or of one that it manages, and returns the wallet. The request
        is JSON, or a form with texts and images. A field that is not sent stays. In JSON an empty text or null deletes
        one; a form deletes none.

        Images are stored upright, without metadata and with at most 2048 pixels on each side, and `logo_url` and
        `cover_url` become their URLs. While another image of the caller is being stored, one is refused with 429.
        """
        wallet = queries.wallet_by_id(path_id("wallet_id", wallet_id))
        if isinstance(request.data, QueryDict):
            self._update_by_form(request, request.data, wallet.pk)
        else:
            values = wallet_serializers.WALLET_CHANGES.read_body(request.data)
            trust_operations.describe_wallet(actor=caller(request), wallet_id=wallet.pk, **values)
        return Response(wallet_serializers.from_json(counters.wallet_json(wallet_id=wallet.pk)))

    def _update_by_form(self, request: Request, form: QueryDict, wallet_id: UUID) -> None:
        texts, uploads = wallet_serializers.read_wallet_form(form)
        actor, is_prepared = caller(request), getattr(request._request, "is_prepared", None)
        address = settings.MEDIA_ADDRESS or request.build_absolute_uri(settings.MEDIA_URL).rstrip("/")
        if is_prepared:
            urls = {field: f"{address}/{name}" for field, name in request._request.stored_images.items()}  # type: ignore[attr-defined]
            trust_operations.describe_wallet(actor=actor, wallet_id=wallet_id, **texts, **urls)
            return
        with limits.images_of(actor.pk, api_key_id=api_key_id(request)) if uploads else nullcontext():
            if is_prepared is None:
                trust_operations.illustrate_wallet(
                    actor=actor, wallet_id=wallet_id, uploads=uploads, address=address, **texts
                )
                return
            stored = trust_operations.store_images(actor=actor, wallet_id=wallet_id, uploads=uploads)
        request._request.stored_images = stored  # type: ignore[attr-defined]
        request._request.undo = [partial(images.delete, name) for name in stored.values()]  # type: ignore[attr-defined]


class TokenViewSet(ApiViewSet):
    """The tokens in the caller's wallet and in the wallets that it manages."""

    takes_cached_credentials = frozenset({"list"})

    @describe(
        "tokens.list",
        "List tokens",
        answers=wallet_serializers.TOKEN_PAGE,
        takes=Takes(query={**LATER_PAGE, **wallet_serializers.TOKEN_FILTERS}),
        refusals=[
            _NO_WALLET_OF_THIS_NAME,
            _INVALID_NAME,
            errors.WalletNotControlled("Wallet do not belongs to wallet logged in"),
        ],
        tag="tokens",
    )
    def list(self, request: Request) -> Response:
        """
        Lists the tokens in the caller's wallet, or in the one that `wallet` names if the caller manages it; the newest
        arrival first.
        """
        page = pagination.read(
            request, wallet_serializers.TOKEN_FILTERS, scope="tokens", later=wallet_serializers.LATER_TOKENS
        )
        wallet_id = caller(request).pk
        if "wallet" in page.values:
            wallet_id = queries.wallet_in_query(page.values["wallet"]).pk
        # A restricted key need not reach the wallet that made it.
        if not trust_queries.controls(actor_id=caller(request).pk, wallet_id=wallet_id):
            raise errors.WalletNotControlled("Wallet do not belongs to wallet logged in")
        rows = queries.tokens_page(
            wallet_id=wallet_id,
            limit=page.limit,
            offset=page.offset,
            before=page.position[0] if page.position else None,
        )
        return page.json_response("tokens", rows)

    @describe(
        "tokens.get",
        "Show a token",
        answers=wallet_serializers.TOKEN,
        takes=Takes(path=wallet_serializers.TOKEN_PATH),
        refusals=[
            errors.TokenNotFound("can not found token by id:11111111-1111-4111-8111-111111111111"),
            errors.TokenNotVisible("Have no permission to visit this token"),
        ],
        tag="tokens",
    )
    def retrieve(self, request: Request, token_id: str) -> Response:
        """
        Returns a token that is in the caller's wallet, or in one that it manages. A token of another wallet is 401, and
        403 below `/wallet/v2`.
        """
        row = queries.token(
            token_id=path_id("token_id", token_id),
            is_visible_in=trust_queries.controlled_by(caller(request).pk),
            as_sent=token_id,
        )
        return Response(wallet_serializers.from_json(row))
