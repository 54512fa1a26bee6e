"""Endpoints that wait for the end of their task before they respond (seed 001)."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from config.api import limits
from config.api.authentication import caller, credentials_of
from config.api.cloudcoin import examples, fields, synchronous_serializers, task_examples
from config.api.cloudcoin.base import (
    CODE_ERRORS,
    COIN_ERRORS,
    NO_NEW_CODE,
    TOO_MANY_TASKS,
    WALLET_ERRORS,
    LockersViewSet,
    address_of,
    describe,
)
from config.api.errors import Invalid
from config.api.openapi import Takes
from config.api.pools import Pool, answered_on
from config.api.renderers import Response
from lockers import errors, queries
from lockers.operations import put, show_task, take
from lockers.raida.statuses import QUORUM, Status
from lockers.states import TaskKind, TaskState
from lockers.worker import peek as synchronous_peek
from lockers.worker.messages import Listing
from wallets import names
from wallets.models import Wallet

# After this time the response reports a running task.
WAIT: Final = timedelta(seconds=25)
_FAILED: Final = errors.Disagreement(
    locker_key=task_examples.CODE,
    successes=9,
    status=242,
    detail="ALL_FAIL",
    task_id="8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
    task_message="No locker with this code, or it was emptied already: the servers do not say which.",
)
_PEEK_ERRORS: Final = [
    *CODE_ERRORS,
    errors.TooManyWaiting(4),
    errors.PeekFailed(locker_key=task_examples.CODE, successes=0, status=179, detail="LOCKER_EMPTY_OR_NOT_EXISTS"),
]
_UPLOAD_EXAMPLE: Final = {"wallet": "alice", "locker_key": task_examples.CODE, "amount": 20}
_PUT_ONE_EXAMPLE: Final = {"wallet": "alice", "locker_key": task_examples.CODE, "denomination": 10}
_TWO_WALLETS: Final = Invalid('Only one of "wallet" and "wallet_path" is allowed')
_DOWNLOAD_EXAMPLE: Final = {"wallet": "bob", "locker_key": task_examples.CODE}


class SynchronousViewSet(LockersViewSet):
    """
    Endpoints that wait for the end of their task before they respond (seed 001).

    A request with an Idempotency-Key starts the task in one transaction and waits afterwards. The stored response names
    the task, so that a retry waits for the same task. When the wallet has no free waiting slot, a retry gets the
    state of the task at once: a 429 would say that nothing was started.
    """

    begins_tasks = frozenset({"peek", "peek_with_body", "upload", "put_one_coin", "download"})
    inquiries = frozenset({"peek", "peek_with_body"})

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # Before the task starts: a refused request has no effect.
        if self.action in self.begins_tasks:
            self._begin_waiting(request._request, caller(request))

    def _begin_waiting(self, request: HttpRequest, wallet: Wallet) -> None:
        limits.begin_waiting(wallet.pk)
        request.waiting_wallet_id = wallet.pk  # type: ignore[attr-defined]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return self._dispatch_and_wait(request, *args, **kwargs)
        finally:
            if (wallet_id := getattr(request, "waiting_wallet_id", None)) is not None:
                limits.end_waiting(wallet_id)

    def _dispatch_and_wait(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        found = credentials_of(request)
        is_keyed = "HTTP_IDEMPOTENCY_KEY" in request.META and self.action in ("upload", "put_one_coin", "download")
        if not is_keyed or response.status_code != HTTPStatus.OK or not isinstance(response, HttpResponse):
            return response
        assert found is not None
        assert found.wallet is not None
        told = json.loads(response.content)
        patience = WAIT
        if getattr(request, "waiting_wallet_id", None) is None:
            # A stored answer names its task; wait for the end of that one.
            try:
                self._begin_waiting(request, found.wallet)
            except errors.TooManyWaiting:
                patience = timedelta(0)
        writers: dict[str, Callable[..., dict[str, Any]]] = {
            "upload": _uploaded,
            "put_one_coin": _uploaded_one,
            "download": _downloaded,
        }
        write = writers[str(self.action)]
        warning = told.get("warning", "")
        ended: Response
        try:
            ended = Response(write(found.wallet, UUID(told["task_id"]), told["locker_key"], warning, patience))
        except errors.LockerError as error:
            ended = self.handle_exception(error)
        if "Idempotency-Replayed" in response.headers:
            ended["Idempotency-Replayed"] = response["Idempotency-Replayed"]
        return self.finalize_response(self.request, ended, *args, **kwargs)

    @answered_on(Pool.WAITING)
    @describe(
        "lockers.peek_and_wait_by_query",
        "Look into a locker and wait, its code in the query",
        answers=examples.PEEKED,
        takes=Takes(query={"locker_key": fields.CODE}),
        refusals=[errors.MissingParameter("locker_key"), *_PEEK_ERRORS],
        tag="lockers at once",
    )
    def peek(self, request: Request) -> Response:
        """
        As `POST` at this path. The code becomes a part of a URL, which histories and logs of other programs may store:
        prefer the `POST`.
        """
        if not any(request.query_params.getlist("locker_key")):
            raise errors.MissingParameter("locker_key")
        locker_key = synchronous_serializers.PEEK_WITH_KEY.read_query(request.query_params)["locker_key"]
        return Response(synchronous_serializers.peeked(_look(request, locker_key), locker_key))

    @answered_on(Pool.WAITING)
    @describe(
        "lockers.peek_and_wait",
        "Look into a locker and wait",
        answers=examples.PEEKED,
        takes=Takes(
            body=synchronous_serializers.PEEK_BODY,
            examples={"Request": {"locker_key": task_examples.CODE}},
            is_idempotent=False,
        ),
        refusals=_PEEK_ERRORS,
        tag="lockers at once",
    )
    def peek_with_body(self, request: Request) -> Response:
        """
        Lists the coins in a locker; nothing is taken. Any wallet with the code may call it. The call waits for the
        servers. A code that opens no locker is 500, with what the servers said. Too many wrong codes of a wallet or an
        address are refused with 429.
        """
        locker_key = synchronous_serializers.PEEK_WITH_KEY.read_body(request.data)["locker_key"]
        return Response(synchronous_serializers.peeked(_look(request, locker_key), locker_key))

    @answered_on(Pool.WAITING)
    @describe(
        "lockers.put_and_wait",
        "Put coins into a locker and wait",
        answers=examples.UPLOADED,
        takes=Takes(body=synchronous_serializers.UPLOAD_BODY, examples={"Request": _UPLOAD_EXAMPLE}),
        refusals=[
            *WALLET_ERRORS,
            *COIN_ERRORS,
            NO_NEW_CODE,
            Invalid('Exactly one of "amount" and "denomination" is required'),
            _TWO_WALLETS,
            errors.UploadFailed(_FAILED),
            errors.UploadUnknown(_FAILED),
            errors.TooManyWaiting(4),
        ],
        tag="lockers at once",
    )
    def upload(self, request: Request) -> Response:
        """
        Stores coins of a wallet that the caller controls in a new locker, and waits up to 25 seconds for it: an
        `amount`, or one coin of a `denomination`. If the task is still running then, the answer says so, and `GET
        /api/v1/task/{task_id}` has its end. A put that failed is 500, with what the servers said.
        """
        values = synchronous_serializers.UPLOAD.read_body(request.data)
        asked = {**_asked(request, values), "transmit_code": values["locker_key"]}
        if synchronous_serializers.only_one(values, "amount", "denomination") == "amount":
            begun = put.start(units=values["amount"], **asked)
        else:
            begun = put.start_one_coin(denomination=values["denomination"], **asked)
        return Response(_uploaded(caller(request), begun.task.pk, values["locker_key"], begun.warning, WAIT))

    @answered_on(Pool.WAITING)
    @describe(
        "lockers.put_one_and_wait",
        "Put one coin into a locker and wait",
        answers=examples.UPLOADED_ONE,
        takes=Takes(body=synchronous_serializers.PUT_ONE_BODY, examples={"Request": _PUT_ONE_EXAMPLE}),
        refusals=[
            *WALLET_ERRORS,
            COIN_ERRORS[0],
            *COIN_ERRORS[-2:],
            NO_NEW_CODE,
            _TWO_WALLETS,
            errors.UploadFailed(_FAILED),
            errors.UploadUnknown(_FAILED),
            errors.TooManyWaiting(4),
        ],
        tag="lockers at once",
    )
    def put_one_coin(self, request: Request) -> Response:
        """
        Stores one coin of a wallet that the caller controls in a new locker, and waits up to 25 seconds for it, as
        `POST /api/transactions/locker/upload` does.
        """
        values = synchronous_serializers.PUT_ONE.read_body(request.data)
        begun = put.start_one_coin(
            **_asked(request, values), denomination=values["denomination"], transmit_code=values["locker_key"]
        )
        return Response(_uploaded_one(caller(request), begun.task.pk, values["locker_key"], begun.warning, WAIT))

    @answered_on(Pool.WAITING)
    @describe(
        "lockers.take_and_wait",
        "Take the coins out of a locker and wait",
        answers=examples.DOWNLOADED,
        takes=Takes(body=synchronous_serializers.DOWNLOAD_BODY, examples={"Request": _DOWNLOAD_EXAMPLE}),
        refusals=[
            *WALLET_ERRORS,
            *CODE_ERRORS,
            _TWO_WALLETS,
            TOO_MANY_TASKS,
            errors.TooManyWaiting(4),
            errors.DownloadFailed(_FAILED),
        ],
        tag="lockers at once",
    )
    def download(self, request: Request) -> Response:
        """
        Moves all coins of a locker into a wallet that the caller controls, and waits up to 25 seconds for it. Everyone
        with the code may take them. If the task is still running then, the answer says so, and `GET
        /api/v1/task/{task_id}` has its end. A code that opens no locker is 500, with what the servers said.
        """
        values = synchronous_serializers.DOWNLOAD.read_body(request.data)
        begun = take.start(**_asked(request, values), code=values["locker_key"], address=address_of(request))
        return Response(_downloaded(caller(request), begun.task.pk, values["locker_key"], "", WAIT))

    @describe(
        "tasks.get_system",
        "Show a task in the form of `/api/system`",
        answers=examples.CORE_TASK,
        takes=Takes(query=synchronous_serializers.TASK_QUERY),
        refusals=[errors.TaskNotFound(), Invalid('Exactly one of "id" and "task_id" is required')],
        tag="tasks",
    )
    def task(self, request: Request) -> Response:
        """
        Returns a task of a wallet that the caller controls, by `id` or `task_id`, with other field names than
        `GET /api/v1/task/{task_id}`.
        """
        values = synchronous_serializers.TASK_SHAPE.read_query(request.query_params)
        parsed: UUID | None = names.parse_uuid(values[synchronous_serializers.only_one(values, "id", "task_id")])
        if parsed is None:
            raise errors.TaskNotFound
        return Response(synchronous_serializers.core_task(show_task.show(actor=caller(request), task_id=parsed)))

    @describe(
        "coin_wallets.balance",
        "Show the balance of a wallet",
        answers=examples.BALANCE,
        takes=Takes(query=synchronous_serializers.WALLET_QUERY),
        refusals=[*WALLET_ERRORS, _TWO_WALLETS],
        tag="coins",
    )
    def balance(self, request: Request) -> Response:
        """Returns the number and the sum of the coins of a wallet that the caller controls; by default its own."""
        values = synchronous_serializers.WALLET_SHAPE.read_query(request.query_params)
        wallet = queries.wallet_of(
            actor=caller(request), name=synchronous_serializers.wallet_name(values, str(caller(request).pk))
        )
        return Response(synchronous_serializers.balance(queries.contents_of(wallet_list=[wallet])[0]))


def _look(request: Request, locker_key: str) -> Listing:
    return synchronous_peek.peek(actor_id=caller(request).pk, code=locker_key, address=address_of(request))


def _asked(request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the upload and download operations share: caller, wallet and tag."""
    return {
        "actor": caller(request),
        "name": synchronous_serializers.wallet_name(values, str(caller(request).pk)),
        "tag": values.get("memo", ""),
    }


