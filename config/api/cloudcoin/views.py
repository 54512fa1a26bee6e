"""
The endpoints under `/api/`.

Seed 000 puts a transmit code into a path and seed 001 into a query string. Both are offered,
and beside each a POST that carries the code in its body, which no log or history keeps.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import limits, pagination
from config.api.authentication import caller, credentials_of
from config.api.cloudcoin import examples, serializers
from config.api.errors import Invalid, RequestRefused
from config.api.openapi import PAGE, describe
from config.api.parsers import MAXIMUM_LIST_BYTES, StrictJSONParser
from config.api.pools import Pool, answered_on
from config.api.validation import Guid, Number, Text
from config.api.views import ApiViewSet
from config.web.addresses import client_address, network_of
from lockers import errors, operations, queries, server_letters
from lockers.raida.statuses import QUORUM, Status
from lockers.states import FileType, TaskKind, TaskState
from lockers.worker import runner
from lockers.worker.messages import Listing
from trusts import operations as trusts
from wallets import errors as wallet_errors
from wallets import names
from wallets.models import Wallet

# How long the two synchronous endpoints wait before they say that the task is still at work.
_PATIENCE: Final = timedelta(seconds=25)
# 20,000 coins of a .bin with proposed numbers are 16 MB.
_LARGEST_IMPORT: Final = 20 * 1024 * 1024

_describe: Final = partial(describe, is_locker=True)
_FOREIGN: Final = [
    wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
    wallet_errors.WalletNotControlled("The wallet bob is not yours, and you do not manage it"),
    wallet_errors.InvalidWalletName("invalid wallet name:no body"),
]
# How many rows a list has if no limit is given.
_ROWS: Final = 100
# How many of its newest transactions a wallet shows; the statement has all.
_NEWEST: Final = 20
_PAGE: Final = {**PAGE, "limit": Number(1, pagination.MAXIMUM_LIMIT, from_text=True, required=False)}
_NO_CODE: Final = errors.InvalidLockerRequest(errors.NO_CODE)
_NO_NEW_CODE: Final = errors.InvalidLockerRequest(errors.NO_NEW_CODE)
_TOO_MANY_TASKS: Final = errors.TooManyTasks(100)
# Of whatever sends a code.
_NO_LOOK: Final = [_NO_CODE, errors.TooManyWrongCodes(600)]
_NO_COINS: Final = [
    errors.NotEnoughCoins("Not enough coins: 3 of 20 are free in this wallet"),
    errors.NoExactChange("The coins in this wallet cannot make 7 exactly; the nearest are 5 or 10"),
    errors.CoinsBusy("Other uploads are choosing the same coins just now; try again in a moment"),
    _TOO_MANY_TASKS,
]
_EXPORT_PATH: Final = {"export_id": Guid()}
# A .stack is JSON, and a file all the same: no client should take it for an answer.
_MEDIA_TYPES: Final = {
    FileType.BIN: "application/octet-stream",
    FileType.STACK: "application/octet-stream",
    FileType.PNG: "image/png",
    FileType.ZIP: "application/zip",
}
_FAILED: Final = errors.Disagreement(
    locker_key=examples.CODE,
    successes=9,
    status=242,
    detail="ALL_FAIL",
    task_id="8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
    task_message="No locker with this code, or it was emptied already: the servers do not say which.",
)
_CODE_PATH: Final = {"code": serializers.CODE}
_PUT_EXAMPLE: Final = {"name": "alice", "amount": 20, "tag": "for Bob"}
_TAKE_EXAMPLE: Final = {"name": "bob", "transmit_code": examples.CODE, "tag": "from Alice"}
_UPLOAD_EXAMPLE: Final = {"wallet": "alice", "locker_key": examples.CODE, "amount": 20}
_PUT_ONE_EXAMPLE: Final = {"wallet": "alice", "locker_key": examples.CODE, "denomination": 10}
_TWO_WALLETS: Final = Invalid('Only one of "wallet" and "wallet_path" is allowed')
_DOWNLOAD_EXAMPLE: Final = {"wallet": "bob", "locker_key": examples.CODE}


def _after(position: list[Any] | None) -> tuple[datetime, UUID] | None:
    return None if position is None else (datetime.fromisoformat(position[0]), UUID(position[1]))


class _LockersViewSet(ApiViewSet):
    """What all endpoints of lockers share: none answers while lockers are off."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS":
            operations.check_lockers_are_on()


