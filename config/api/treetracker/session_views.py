"""The endpoints below `/auth`: passwords and sessions of the caller's wallet."""

from rest_framework.request import Request

from config.api import error_codes as codes
from config.api import pagination, throttles
from config.api.authentication import api_key_id, bearer_token_id, caller
from config.api.errors import RequestRefused
from config.api.openapi import PAGE, Takes, describe
from config.api.pools import Pool, answered_on
from config.api.renderers import Response
from config.api.treetracker import session_serializers as serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from config.web.addresses import client_address
from wallets import errors, operations, queries


class PasswordViewSet(ApiViewSet):
    """The password of the caller's wallet."""

    # The stored fingerprint of a request would be a digest of the passwords.
    idempotent = False

    @answered_on(Pool.PASSWORDS)
    @describe(
        "auth.change_password",
        "Change the password",
        answers=serializers.ENDED_SESSIONS,
        takes=Takes(
            body=serializers.PASSWORD_CHANGE_BODY,
            examples={"Request": {"old_password": "test1234", "new_password": "correct horse battery"}},
            is_idempotent=False,
        ),
        refusals=[
            errors.WrongPassword(),
            errors.WeakPassword("A new password has at least 8 characters."),
            errors.SessionNotFound(),
            RequestRefused(codes.TOO_MANY_LOGIN_ATTEMPTS, "Too many login attempts, try again later"),
        ],
        has_problems=True,
        tag="authentication",
    )
    def change(self, request: Request) -> Response:
        """
        Sets a new password for the caller's wallet, which proves that it knows the present one, and ends all its other
        sessions, and with `end_keys` its restricted keys. The bearer token of the request stays valid. Wrong passwords
        are counted like failed logins.
        """
        values = serializers.PASSWORD_CHANGE.read_body(request.data)
        wallet = caller(request)
        with throttles.login(
            kind="wallet", account=str(wallet.pk), address=client_address(request), api_key_id=api_key_id(request)
        ):
            ended = operations.change_password(
                wallet=wallet,
                old=values["old_password"],
                new=values["new_password"],
                kept_token_id=bearer_token_id(request),
                ends_keys=values.get("end_keys", False),
            )
        return Response(serializers.ended(ended.sessions, ended.keys if values.get("end_keys") else None))


class SessionViewSet(ApiViewSet):
    """The sessions of the caller's wallet. A session is a bearer token that a login returned."""

    @describe(
        "auth.sessions",
        "List sessions",
        answers=serializers.SESSION_PAGE,
        takes=Takes(query=PAGE),
        has_problems=True,
        tag="authentication",
    )
    def list(self, request: Request) -> Response:
        """Lists the sessions of the caller's wallet that are valid, the newest first."""
        page = pagination.read(request, scope="sessions")
        rows = queries.sessions_page(
            wallet=caller(request), limit=page.fetch, offset=page.offset, after=pagination.by_creation(page.position)
        )
        return page.response(
            "sessions",
            rows,
            write=lambda row: serializers.session(row, is_current=row.pk == bearer_token_id(request)),
            position=lambda row: [row.created_at, row.pk],
        )

    @describe(
        "auth.end_session",
        "End a session",
        answers=serializers.ENDED_SESSIONS,
        takes=Takes(path=serializers.SESSION_PATH, is_idempotent=True),
        refusals=[errors.SessionNotFound()],
        has_problems=True,
        tag="authentication",
    )
    def destroy(self, request: Request, session_id: str) -> Response:
        """Ends a session of the caller's wallet: its bearer token is refused from now on."""
        operations.end_session(wallet=caller(request), bearer_token_id=path_id("session_id", session_id))
        return Response(serializers.ended(1))

    @describe(
        "auth.log_out",
        "Log out",
        answers=serializers.ENDED_SESSIONS,
        refusals=[errors.SessionNotFound()],
        has_problems=True,
        tag="authentication",
    )
    def log_out(self, request: Request) -> Response:
        """Ends the session of this request: its bearer token is refused from now on."""
        operations.end_session(wallet=caller(request), bearer_token_id=bearer_token_id(request))
        return Response(serializers.ended(1))
