"""The endpoints `/trust_relationships` and `/wallets/{id}/trust_relationships`."""

from functools import partial
from uuid import UUID

from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.errors import Invalid
from config.api.openapi import NOTHING, Takes, describe
from config.api.renderers import Response
from config.api.treetracker import trust_serializers, v2, wallet_serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from trusts import errors, operations, queries, trust_lists
from trusts.states import TrustEvent
from wallets import errors as wallet_errors
from wallets import names

_NOBODY = UUID("11111111-1111-4111-8111-111111111111")
_WRONG_STATE = Invalid('"state" must be one of [requested, trusted, cancelled_by_originator, cancelled_by_target]')

# Shared by the actions on one trust.
_describe = partial(describe, answers=trust_serializers.TRUST, tag="trusts")


class TrustViewSet(ApiViewSet):
    """What wallets may do with one another."""

    @describe(
        "trusts.list",
        "List trust relationships",
        answers=trust_serializers.TRUST_PAGE,
        takes=Takes(query=trust_serializers.TRUSTS_QUERY),
        refusals=[_WRONG_STATE],
        tag="trusts",
    )
    def list(self, request: Request) -> Response:
        """Lists the trust relationships in which the caller's wallet, or one that it manages, is a party."""
        is_v2 = v2.is_v2(request)
        page = pagination.read(
            request,
            trust_serializers.TRUST_FILTERS_OF_V2 if is_v2 else trust_serializers.TRUST_FILTERS,
            scope="trusts",
            default_limit=trust_serializers.DEFAULT_LIMIT,
            later=trust_serializers.LATER_TRUSTS,
        )
        if page.answer:
            return _selected(page, actor_id=caller(request).pk)
        rows = trust_lists.trusts_visible_to(
            actor_id=caller(request).pk,
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
            filters=trust_lists.TrustFilters(**page.values),
        )
        return page.response("trust_relationships", rows, write=trust_serializers.trust, position=_number)

    @describe(
        "trusts.list_of_wallet",
        "List the trust relationships of a wallet",
        answers=trust_serializers.TRUST_PAGE,
        takes=Takes(query=trust_serializers.TRUSTS_OF_WALLET_QUERY, path=wallet_serializers.WALLET_PATH),
        refusals=[
            _WRONG_STATE,
            wallet_errors.WalletNotFound(f"Could not find wallet by id: {_NOBODY}"),
            wallet_errors.WalletNotControlled("Have no permission to access this wallet"),
        ],
        tag="trusts",
    )
    def list_of_wallet(self, request: Request, wallet_id: str) -> Response:
        """
        Lists the trust relationships in which the wallet is a party. It is the caller's, or one that the caller
        manages. Below `/wallet/v2`, as at the public service, those of all wallets that the caller controls are listed,
        and first those that wait for the wallet's answer, or for one that the caller manages.
        """
        parsed = path_id("wallet_id", wallet_id)
        is_v2 = v2.is_v2(request)
        filters = trust_serializers.TRUST_FILTERS_OF_V2 if is_v2 else trust_serializers.TRUST_FILTERS
        page = pagination.read(
            request,
            {**filters, **trust_serializers.EXCLUSION},
            scope="trusts of wallet",
            default_limit=trust_serializers.DEFAULT_LIMIT,
            later=trust_serializers.LATER_TRUSTS_OF_WALLET,
            parameters=[parsed],
        )
        if page.answer:
            return _selected(page, actor_id=caller(request).pk, wallet_id=parsed)
        rows = trust_lists.trusts_of_wallet_page(
            actor_id=caller(request).pk,
            wallet_id=parsed,
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
            filters=trust_lists.TrustFilters(**page.values),
        )
        return page.response("trust_relationships", rows, write=trust_serializers.trust, position=_number)

    @describe(
        "trusts.dismiss_manager",
        "Dismiss a manager",
        answers=trust_serializers.TRUST_PAGE,
        takes=Takes(
            body=trust_serializers.DISMISSAL_BODY,
            examples={"Request": trust_serializers.DISMISSAL_EXAMPLE},
            path=wallet_serializers.WALLET_PATH,
        ),
        refusals=[
            wallet_errors.WalletNotFound(f"Could not find wallet by id: {_NOBODY}"),
            wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
            wallet_errors.InvalidWalletName("invalid wallet name:no body"),
            wallet_errors.WalletNotControlled("Have no permission to access this wallet"),
            errors.DismissalOfOneself(),
        ],
        tag="trusts",
    )
    def dismiss(self, request: Request, wallet_id: str) -> Response:
        """
        Ends the control of `manager_wallet` over the wallet, which is the caller's or one that the caller manages.

        Ends, at once or not at all, every open trust relationship of the wallet that gives `manager_wallet` control of
        it, that `manager_wallet` requested, or that it accepted in the wallet's name; and the same for each wallet that
        loses its control of the wallet by this. The answer lists what was ended; asked again, it is empty. Open
        transfers stay open: decline or cancel them one by one.
        """
        parsed = path_id("wallet_id", wallet_id)
        values = trust_serializers.DISMISSAL.read_body(request.data)
        rows = operations.dismiss_manager(actor=caller(request), wallet_id=parsed, manager=values["manager_wallet"])
        is_v2 = v2.is_v2(request)
        return Response({"trust_relationships": [trust_serializers.trust(row, is_v2=is_v2) for row in rows]})

    @describe(
        "trusts.create",
        "Request a trust relationship",
        answers={200: trust_serializers.TRUST, 201: trust_serializers.REQUESTED_TRUST},
        takes=Takes(body=trust_serializers.NEW_TRUST_BODY, examples={"Request": trust_serializers.NEW_TRUST_EXAMPLE}),
        refusals=[
            errors.TrustAlreadyExists(),
            errors.TrustWithOneself(),
            errors.TrustWithinManagement("The requesting wallet already manages the target wallet"),
            errors.RequesterNotControlled(),
            wallet_errors.ControlNeedsSession(),
            errors.ManagementCircle(),
            wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
            wallet_errors.InvalidWalletName("invalid wallet name:no body"),
            Invalid('"trust_request_type" deduct is not supported, use manage or yield'),
        ],
        tag="trusts",
    )
    def create(self, request: Request) -> Response:
        """
        Asks another wallet for a trust relationship, for the caller's wallet or for one that it manages
        (`requester_wallet`). It gives no power before the requestee accepts.

        `send`: the requester may send to the requestee without asking. `receive`: the other way round. `manage`: the
        requester controls the requestee. `yield`: the requestee controls the requester. One that exists is 403. Below
        `/wallet/v2` the answer has the status 201, and a trust relationship between a wallet and its manager, or
        between wallets of one manager, is refused.
        """
        values = trust_serializers.read_new_trust(request.data)
        row = operations.request_trust(
            actor=caller(request),
            request_type=values["trust_request_type"],
            requestee=values["requestee_wallet"],
            requester=values.get("requester_wallet"),
            within_management=not v2.is_v2(request),
        )
        return _answer(request, row)

    @_describe(
        "trusts.get",
        "Show a trust relationship",
        takes=Takes(path=trust_serializers.TRUST_PATH),
        refusals=[errors.TrustNotFound(_NOBODY), errors.TrustNotReadable()],
    )
    def retrieve(self, request: Request, trust_relationship_id: str) -> Response:
        """
        Returns a trust relationship in any state. The caller controls its requester, its requestee or its originator.
        """
        row = queries.trust_visible_to(
            actor_id=caller(request).pk, trust_id=path_id("trust_relationship_id", trust_relationship_id)
        )
        return _answer(request, row)

    @_describe(
        "trusts.accept",
        "Accept a trust relationship",
        takes=Takes(body=NOTHING, examples={"Request": {}}, path=trust_serializers.TRUST_PATH),
        refusals=[
            errors.TrustNotAnswerable("accept"),
            wallet_errors.ControlNeedsSession(),
            errors.TrustAlreadyExists(),
            errors.ManagementCircle(),
            errors.ApprovalsDemanded(),
            errors.ConsentWithdrawn("yield"),
            errors.OriginatorWithoutControl(),
            errors.EndedByOperator(),
        ],
    )
    def accept(self, request: Request, trust_relationship_id: str) -> Response:
        """
        Gives the requested power, in the state `requested` or after a refusal. The caller controls the requestee. One
        that its requester deleted and that would give power over the requester is not accepted again, nor one whose
        originator no longer controls the requester.
        """
        trust_serializers.EMPTY.read_body(request.data)
        parsed = _answerable(request, trust_relationship_id, TrustEvent.ACCEPT)
        return _answer(request, operations.accept_trust(actor=caller(request), trust_id=parsed))

    @_describe(
        "trusts.decline",
        "Decline a trust relationship",
        takes=Takes(body=NOTHING, examples={"Request": {}}, path=trust_serializers.TRUST_PATH),
        refusals=[errors.TrustNotAnswerable("decline"), wallet_errors.ControlNeedsSession()],
    )
    def decline(self, request: Request, trust_relationship_id: str) -> Response:
        """
        Ends a trust relationship, accepted or not, for the requestee, which the caller controls. A caller that controls
        the requester alone deletes the relationship by this.
        """
        trust_serializers.EMPTY.read_body(request.data)
        parsed = _answerable(request, trust_relationship_id, TrustEvent.DECLINE)
        return _answer(request, operations.decline_trust(actor=caller(request), trust_id=parsed))

    @_describe(
        "trusts.cancel",
        "Cancel a trust relationship",
        takes=Takes(is_idempotent=True, path=trust_serializers.TRUST_PATH),
        refusals=[errors.TrustNotFound(_NOBODY), errors.TrustNotCancellable(), wallet_errors.ControlNeedsSession()],
    )
    def destroy(self, request: Request, trust_relationship_id: str) -> Response:
        """
        Ends a trust relationship, accepted or not, for the requester, which the caller controls. A caller that controls
        the requestee alone declines the relationship by this.
        """
        parsed = path_id("trust_relationship_id", trust_relationship_id)
        return _answer(request, operations.delete_trust(actor=caller(request), trust_id=parsed))


def _answerable(request: Request, text: str, event: TrustEvent) -> UUID:
    if v2.is_v2(request):
        return path_id("trust_relationship_id", text)
    parsed = names.parse_uuid(text)
    if parsed is None:
        # The public service's first version refuses a malformed id with the message for a missing trust.
        raise errors.TrustNotAnswerable(event.value)
    return parsed


def _selected(page: pagination.Page, *, actor_id: UUID, wallet_id: UUID | None = None) -> Response:
    is_v2 = v2.is_v2(page.request)
    selected = trust_serializers.selected_trusts(page, is_v2=is_v2, wallet_id=wallet_id)
    found = trust_lists.selected_trusts_page(actor_id=actor_id, **selected)
    return page.response(
        "trust_relationships",
        found.rows,
        write=lambda row: trust_serializers.trust(row[0], is_v2=is_v2),
        position=lambda row: row[1],
        total=found.total,
    )


def _answer(request: Request, row: queries.TrustRow) -> Response:
    return Response(trust_serializers.trust(row, is_v2=v2.is_v2(request)))


def _number(row: queries.TrustRow) -> list[int]:
    return [row.number]
