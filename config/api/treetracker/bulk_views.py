"""The endpoints `/wallets/batch-create-wallet` and `/wallets/batch-transfer`."""

from rest_framework.request import Request

from config.api import error_codes as codes
from config.api import key_scopes
from config.api.authentication import caller, credential_id, credentials_of
from config.api.errors import Invalid, RequestRefused
from config.api.openapi import Refusal, Takes, describe
from config.api.parsers import FormParser, form_of
from config.api.renderers import Response
from config.api.treetracker import bulk_serializers, v2
from config.api.views import ApiViewSet
from transfers import bulk, errors
from wallets import errors as wallet_errors

_NO_WALLET = wallet_errors.WalletNotFound("Could not find wallet by name: nobody")
_NO_ACCESS = RequestRefused(codes.BATCH_ACCESS_DENIED, "Endpoint not valid")
_REFUSALS: list[Refusal] = [
    _NO_ACCESS,
    RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large"),
    RequestRefused(codes.CONTENT_TYPE_UNSUPPORTED, "Invalid content type. Endpoint only supports multipart/form-data"),
    Invalid("Only csv files are supported"),
    Invalid('"csv" is required'),
    errors.BatchUncovered(),
    errors.BatchTooLarge(bulk.MAXIMUM_TOKENS),
    errors.RowsRefused(
        {
            3: errors.RowInvalid('"[1]" contains a duplicate value'),
            7: errors.RowInvalid('"[5].token_transfer_amount_overwrite" must be a number', column=errors.AMOUNT_COLUMN),
        }
    ),
]


class BatchViewSet(ApiViewSet):
    """Many wallets or transfers from one CSV file."""

    parser_classes = [FormParser]

    @describe(
        "wallets.create_batch",
        "Create wallets from a file",
        answers={200: bulk_serializers.CREATED, 201: bulk_serializers.CREATED},
        takes=Takes(form=bulk_serializers.CREATION_BODY, query=bulk_serializers.CREATION_QUERY, is_idempotent=True),
        refusals=[
            *_REFUSALS,
            errors.RowsRefused({2: _NO_WALLET}),
        ],
        tag="wallets",
    )
    def create_wallets(self, request: Request) -> Response:
        """
        Creates wallets that the caller's wallet manages, from a CSV file. The API key needs the permission for batches.
        Those with an amount above 0 get that number of tokens from `sender_wallet`, which the caller controls.

        The same file can be sent again. A row whose wallet exists is skipped and listed in `wallets_already_exists`; a
        row with an invalid cell, such as an empty name or an amount that is not a number, is skipped, counted in
        `wallet_other_failure_count` and named in `rows` by its line and column. All other rows have their effect in
        one transaction. The whole file is refused, and nothing is done, if a name is in it twice, if a row has an
        amount and `sender_wallet` is missing, or if `sender_wallet` has too few tokens. `rows` names the rows that
        refuse it.

        With `dry_run=true` the answer says what would be done, with `"dry_run": true`, and nothing is done. Below
        `/wallet/v2` the answer has the status 201, or 200 to a dry run.
        """
        is_dry_run = bulk_serializers.read_creation_query(request.query_params)
        _check_access(request)
        batch = bulk_serializers.read_creation(form_of(request))
        result = bulk.create_batch(
            actor=caller(request),
            rows=batch.rows,
            sender=batch.sender,
            default_amount=batch.default_amount,
            is_dry_run=is_dry_run,
            credential_id=credential_id(request),
        )
        return Response(bulk_serializers.created(result, is_dry_run=is_dry_run))

    @describe(
        "transfers.create_batch",
        "Transfer tokens as a file says",
        answers=bulk_serializers.BATCH_TRANSFERRED,
        takes=Takes(form=bulk_serializers.TRANSFER_BODY, is_idempotent=True),
        refusals=[
            *_REFUSALS,
            _NO_WALLET,
            wallet_errors.InvalidWalletName("invalid wallet name:no body"),
            errors.RowsRefused({2: errors.NeitherWalletControlled()}),
            errors.RowsRefused({2: errors.SameWallet()}),
            *key_scopes.LIMITS,
        ],
        tag="transfers",
    )
    def transfer(self, request: Request) -> Response:
        """
        Sends tokens of `sender_wallet` to many wallets, from a CSV file. The API key needs the permission for batches.

        Each row is a bundle, which completes at once or waits for an answer as if it were sent alone; a row with the
        amount 0 transfers nothing. The column `reference` is optional; its cell becomes the reference of the transfer.
        All rows have their effect in one transaction. If one row is refused nothing is done, and `rows` names each
        refused row by its line and column.
        """
        _check_access(request)
        batch = bulk_serializers.read_transfers(form_of(request))
        assert batch.sender is not None
        bulk.transfer_batch(
            actor=caller(request),
            sender=batch.sender,
            rows=batch.rows,
            default_amount=batch.default_amount,
            credential_id=credential_id(request),
        )
        return Response(bulk_serializers.TRANSFERRED)


def _check_access(request: Request) -> None:
    found = credentials_of(request._request)
    if found is None or not found.api_key_may_batch:
        if not v2.is_v2(request):
            raise _NO_ACCESS
        status, message = v2.BATCH_REFUSED
        raise RequestRefused(codes.BATCH_ACCESS_DENIED, message, status=status)
