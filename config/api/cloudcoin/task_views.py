"""Tasks and their receipts."""

from uuid import UUID

from rest_framework.request import Request

from config.api.authentication import caller
from config.api.cloudcoin import examples, task_examples, task_serializers
from config.api.cloudcoin.base import WALLET_ERRORS, LockersViewSet, describe
from config.api.openapi import Takes
from config.api.renderers import Response
from config.api.validation import Guid, Text
from lockers import errors, queries, server_letters
from lockers.operations import show_task
from wallets import names


class TaskViewSet(LockersViewSet):
    """Tasks, for clients that poll them."""

    @describe(
        "tasks.get",
        "Show a task",
        answers=task_examples.TASK,
        takes=Takes(path={"task_id": Guid()}),
        refusals=[errors.TaskNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def retrieve(self, request: Request, task_id: str) -> Response:
        """Returns a task of a wallet that the caller controls. Ask until its `status` is `completed` or `error`."""
        parsed: UUID | None = names.parse_uuid(task_id)
        if parsed is None:
            raise errors.TaskNotFound
        return Response(task_serializers.task(show_task.show(actor=caller(request), task_id=parsed)))


class ReceiptViewSet(LockersViewSet):
    """The results of a task for each coin."""

    @describe(
        "receipts.get",
        "Show a receipt",
        answers=examples.RECEIPT,
        takes=Takes(path={"receipt_id": Text()}),
        refusals=[errors.ReceiptNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def receipt(self, request: Request, receipt_id: str) -> Response:
        """
        Returns what a task that has ended did with each coin. The caller controls the wallet of the task, or the other
        wallet of a transfer. The receipt of a running task is 404.
        """
        return Response(
            task_serializers.receipt(queries.receipt_visible_to(actor=caller(request), receipt_id=receipt_id))
        )

    @describe(
        "receipts.get_of_wallet",
        "Show a receipt of a wallet",
        answers=examples.RECEIPT,
        takes=Takes(path={"name": Text(maximum=254), "receipt_id": Text()}),
        refusals=[*WALLET_ERRORS, errors.ReceiptNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def receipt_of_wallet(self, request: Request, name: str, receipt_id: str) -> Response:
        """
        Returns what a task of the named wallet did with each coin; the caller controls the wallet. The receipt of a
        running task is 404.
        """
        found = queries.receipt_visible_to(actor=caller(request), receipt_id=receipt_id, name=name)
        return Response(task_serializers.receipt(found))