class LockerViewSet(_LockersViewSet):
    """Filling a locker, looking into one, and emptying it: tasks (seed 000)."""

    begins_tasks = frozenset({"put_coins", "peek", "peek_with_body", "take", "take_with_body"})

    @_describe("List lockers", answer={"lockers": [examples.LOCKER]}, query=_PAGE, tag="lockers")
    def list(self, request: Request) -> Response:
        page = pagination.read(request, scope="lockers", default_limit=_ROWS)
        rows = queries.lockers_page(
            actor=caller(request), limit=page.fetch, offset=page.offset, after=_after(page.position)
        )
        return page.response(
            "lockers",
            rows,
            write=serializers.locker,
            position=lambda row: [row.locker.created_at.isoformat(), str(row.locker.pk)],
        )

    @_describe(
        "Put coins into a locker",
        body=serializers.PUT,
        body_examples={"Request": _PUT_EXAMPLE},
        answer=examples.STARTED,
        refusals=[*_FOREIGN, *_NO_COINS, _NO_NEW_CODE],
        tag="lockers",
    )
    def put_coins(self, request: Request) -> Response:
        values = serializers.PUT.read_body(request.data)
        begun = operations.start_put(
            actor=caller(request),
            name=values["name"],
            units=values["amount"],
            tag=values.get("tag", ""),
            transmit_code=values.get("transmit_code"),
        )
        return Response(serializers.started(begun))

    @_describe(
        "Tell the transmit code of a filled locker",
        answer={"transmit_code": examples.CODE},
        path={"locker_id": Guid()},
        refusals=[errors.LockerNotFound(), errors.LockerNotFilled("emptied")],
        is_idempotent=True,
        tag="lockers",
    )
    def code(self, request: Request, locker_id: str) -> Response:
        parsed: UUID | None = names.parse_uuid(locker_id)
        if parsed is None:
            raise errors.LockerNotFound
        return Response({"transmit_code": queries.locker_code(actor=caller(request), locker_id=parsed)})

    @_describe(
        "Begin to look into a locker",
        answer=examples.STARTED,
        path=_CODE_PATH,
        refusals=[*_NO_LOOK, _TOO_MANY_TASKS],
        tag="lockers",
    )
    def peek(self, request: Request, code: str) -> Response:
        serializers.CODE.read("code", code)
        return Response(
            serializers.started(operations.start_peek(actor=caller(request), code=code, address=_address(request)))
        )

    @_describe(
        "Begin to look into a locker, its code in the body",
        body=serializers.PEEK,
        body_examples={"Request": {"transmit_code": examples.CODE}},
        answer=examples.STARTED,
        refusals=[*_NO_LOOK, _TOO_MANY_TASKS],
        tag="lockers",
    )
    def peek_with_body(self, request: Request) -> Response:
        values = serializers.PEEK.read_body(request.data)
        begun = operations.start_peek(actor=caller(request), code=values["transmit_code"], address=_address(request))
        return Response(serializers.started(begun))

    @_describe(
        "Take the coins out of a locker",
        body=serializers.TAKE,
        body_examples={"Request": {"name": "bob", "tag": "from Alice"}},
        answer=examples.STARTED,
        path=_CODE_PATH,
        refusals=[*_FOREIGN, *_NO_LOOK, _TOO_MANY_TASKS],
        tag="lockers",
    )
    def take(self, request: Request, code: str) -> Response:
        values = serializers.TAKE.read_body(request.data)
        return self._take(request, {**values, "transmit_code": serializers.CODE.read("code", code)})

    @_describe(
        "Take the coins out of a locker, its code in the body",
        body=serializers.TAKE_WITH_CODE,
        body_examples={"Request": _TAKE_EXAMPLE},
        answer=examples.STARTED,
        refusals=[*_FOREIGN, *_NO_LOOK, _TOO_MANY_TASKS],
        tag="lockers",
    )
    def take_with_body(self, request: Request) -> Response:
        return self._take(request, serializers.TAKE_WITH_CODE.read_body(request.data))

    def _take(self, request: Request, values: dict[str, Any]) -> Response:
        begun = operations.start_take(
            actor=caller(request),
            name=values["name"],
            code=values["transmit_code"],
            tag=values.get("tag", ""),
            address=_address(request),
        )
        return Response(serializers.started(begun))


