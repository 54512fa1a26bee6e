"""Tasks and their receipts."""

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from config.api.authentication import caller
from config.api.cloudcoin import examples, task_serializers
from config.api.cloudcoin.base import WALLET_ERRORS, LockersViewSet, describe
from config.api.validation import Guid, Text
from lockers import errors, queries, server_letters
from lockers.operations import show_task
from wallets import names


class TaskViewSet(LockersViewSet):
    """Tasks, for clients that poll them."""

    @describe(
        "Show a task",
        answer=examples.TASK,
        about=server_letters.DESCRIPTION,
        path={"task_id": Guid()},
        refusals=[errors.TaskNotFound()],
        tag="tasks",
    )
    def retrieve(self, request: Request, task_id: str) -> Response:
        parsed: UUID | None = names.parse_uuid(task_id)
        if parsed is None:
            raise errors.TaskNotFound
        return Response(task_serializers.task(show_task.show(actor=caller(request), task_id=parsed)))


class ReceiptViewSet(LockersViewSet):
    """The results of a task for each coin."""

    @describe(
        "Show a receipt",
        answer=examples.RECEIPT,
        path={"receipt_id": Text()},
        refusals=[errors.ReceiptNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def receipt(self, request: Request, receipt_id: str) -> Response:
        return Response(
            task_serializers.receipt(queries.receipt_visible_to(actor=caller(request), receipt_id=receipt_id))
        )

    @describe(
        "Show a receipt of a wallet",
        answer=examples.RECEIPT,
        path={"name": Text(maximum=254), "receipt_id": Text()},
        refusals=[*WALLET_ERRORS, errors.ReceiptNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def receipt_of_wallet(self, request: Request, name: str, receipt_id: str) -> Response:
        found = queries.receipt_visible_to(actor=caller(request), receipt_id=receipt_id, name=name)
        return Response(task_serializers.receipt(found))
