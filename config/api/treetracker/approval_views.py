"""The endpoint `/wallets/{id}/approval`: which transfers of a wallet's tokens need an approval."""

from rest_framework.request import Request

from config.api.authentication import caller, credential_id
from config.api.openapi import Takes, describe
from config.api.renderers import Response
from config.api.treetracker import approval_serializers as serializers
from config.api.treetracker import wallet_serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from transfers import approvals
from wallets import errors

_REFUSALS = [
    errors.WalletNotFound("Could not find wallet by id: 11111111-1111-4111-8111-111111111111"),
    errors.WalletNotControlled("Have no permission to access this wallet"),
]


class ApprovalViewSet(ApiViewSet):
    """The approvals that a wallet requires for transfers of its tokens."""

    # A repeated request has no second effect.
    idempotent = False

    @describe(
        "approvals.get",
        "Show which transfers need an approval",
        answers=serializers.CHANGED,
        takes=Takes(path=wallet_serializers.WALLET_PATH),
        refusals=_REFUSALS,
        tag="transfers",
    )
    def retrieve(self, request: Request, wallet_id: str) -> Response:
        """Returns which transfers of the tokens of a wallet need an approval. The caller controls the wallet."""
        found = approvals.standing(actor=caller(request), wallet_id=path_id("wallet_id", wallet_id))
        return Response(serializers.standing(found))

    @describe(
        "approvals.change",
        "Change which transfers need an approval",
        answers={200: serializers.CHANGED, 202: serializers.STANDING},
        takes=Takes(
            body=serializers.DEMAND_BODY,
            examples={"Some": serializers.DEMAND_EXAMPLE, "None": {}},
            path=wallet_serializers.WALLET_PATH,
            is_idempotent=False,
        ),
        refusals=_REFUSALS,
        tag="transfers",
    )
    def update(self, request: Request, wallet_id: str) -> Response:
        """
        Sets which transfers of the tokens of a wallet need an approval. The caller controls the wallet. It applies to
        transfers, fulfilments and claim links that are made after the response.

        * 200: the change applies. It lets no transfer pass that needed an approval before, or two logins have sent it.
        * 202: the change lets more transfers pass, so another login must send the same request within a day. Until then
          it is in `asked`. A login is a bearer token; that of a manager of the wallet is another login.
        """
        found = approvals.demand(
            actor=caller(request),
            credential_id=credential_id(request),
            wallet_id=path_id("wallet_id", wallet_id),
            wanted=serializers.read(request.data),
        )
        return Response(serializers.standing(found), status=200 if found.asked is None else 202)