def _uploaded(
    actor: Wallet,
    task_id: UUID,
    locker_key: str,
    warning: str,
    patience: timedelta,
    write: Callable[[queries.TaskView, str], dict[str, Any]] = synchronous_serializers.uploaded,
) -> dict[str, Any]:
    """
    Wait for the end of a put, and return what `write` makes of it.

    :raises UploadFailed: the put ended with an error
    :raises UploadUnknown: the same, and coins may be in the locker
    """
    ended = queries.final_task(actor=actor, task_id=task_id, patience=patience)
    if ended.task.state == TaskState.ERROR:
        kind = errors.UploadUnknown if ended.task.result.get("total_unknown") else errors.UploadFailed
        raise kind(_how_it_failed(ended, locker_key))
    return write(ended, locker_key) | ({"warning": warning} if warning else {})


_uploaded_one: Final = partial(_uploaded, write=synchronous_serializers.uploaded_one)


def _downloaded(actor: Wallet, task_id: UUID, locker_key: str, warning: str, patience: timedelta) -> dict[str, Any]:
    ended = queries.final_task(actor=actor, task_id=task_id, patience=patience)
    if ended.task.state == TaskState.ERROR:
        raise errors.DownloadFailed(_how_it_failed(ended, locker_key))
    return synchronous_serializers.downloaded(ended, locker_key)


def _how_it_failed(view: queries.TaskView, locker_key: str) -> errors.Disagreement:
    """Return the details of the 500 response of seed 001, which a client cannot mistake for success."""
    status = view.commonest_status
    return errors.Disagreement(
        locker_key=locker_key,
        successes=view.board.count("p"),
        status=status,
        detail=Status(status).name if status in set(Status) else str(status),
        task_id=str(view.task.pk),
        task_message=view.task.message,
        is_refusal=view.task.kind == TaskKind.TAKE and view.board.count("f") >= QUORUM,
    )