class TaskViewSet(_LockersViewSet):
    """A task, as often as a client likes to ask."""

    @_describe(
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
        return Response(serializers.task(operations.show_task(actor=caller(request), task_id=parsed)))


class CoreViewSet(_LockersViewSet):
    """
    The calls of the other product, which answer when the work is done (seed 001).

    A request with an Idempotency-Key is one transaction that begins the task; its end is waited for
    afterwards. So what is kept under the key says which task it was, and whoever repeats the request
    waits for the same end.
    """

    begins_tasks = frozenset({"peek", "peek_with_body", "upload", "put_one_coin", "download"})

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # Before anything is begun, so that who is refused has begun nothing.
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
        ended: Response
        try:
            if getattr(request, "waiting_wallet_id", None) is None:
                # An answer that was kept says which task it was, and its end is waited for all the same.
                self._begin_waiting(request, found.wallet)
            write = {"upload": _uploaded, "put_one_coin": _uploaded_one, "download": _downloaded}[str(self.action)]
            ended = Response(write(found.wallet, UUID(told["task_id"]), told["locker_key"], told.get("warning", "")))
        except errors.LockerError as error:
            ended = self.handle_exception(error)
        if "Idempotency-Replayed" in response.headers:
            ended["Idempotency-Replayed"] = response["Idempotency-Replayed"]
        return self.finalize_response(self.request, ended, *args, **kwargs)

    @answered_on(Pool.WAITING)
    @_describe(
        "Look into a locker and wait",
        query={"locker_key": serializers.CODE},
        answer=examples.PEEKED,
        refusals=[
            errors.MissingParameter("locker_key"),
            *_NO_LOOK,
            errors.TooManyWaiting(4),
            errors.PeekFailed(locker_key=examples.CODE, successes=0, status=179, detail="LOCKER_EMPTY_OR_NOT_EXISTS"),
        ],
        tag="lockers at once",
    )
    def peek(self, request: Request) -> Response:
        if not any(request.query_params.getlist("locker_key")):
            raise errors.MissingParameter("locker_key")
        locker_key = serializers.PEEK_WITH_KEY.read_query(request.query_params)["locker_key"]
        return Response(serializers.peeked(_look(request, locker_key), locker_key))

    @answered_on(Pool.WAITING)
    @_describe(
        "Look into a locker and wait, its code in the body",
        body=serializers.PEEK_WITH_KEY,
        body_examples={"Request": {"locker_key": examples.CODE}},
        answer=examples.PEEKED,
        refusals=[
            *_NO_LOOK,
            errors.TooManyWaiting(4),
            errors.PeekFailed(locker_key=examples.CODE, successes=0, status=179, detail="LOCKER_EMPTY_OR_NOT_EXISTS"),
        ],
        is_idempotent=False,
        tag="lockers at once",
    )
    def peek_with_body(self, request: Request) -> Response:
        locker_key = serializers.PEEK_WITH_KEY.read_body(request.data)["locker_key"]
        return Response(serializers.peeked(_look(request, locker_key), locker_key))

    @answered_on(Pool.WAITING)
    @_describe(
        "Put coins into a locker and wait",
        body=serializers.UPLOAD,
        body_examples={"Request": _UPLOAD_EXAMPLE},
        answer=examples.UPLOADED,
        refusals=[
            *_FOREIGN,
            *_NO_COINS,
            _NO_NEW_CODE,
            Invalid('Exactly one of "amount" and "denomination" is required'),
            _TWO_WALLETS,
            errors.UploadFailed(_FAILED),
            errors.TooManyWaiting(4),
        ],
        tag="lockers at once",
    )
    def upload(self, request: Request) -> Response:
        values = serializers.UPLOAD.read_body(request.data)
        asked = {**_asked(request, values), "transmit_code": values["locker_key"]}
        if serializers.only_one(values, "amount", "denomination") == "amount":
            begun = operations.start_put(units=values["amount"], **asked)
        else:
            begun = operations.start_put_of_one(denomination=values["denomination"], **asked)
        return Response(_uploaded(caller(request), begun.task.pk, values["locker_key"], begun.warning))

    @answered_on(Pool.WAITING)
    @_describe(
        "Put one coin into a locker and wait",
        body=serializers.PUT_ONE,
        body_examples={"Request": _PUT_ONE_EXAMPLE},
        answer=examples.UPLOADED_ONE,
        refusals=[
            *_FOREIGN,
            _NO_COINS[0],
            *_NO_COINS[-2:],
            _NO_NEW_CODE,
            _TWO_WALLETS,
            errors.UploadFailed(_FAILED),
            errors.TooManyWaiting(4),
        ],
        tag="lockers at once",
    )
    def put_one_coin(self, request: Request) -> Response:
        values = serializers.PUT_ONE.read_body(request.data)
        begun = operations.start_put_of_one(
            **_asked(request, values), denomination=values["denomination"], transmit_code=values["locker_key"]
        )
        return Response(_uploaded_one(caller(request), begun.task.pk, values["locker_key"], begun.warning))

    @answered_on(Pool.WAITING)
    @_describe(
        "Take the coins out of a locker and wait",
        body=serializers.DOWNLOAD,
        body_examples={"Request": _DOWNLOAD_EXAMPLE},
        answer=examples.DOWNLOADED,
        refusals=[
            *_FOREIGN,
            *_NO_LOOK,
            _TWO_WALLETS,
            _TOO_MANY_TASKS,
            errors.TooManyWaiting(4),
            errors.DownloadFailed(_FAILED),
        ],
        tag="lockers at once",
    )
    def download(self, request: Request) -> Response:
        values = serializers.DOWNLOAD.read_body(request.data)
        begun = operations.start_take(**_asked(request, values), code=values["locker_key"], address=_address(request))
        return Response(_downloaded(caller(request), begun.task.pk, values["locker_key"]))

    @_describe(
        "Show a task in the words of the other product",
        query=serializers.TASK_QUERY,
        answer=examples.CORE_TASK,
        refusals=[errors.TaskNotFound(), Invalid('Exactly one of "id" and "task_id" is required')],
        tag="tasks",
    )
    def task(self, request: Request) -> Response:
        values = serializers.TASK_SHAPE.read_query(request.query_params)
        parsed: UUID | None = names.parse_uuid(values[serializers.only_one(values, "id", "task_id")])
        if parsed is None:
            raise errors.TaskNotFound
        return Response(serializers.core_task(operations.show_task(actor=caller(request), task_id=parsed)))

    @_describe(
        "Show the balance of a wallet",
        query=serializers.WALLET_QUERY,
        answer=examples.BALANCE,
        refusals=[*_FOREIGN, _TWO_WALLETS],
        tag="coins",
    )
    def balance(self, request: Request) -> Response:
        values = serializers.WALLET_SHAPE.read_query(request.query_params)
        wallet = queries.wallet_of(actor=caller(request), name=serializers.wallet_name(values, str(caller(request).pk)))
        return Response(serializers.balance(queries.contents_of(wallet_list=[wallet])[0]))


def _look(request: Request, locker_key: str) -> Listing:
    return runner.peek(actor_id=caller(request).pk, code=locker_key, address=_address(request))


def _address(request: Request) -> str:
    """The address of the client, or the network of its subscriber."""
    return network_of(client_address(request))


def _asked(request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    """Who asks, for which wallet, and under which tag."""
    return {
        "actor": caller(request),
        "name": serializers.wallet_name(values, str(caller(request).pk)),
        "tag": values.get("memo", ""),
    }


def _uploaded(actor: Wallet, task_id: UUID, locker_key: str, warning: str) -> dict[str, Any]:
    ended = queries.final_task(actor=actor, task_id=task_id, patience=_PATIENCE)
    if ended.task.state == TaskState.ERROR:
        raise errors.UploadFailed(
            _how_it_failed(ended, locker_key), is_unknown=bool(ended.task.result.get("total_unknown"))
        )
    return serializers.uploaded(ended, locker_key) | ({"warning": warning} if warning else {})


def _uploaded_one(actor: Wallet, task_id: UUID, locker_key: str, warning: str) -> dict[str, Any]:
    ended = queries.final_task(actor=actor, task_id=task_id, patience=_PATIENCE)
    if ended.task.state == TaskState.ERROR:
        raise errors.UploadFailed(
            _how_it_failed(ended, locker_key), is_unknown=bool(ended.task.result.get("total_unknown"))
        )
    return serializers.uploaded_one(ended, locker_key) | ({"warning": warning} if warning else {})


def _downloaded(actor: Wallet, task_id: UUID, locker_key: str, warning: str = "") -> dict[str, Any]:
    ended = queries.final_task(actor=actor, task_id=task_id, patience=_PATIENCE)
    if ended.task.state == TaskState.ERROR:
        raise errors.DownloadFailed(_how_it_failed(ended, locker_key))
    return serializers.downloaded(ended, locker_key)


def _how_it_failed(view: queries.TaskView, locker_key: str) -> errors.Disagreement:
    """Not a 200: a client that looks at the status alone must not take it for success."""
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


class _InMemory(MemoryFileUploadHandler):
    """Keeps an upload in memory whatever its size: coin files are secrets, and have no business in /tmp."""

    def handle_raw_input(self, *arguments: Any, **keywords: Any) -> None:
        self.activated = True


class ImportViewSet(_LockersViewSet):
    """Coin files, as multipart form or as base64 in JSON."""

    begins_tasks = frozenset({"create"})
    parser_classes = [StrictJSONParser, MultiPartParser]
    maximum_bytes = MAXIMUM_LIST_BYTES

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        if int(request.META.get("CONTENT_LENGTH") or 0) <= _LARGEST_IMPORT:
            request.upload_handlers = [_InMemory(request)]
        return super().initialize_request(request, *args, **kwargs)

    @_describe(
        "Import coin files",
        body=serializers.IMPORT,
        body_examples={
            "Request": {"name": "alice", "items": [{"type": "inline", "name": "coins.bin", "data": "CQE…"}]}
        },
        form=serializers.IMPORT_FORM,
        answer=examples.IMPORT_STARTED,
        refusals=[
            *_FOREIGN,
            errors.NothingToImport("No coin was imported. The file is encrypted.", **examples.NOT_IMPORTED),
            errors.ImportUnderWay("No coin was imported. Another task of this wallet is importing this coin."),
            _TOO_MANY_TASKS,
            Invalid('"items" is required, or files in a multipart form'),
        ],
        tag="coins",
    )
    def create(self, request: Request) -> Response:
        if int(request.META.get("CONTENT_LENGTH") or 0) > _LARGEST_IMPORT:
            raise RequestRefused(413, "Request entity too large")
        if request.FILES or not isinstance(request.data, dict) or "items" not in request.data:
            values = serializers.IMPORT_FORM.read_body(_fields(request))
            uploads = [(file.name or field, file.read()) for field, files in request.FILES.lists() for file in files]
            if not uploads:
                raise Invalid('"items" is required, or files in a multipart form')
        else:
            values = serializers.IMPORT.read_body(request.data)
            uploads = serializers.inline_files(values["items"])
        begun = operations.start_import(
            actor=caller(request), name=values["name"], uploads=uploads, tag=values.get("tag", "")
        )
        return Response(serializers.started(begun))


def _fields(request: Request) -> dict[str, Any]:
    """What stands beside the files; a name that a form gives twice has a list, which no field takes."""
    body = request.data
    if not isinstance(body, QueryDict):
        return body if isinstance(body, dict) else {}
    return {name: each[0] if len(each) == 1 else each for name, each in body.lists() if name not in request.FILES}


class ExportViewSet(_LockersViewSet):
    """Coins as files. The file is a GET of its own, because an answer to the POST may be lost on its way."""

    begins_tasks = frozenset({"create", "file", "recall"})

    @_describe(
        "Export coins to a file",
        body=serializers.EXPORT,
        body_examples={
            "Amount": {"name": "alice", "amount": 20, "type": "bin", "tag": "backup"},
            "Everything": {"name": "alice", "all": True, "type": "stack"},
        },
        answer=examples.EXPORTED,
        refusals=[*_FOREIGN, *_NO_COINS, Invalid('Either "amount" is required, or "all" must be true')],
        tag="coins",
    )
    def create(self, request: Request) -> Response:
        values = serializers.EXPORT.read_body(request.data)
        begun = operations.export_coins(
            actor=caller(request),
            name=values["name"],
            units=serializers.amount_or_all(values),
            file_type=FileType(values["type"]),
            tag=values.get("tag", ""),
        )
        return Response(serializers.done(begun))

    @_describe("List exports", answer={"exports": [examples.EXPORT]}, query=_PAGE, tag="coins")
    def list(self, request: Request) -> Response:
        page = pagination.read(request, scope="exports", default_limit=_ROWS)
        rows = queries.exports_page(
            actor=caller(request), limit=page.fetch, offset=page.offset, after=_after(page.position)
        )
        return page.response(
            "exports",
            rows,
            write=serializers.export,
            position=lambda row: [row.export.created_at.isoformat(), str(row.export.pk)],
        )

    @_describe(
        "Show an export", answer=examples.EXPORT, path=_EXPORT_PATH, refusals=[errors.ExportNotFound()], tag="coins"
    )
    def retrieve(self, request: Request, export_id: str) -> Response:
        return Response(
            serializers.export(queries.export_visible_to(actor=caller(request), export_id=_export_id(export_id)))
        )

    @_describe(
        "Fetch the file of an export",
        answer=None,
        answer_files=sorted(set(_MEDIA_TYPES.values())),
        path=_EXPORT_PATH,
        refusals=[errors.ExportNotFound(), errors.ExportConfirmed(), errors.ExportReturned()],
        tag="coins",
    )
    def file(self, request: Request, export_id: str) -> HttpResponse:
        made = operations.fetch_export(actor=caller(request), export_id=_export_id(export_id))
        return HttpResponse(
            made.content,
            content_type=_MEDIA_TYPES[made.type],
            headers={"Content-Disposition": content_disposition_header(True, made.name) or "attachment"},
        )

    @_describe(
        "Confirm that the file of an export arrived",
        answer=examples.EXPORT,
        path=_EXPORT_PATH,
        refusals=[errors.ExportNotFound()],
        is_idempotent=True,
        tag="coins",
    )
    def confirm(self, request: Request, export_id: str) -> Response:
        return Response(
            serializers.export(operations.confirm_export(actor=caller(request), export_id=_export_id(export_id)))
        )

    @_describe(
        "Take the coins of an export back",
        answer=examples.IMPORT_STARTED,
        path=_EXPORT_PATH,
        refusals=[errors.ExportNotFound(), errors.ExportReturned(), _TOO_MANY_TASKS],
        is_idempotent=True,
        tag="coins",
    )
    def recall(self, request: Request, export_id: str) -> Response:
        begun = operations.recall_export(actor=caller(request), export_id=_export_id(export_id))
        return Response(serializers.started(begun))


def _export_id(text: str) -> UUID:
    parsed: UUID | None = names.parse_uuid(text)
    if parsed is None:
        raise errors.ExportNotFound
    return parsed


class CoinsViewSet(_LockersViewSet):
    """Coins in wallets, and what became of them."""

    begins_tasks = frozenset({"transfer", "find", "fix", "health", "break_coin", "echo"})

    @_describe("List the coins of one's wallets", answer={"wallets": [examples.WALLET]}, tag="coins")
    def wallets(self, request: Request) -> Response:
        found = queries.contents_of(wallet_list=queries.wallets_of(actor=caller(request)))
        return Response({"wallets": [serializers.wallet(each) for each in found]})

    @_describe(
        "Open a wallet for coins that the caller manages",
        body=serializers.NEW_WALLET,
        body_examples={"Request": {"name": "sapling"}},
        answer=examples.WALLET,
        refusals=[
            _FOREIGN[-1],
            wallet_errors.MisleadingWalletName(
                "invalid wallet name:11111111-1111-4111-8111-111111111111 has the form of an id"
            ),
            wallet_errors.WalletNameTaken("The wallet 'sapling' has been existed"),
            wallet_errors.WalletNameLength('"wallet" length must be at least 3 characters long'),
        ],
        tag="coins",
    )
    def open_wallet(self, request: Request) -> Response:
        values = serializers.NEW_WALLET.read_body(request.data)
        opened = trusts.open_managed_wallet(actor=caller(request), name=values["name"])
        return Response(serializers.wallet(queries.contents_of(wallet_list=[opened])[0]))

    @_describe(
        "Show the coins of a wallet",
        answer=examples.WALLET_WITH_TRANSACTIONS,
        path={"name": Text(maximum=254)},
        refusals=_FOREIGN,
        tag="coins",
    )
    def wallet(self, request: Request, name: str) -> Response:
        wallet = queries.wallet_of(actor=caller(request), name=name)
        contents = queries.contents_of(wallet_list=[wallet])[0]
        newest = queries.statement_of(wallet=wallet, limit=_NEWEST)
        return Response(serializers.wallet_with_transactions(contents, newest))

    @_describe(
        "Show the statement of a wallet",
        answer=examples.STATEMENT,
        path={"name": Text(maximum=254)},
        query=_PAGE,
        refusals=_FOREIGN,
        tag="coins",
    )
    def statement(self, request: Request, name: str) -> Response:
        wallet = queries.wallet_of(actor=caller(request), name=name)
        page = pagination.read(request, scope="statement", default_limit=_ROWS, parameters=[wallet.pk])
        found = queries.statement_of(
            wallet=wallet, limit=page.fetch, offset=page.offset, before=page.position[0] if page.position else None
        )
        response = page.response(
            "transactions", found.lines, write=serializers.statement_line, position=lambda line: [line.number]
        )
        response.data = serializers.statement_head(found) | response.data
        return response

    @_describe(
        "Move coins to another wallet",
        body=serializers.TRANSFER,
        body_examples={"Request": {"srcname": "alice", "dstname": "bob", "amount": 20, "tag": "rent"}},
        answer=examples.TRANSFERRED,
        refusals=[*_FOREIGN, *_NO_COINS, errors.SameWallets(), errors.ReceiverNotTrusting("alice", "bob")],
        tag="coins",
    )
    def transfer(self, request: Request) -> Response:
        values = serializers.TRANSFER.read_body(request.data)
        begun = operations.transfer_coins(
            actor=caller(request),
            source=values["srcname"],
            destination=values["dstname"],
            units=values["amount"],
            tag=values.get("tag", ""),
        )
        return Response(serializers.done(begun))

    @_describe(
        "Show a receipt",
        answer=examples.RECEIPT,
        path={"receipt_id": Text()},
        refusals=[errors.ReceiptNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def receipt(self, request: Request, receipt_id: str) -> Response:
        return Response(serializers.receipt(queries.receipt_visible_to(actor=caller(request), receipt_id=receipt_id)))

    @_describe(
        "Show a receipt of a wallet",
        answer=examples.RECEIPT,
        path={"name": Text(maximum=254), "receipt_id": Text()},
        refusals=[*_FOREIGN, errors.ReceiptNotFound()],
        about=server_letters.DESCRIPTION,
        tag="tasks",
    )
    def receipt_of_wallet(self, request: Request, name: str, receipt_id: str) -> Response:
        found = queries.receipt_visible_to(actor=caller(request), receipt_id=receipt_id, name=name)
        return Response(serializers.receipt(found))

    @_describe(
        "Look for coins in limbo",
        body=serializers.FIND,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[*_FOREIGN, errors.NothingToFind("No coin of this wallet is in limbo"), _TOO_MANY_TASKS],
        tag="coins",
    )
    def find(self, request: Request) -> Response:
        values = serializers.FIND.read_body(request.data)
        return Response(serializers.started(operations.start_find(actor=caller(request), name=values["name"])))

    @_describe(
        "Heal coins that some servers do not accept",
        body=serializers.FIX,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[
            *_FOREIGN,
            errors.NothingToFix("Every free coin of this wallet is accepted by all servers"),
            _TOO_MANY_TASKS,
        ],
        tag="coins",
    )
    def fix(self, request: Request) -> Response:
        values = serializers.FIX.read_body(request.data)
        return Response(serializers.started(operations.start_fix(actor=caller(request), name=values["name"])))

    @_describe(
        "Check which servers accept the coins of a wallet",
        body=serializers.HEALTH,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[*_FOREIGN, _TOO_MANY_TASKS],
        tag="coins",
    )
    def health(self, request: Request) -> Response:
        values = serializers.HEALTH.read_body(request.data)
        return Response(serializers.started(operations.start_health(actor=caller(request), name=values["name"])))

    @_describe(
        "Break a coin into ten smaller ones",
        body=serializers.BREAK,
        body_examples={"Request": {"name": "alice", "denomination": "10"}},
        answer=examples.STARTED,
        refusals=[
            *_FOREIGN,
            errors.NotEnoughCoins("The wallet has no free coin of 10 that may be broken"),
            _TOO_MANY_TASKS,
        ],
        tag="coins",
    )
    def break_coin(self, request: Request) -> Response:
        values = serializers.BREAK.read_body(request.data)
        begun = operations.start_break(
            actor=caller(request),
            name=values["name"],
            denomination=values["denomination"],
        )
        return Response(serializers.started(begun))

    @_describe(
        "Ask the 25 servers whether they are there", answer=examples.STARTED, refusals=[_TOO_MANY_TASKS], tag="coins"
    )
    def echo(self, request: Request) -> Response:
        return Response(serializers.started(operations.start_echo(actor=caller(request))))
