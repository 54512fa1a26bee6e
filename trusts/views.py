"""The endpoints `/trust_relationships` and `/wallets/{id}/trust_relationships`."""

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import pagination
from config.api.authentication import caller
from config.api.validation import path_id
from config.api.views import ApiViewSet
from trusts import errors, operations, queries, serializers
from trusts.states import TrustEvent
from wallets import names

_LIMIT_OF_TRUSTS = 1000


class TrustViewSet(ApiViewSet):
    """What wallets may do with one another."""

    def list(self, request: Request) -> Response:
        page = pagination.read(
            request, serializers.TRUST_FILTERS, scope="trusts", default_limit=_LIMIT_OF_TRUSTS
        )
        rows = queries.trusts_page(
            wallet_ids=queries.controlled_wallet_ids(actor_id=caller(request).pk),
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
            **page.values,
        )
        return page.response("trust_relationships", rows, write=serializers.trust, position=_number)

    def list_of_wallet(self, request: Request, wallet_id: str) -> Response:
        parsed = path_id("wallet_id", wallet_id)
        page = pagination.read(
            request,
            serializers.TRUST_FILTERS,
            scope="trusts of wallet",
            default_limit=_LIMIT_OF_TRUSTS,
            parameters=[parsed],
        )
        rows = queries.trusts_of_wallet_page(
            actor_id=caller(request).pk,
            wallet_id=parsed,
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
            **page.values,
        )
        return page.response("trust_relationships", rows, write=serializers.trust, position=_number)

    def create(self, request: Request) -> Response:
        values = serializers.read_new_trust(request.data)
        row = operations.request_trust(
            actor=caller(request),
            request_type=values["trust_request_type"],
            requestee=values["requestee_wallet"],
            requester=values.get("requester_wallet"),
        )
        return Response(serializers.trust(row))

    def retrieve(self, request: Request, trust_id: str) -> Response:
        row = queries.trust_visible_to(
            actor_id=caller(request).pk, trust_id=path_id("trust_relationship_id", trust_id)
        )
        return Response(serializers.trust(row))

    def accept(self, request: Request, trust_id: str) -> Response:
        serializers.EMPTY.read_body(request.data)
        parsed = names.parse_uuid(trust_id)
        if parsed is None:
            # The public service refuses an id that cannot be one in the words for a trust that is not there.
            raise errors.TrustNotAnswerable(TrustEvent.ACCEPT.value)
        return Response(serializers.trust(operations.accept_trust(actor=caller(request), trust_id=parsed)))

    def decline(self, request: Request, trust_id: str) -> Response:
        serializers.EMPTY.read_body(request.data)
        parsed = names.parse_uuid(trust_id)
        if parsed is None:
            raise errors.TrustNotAnswerable(TrustEvent.DECLINE.value)
        return Response(serializers.trust(operations.decline_trust(actor=caller(request), trust_id=parsed)))

    def destroy(self, request: Request, trust_id: str) -> Response:
        parsed = path_id("trust_relationship_id", trust_id)
        return Response(serializers.trust(operations.delete_trust(actor=caller(request), trust_id=parsed)))


def _number(row: queries.TrustRow) -> list[int]:
    return [row.number]
