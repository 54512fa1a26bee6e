"""Pages of tasks, lockers and coins. They read no secret: no authenticity number, transmit code or key."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.admin import base, filters, server_grid
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link
from config.admin.requests import requests_fact
from config.admin.templatetags import formats
from lockers import locker_expiry, reports, retry_plan
from lockers.locker_expiry import Outcome
from lockers.models import Coin, Locker, LockerTask
from lockers.states import SPENDABLE, CoinState, LockerState, TaskKind, TaskState


def _words(values: Any) -> list[tuple[str, str]]:
    return [(value.value, value.value) for value in values]


def _workers(attempt: int) -> str:
    if attempt < 2:
        return "1" if attempt else "none yet"
    return f"{attempt:,}, one after the other"


def _coins_of(task: LockerTask) -> dict[str, Any]:
    """Return the coins of a task as it ended, and as they are now, each with its heading."""
    if task.finished_at is None:
        return {"coins_heading": "Coins that it holds", "coins": reports.coins_of_task(task_id=task.pk)}
    then = {"coins_heading": "Coins as it ended", "coins": reports.coins_as_ended(task_id=task.pk)}
    if task.kind == TaskKind.PUT and task.locker_id is not None:
        now = reports.coins_of_locker(locker_id=task.locker_id)
        return then | {"now_heading": "The coins of its locker as they are now", "coins_now": now}
    settled = reports.coins_of_task(task_id=task.pk)
    if settled == then["coins"]:
        return then
    return then | {"now_heading": "The same coins as later tasks settled them", "coins_now": settled}


def _title(task: LockerTask) -> str:
    """Return kind, wallet, amount and tag."""
    amount = "" if task.amount is None else f": {formats.worth(task.amount)}"
    return f"{task.kind.capitalize()} of {task.wallet.name}{amount}" + (f", “{task.tag}”" if task.tag else "")


def _settled(task: LockerTask) -> list[Fact]:
    if task.settled_by is None or task.settled_at is None:
        return []
    by = link(task.settled_by, f"a {task.settled_by.kind}")
    return [Fact("settled by", by, note=f"{formats.full(task.settled_at)}; coins were unknown when it ended")]


def _tagged(tag: str) -> Q:
    # Repeats the predicate of the partial indexes.
    return Q(tag=tag) & ~Q(tag="")


class TaskStateFilter(filters.StateFilter):
    values = _words(TaskState)


class TaskKindFilter(filters.StateFilter):
    title = "kind"
    parameter_name = "kind"
    values = _words(TaskKind)


class NeedFilter(filters.Choice):
    title = "needs action"
    parameter_name = "need"
    values = (("yes", "coins unknown, or past the deadline"),)

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return reports.tasks_in_need(queryset)


@admin.register(LockerTask)
class LockerTaskPage(base.LedgerPage):
    """Tasks that talk to the RAIDA servers."""

    called = ("task", "tasks")
    list_display = ("kind", "status", "bar", "owner", "worth", "tag", "made", "ended")
    numbers = ("worth",)
    list_filter = (
        TaskStateFilter, TaskKindFilter, NeedFilter, filters.made("created_at", "begun"), filters.AgeFilter,
        filters.WalletFilter, filters.TagFilter, filters.CoinsFrom, filters.CoinsTo,
    )  # fmt: skip
    sorts = {"made": ("created_at", "id")}
    ordering = ("-created_at", "-id")
    search_help_text = "a task's or a receipt's id, or a tag"
    detail_template = "desk/task.html"
    empty = "No task yet. Importing coins or putting coins into a locker starts one."
    is_partners_work = True
    csv_columns = (
        *attributes("id", "kind", "state", "step", "progress", "wallet.name"),
        ("amount", lambda task: "" if task.amount is None else formats.coins(task.amount).replace(",", "")),
        *attributes("tag", "message", "attempt"),
        ("receipt", lambda task: task.receipt_id),
        *attributes("created_at", "finished_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[LockerTask]:
        sides = ("wallet", "actor", "locker", "settled_by")
        return LockerTask.objects.select_related(*sides).defer(
            "code", "locker__code", "wallet__password", "actor__password", "settled_by__code"
        )

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        condition = self.with_id(term)
        if condition is None:
            return queryset.filter(_tagged(term))
        digits = term.rstrip("…").rstrip(".").replace("-", "").lower()
        return queryset.filter(condition | Q(receipt_id__startswith=digits) | _tagged(term))

    status = base.column("state", lambda task: formats.pill(task.state))

    @admin.display(description="progress")
    def bar(self, task: LockerTask) -> SafeString:
        if task.state != TaskState.RUNNING:
            return SafeString("–")
        return format_html(
            '<progress max="100" value="{}" aria-label="progress of the task"></progress> {} %',
            task.progress,
            task.progress,
        )

    owner = base.column("wallet", lambda task: link(task.wallet))
    worth = base.column("coins", lambda task: formats.coins(task.amount))
    made = base.column("begun", lambda task: formats.moment(task.created_at))
    ended = base.column("ended", lambda task: "–" if task.finished_at is None else formats.moment(task.finished_at))

    def detail(self, request: HttpRequest, row: LockerTask) -> dict[str, Any]:
        progress = reports.progress_of([row.pk])[0]
        return {
            "title": _title(row),
            "progress": progress,
            "cells": server_grid.of_board(progress.board),
            "advice": retry_plan.advice(row, now=timezone.now()),
            "attempts": [
                (attempt, server_grid.of_answers(attempt.answers)) for attempt in reports.attempts_of(task_id=row.pk)
            ],
            **_coins_of(row),
            "result": reports.result_of(row),
            "legend": server_grid.ANSWER_LEGEND,
            "live_url": reverse("admin:live"),
            "facts": [
                Fact("wallet", link(row.wallet)),
                *([Fact("asked by", link(row.actor))] if row.actor_id != row.wallet_id else []),
                Fact("coins", formats.coins(row.amount)),
                Fact("tag", row.tag or "–"),
                *(
                    [
                        Fact(
                            "locker",
                            link(Locker(pk=row.locker_id), formats.short(row.locker_id)),
                            note=row.locker.state,
                        )
                    ]
                    if row.locker
                    else []
                ),
                *_expiry(row.locker),
                Fact("begun", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact(
                    "ended",
                    formats.full(row.finished_at) or "not yet",
                    note="" if row.finished_at else f"deadline {formats.ago(row.deadline)}",
                ),
                *_settled(row),
                *([Fact("seen", formats.full(row.seen_at), note=formats.ago(row.seen_at))] if row.seen_at else []),
                Fact("workers", _workers(row.attempt)),
                *(
                    requests_fact(request, "request", row.request_id, row.created_at, q=row.request_id)
                    if row.request_id
                    else ()
                ),
                Fact("receipt", row.receipt_id),
                Fact("id", row.pk),
            ],
        }


class LockerStateFilter(filters.StateFilter):
    values = _words(LockerState)


class ThinFilter(filters.Choice):
    title = "servers"
    parameter_name = "servers"
    values = (("thin", f"thin: fewer than {reports.THIN_BELOW}"),)


class ThinLockerFilter(ThinFilter):
    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return reports.thin_lockers(queryset)


class ExpiryFilter(filters.Choice):
    title = "expiry"
    parameter_name = "expiry"
    values = (("due", "expired, not known where its coins are"),)

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return reports.lockers_not_known(queryset)


class ThinCoinFilter(ThinFilter):
    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return reports.thin_coins(queryset)


def _mending(locker: Locker) -> str:
    if locker.mend_at is None:
        return "number of servers that hold each coin"
    return f"missing servers are retried {formats.ago(locker.mend_at)}"


def _expiry(locker: Locker | None) -> list[Fact]:
    """Return what is known now of a locker that expires, as facts of its page and of the pages of its tasks."""
    found = locker_expiry.of_locker(locker)
    if found is None:
        return []
    facts = [Fact("expires", formats.full(found.expires_at), note=formats.ago(found.expires_at))]
    if found.outcome is not Outcome.OPEN and found.message:
        facts.append(Fact("what became of it", found.message))
    if found.outcome is Outcome.UNKNOWN and found.next_at is not None:
        facts.append(Fact("servers are asked next", formats.full(found.next_at), note=formats.ago(found.next_at)))
    return facts


def _spread(fewest: int | None, most: int | None) -> str:
    return "–" if fewest is None or most is None else reports.spread_text(fewest, most)


@admin.register(Locker)
class LockerPage(base.LedgerPage):
    """Lockers that were filled by wallets of this ledger."""

    list_display = ("identity", "status", "servers", "worth", "owner", "tag", "made", "changed")
    numbers = ("worth",)
    list_filter = (
        LockerStateFilter, ThinLockerFilter, ExpiryFilter, filters.WalletFilter, filters.TagFilter,
        filters.CoinsFrom, filters.CoinsTo,
        filters.made("created_at", "begun"), filters.AgeFilter,
    )  # fmt: skip
    sorts = {"made": ("created_at", "id")}
    ordering = ("-created_at", "-id")
    search_help_text = "a locker's id or a tag"
    detail_template = "desk/locker.html"
    empty = "No locker was filled yet. Wallets fill them over the API."
    is_partners_work = True
    csv_columns = (
        *attributes("id", "state"),
        ("amount", lambda locker: formats.coins(locker.amount).replace(",", "")),
        ("servers", lambda locker: _spread(locker.fewest, locker.most)),
        *attributes("wallet.name", "tag", "created_at", "changed_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Locker]:
        found = Locker.objects.select_related("wallet").defer("code", "wallet__password")
        return reports.with_servers(found)

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(_tagged(term) | (self.with_id(term) or Q()))

    identity = base.column("locker", lambda locker: formats.short(locker.pk))
    status = base.column("state", lambda locker: formats.pill(locker.state))
    servers = base.column("on servers", lambda locker: _spread(locker.fewest, locker.most))
    worth = base.column("coins", lambda locker: formats.coins(locker.amount))
    owner = base.column("wallet", lambda locker: link(locker.wallet))
    made = base.column("begun", lambda locker: formats.moment(locker.created_at))
    changed = base.column("changed", lambda locker: formats.moment(locker.changed_at))

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "title": f"Locker {formats.short(row.pk)}",
            "tasks": list(row.tasks.defer("code").order_by("-created_at", "-id")[:20]),
            "coins": reports.coins_of_locker(locker_id=row.pk),
            "facts": [
                Fact("state", formats.pill(row.state), note=reports.LOCKER_WORDS[LockerState(row.state)]),
                Fact("wallet", link(row.wallet)),
                Fact("coins", formats.coins(row.amount)),
                Fact("servers", _spread(row.fewest, row.most), note=_mending(row)),
                Fact("tag", row.tag or "–"),
                Fact("transmit code", "••••••", note="shown to its owner only: it gives access to the coins"),
                *_expiry(row),
                Fact("begun", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("changed", formats.full(row.changed_at), note=formats.ago(row.changed_at)),
                Fact("id", row.pk),
            ],
        }


def _servers_needed(coin: Coin) -> str:
    if coin.passes < reports.THIN_BELOW and coin.state in (*SPENDABLE, CoinState.LOCKED):
        return "thin: the quorum is 13, and the other servers are retried automatically"
    return "13 make it spendable"


class CoinStateFilter(filters.StateFilter):
    values = _words(CoinState)


class DenominationFilter(filters.Choice):
    title = "denomination"
    parameter_name = "denomination"
    values = [(str(power), formats.denomination(power)) for power in range(6, -9, -1)]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(denomination=int(value))


@admin.register(Coin)
class CoinPage(base.LedgerPage):
    """Coins, without their authenticity numbers."""

    list_display = ("serial", "value", "status", "grade", "owner", "held_by", "changed")
    numbers = ("value",)
    list_filter = (CoinStateFilter, DenominationFilter, ThinCoinFilter, filters.WalletFilter)
    search_help_text = "a serial number"
    detail_template = "desk/coin.html"
    empty = "No coin yet. Wallets import coins, or take them out of lockers, over the API."
    is_partners_work = True
    csv_columns = (
        *attributes("id"),
        ("denomination", lambda coin: formats.denomination(coin.denomination).replace(",", "")),
        *attributes("serial_number", "state"),
        ("servers", lambda coin: coin.pown),
        *attributes("wallet.name"),
        ("held by", lambda coin: coin.task_id),
        *attributes("changed_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Coin]:
        return Coin.objects.select_related("wallet").defer("secrets", "proposed", "wallet__password")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("wallet_id", "state", "denomination", "id") if request.GET.get("wallet") else ("id",)

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        condition = self.with_id(term) or Q(pk=None)
        if term.isascii() and term.isdecimal() and len(term) <= 10:
            # Name all denominations, so that the index on (denomination, serial_number) is used.
            condition |= Q(denomination__in=range(-8, 7), serial_number=int(term))
        return queryset.filter(condition)

    serial = base.column("serial number", lambda coin: str(coin.serial_number))
    value = base.column("value", lambda coin: formats.denomination(coin.denomination))
    status = base.column("state", lambda coin: formats.pill(coin.state))
    grade = base.column("servers", lambda coin: reports.spread_text(coin.passes, coin.passes))
    owner = base.column("wallet", lambda coin: link(coin.wallet))
    held_by = base.column(
        "held by", lambda coin: "–" if coin.task_id is None else link(LockerTask(pk=coin.task_id), "a task")
    )
    changed = base.column("changed", lambda coin: formats.moment(coin.changed_at))

    def subjects(self, row: Coin) -> Sequence[tuple[str, object]]:
        # An export has the id of its task.
        near = (("task", row.task_id), ("locker", row.locker_id), ("task", row.export_id))
        return [*super().subjects(row), *((kind, row_id) for kind, row_id in near if row_id is not None)]

    def detail(self, request: HttpRequest, row: Coin) -> dict[str, Any]:
        return {
            "title": f"Coin of {formats.denomination(row.denomination)}, number {row.serial_number}",
            "cells": server_grid.of_board(row.pown),
            "facts": [
                Fact("state", formats.pill(row.state), note=reports.COIN_WORDS[CoinState(row.state)]),
                Fact("value", formats.denomination(row.denomination)),
                Fact("serial number", str(row.serial_number)),
                Fact("wallet", link(row.wallet)),
                Fact("servers", f"{row.passes} of 25 accept it", note=_servers_needed(row)),
                Fact(
                    "last checked",
                    "not yet" if row.checked_at is None else formats.full(row.checked_at),
                    note="" if row.checked_at is None else formats.ago(row.checked_at),
                ),
                Fact("came", f"by {row.origin}", note=formats.ago(row.created_at)),
                Fact("held by", "nothing" if row.task_id is None else link(LockerTask(pk=row.task_id), "a task")),
                *(
                    [Fact("locker", link(Locker(pk=row.locker_id), formats.short(row.locker_id)))]
                    if row.locker_id
                    else []
                ),
                Fact("authenticity numbers", "••••••", note="sealed; no page shows them"),
                Fact("changed", formats.full(row.changed_at), note=formats.ago(row.changed_at)),
                Fact("id", row.pk),
            ],
        }
