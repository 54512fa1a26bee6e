"""The endpoints `/tokens/{id}/proof` and `/transfers/{id}/proof`."""

from rest_framework.request import Request

from config.api import limits
from config.api.authentication import caller
from config.api.openapi import Takes, describe
from config.api.pools import Pool, answered_on
from config.api.renderers import Response
from config.api.treetracker import proof_serializers as serializers
from config.api.treetracker import transfer_serializers, wallet_serializers
from config.api.validation import Shape, path_id
from config.api.views import ApiViewSet
from config.seals import proofs
from transfers import errors, queries, token_lists
from wallets import errors as wallet_errors


class ProofViewSet(ApiViewSet):
    """Proofs that what the caller may see is sealed."""

    @describe(
        "tokens.proof",
        "Prove the movements of a token",
        answers=serializers.PROOFS_OF_TOKEN,
        takes=Takes(query=serializers.AFTER, path=wallet_serializers.TOKEN_PATH),
        refusals=[
            wallet_errors.TokenNotFound("can not found token by id:11111111-1111-4111-8111-111111111111"),
            wallet_errors.TokenNotVisible("Have no permission to visit this token"),
            errors.HistoryDetached("token"),
        ],
        tag="tokens",
    )
    @answered_on(Pool.WAITING)
    def of_token(self, request: Request, token_id: str) -> Response:
        """
        Returns the sealed movements of a token, with what proves to anyone that they are sealed. The token is in the
        caller's wallet, or in one that it manages. A page has 5 movements; `after_number` begins the next one.
        """
        after = Shape(serializers.AFTER).read_query(request.query_params).get("after_number")
        parsed = path_id("token_id", token_id)
        token_lists.check_history_is_visible(actor_id=caller(request).pk, token_id=parsed, as_sent=token_id)
        with limits.proof_for(caller(request).pk):
            return Response(serializers.of_token(*proofs.of_token(parsed, after=-1 if after is None else after)))

    @describe(
        "transfers.proof",
        "Prove a transfer",
        answers=serializers.PROOFS_OF_TRANSFER,
        takes=Takes(path=transfer_serializers.TRANSFER_PATH),
        refusals=[errors.TransferNotVisible(), errors.HistoryDetached("transfer")],
        tag="transfers",
    )
    @answered_on(Pool.WAITING)
    def of_transfer(self, request: Request, transfer_id: str) -> Response:
        """
        Returns what is sealed of a transfer, with what proves to anyone that it is sealed. The caller controls its
        sender, its receiver or its originator.
        """
        row = queries.transfer_visible_to(actor_id=caller(request).pk, transfer_id=path_id("transfer_id", transfer_id))
        with limits.proof_for(caller(request).pk):
            return Response(serializers.of_transfer(proofs.of_transfer(row.number)))
