"""The pages of an action on several rows of a list: its questions, one preview that counts, and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from config.admin.actions.base import TICKET_SECONDS, AdminAction, ReasonForm, input_digest
from config.admin.confirmation import operator_of
from config.admin.links import list_url, page_url
from wallets import errors
from wallets.operator_log import Operator
from wallets.request_id import current_request_id

# A list shows 50 rows on a page.
MOST_ROWS: Final = 100
_SALT: Final = "coppice.admin.many"
_NO_ROWS: Final = "Select at least one row."


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row with which nothing is done: how it is called, its page, and why."""

    name: str
    url: str
    why: str


class Many:
    """
    The view of one action on several rows.

    The preview carries a signed ticket with what it showed of each row. Each row has its own transaction, in which the
    action locks it, checks the operator's rights as they are then, and refuses it if it is not as the preview showed
    it. The report names the rows that were left as they are; the others are in the log, each for itself.
    """

    def __init__(self, action: AdminAction, site: AdminSite) -> None:
        assert action.model is not None
        self._action, self._site, self._model = action, site, action.model

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not self._action.may(operator_of(request), None):
            raise PermissionDenied
        if request.method != "POST":
            # Without rows there is nothing to show: an address that was kept, or typed.
            return HttpResponseRedirect(self._back(request))
        if request.POST.get("step") == "confirm":
            return self._confirmed(request)
        row_ids = list(dict.fromkeys(request.POST.getlist("row")))
        if not 0 < len(row_ids) <= MOST_ROWS:
            why = _NO_ROWS if not row_ids else f"At most {MOST_ROWS} rows can be chosen at once."
            messages.error(request, why)
            return HttpResponseRedirect(self._back(request))
        is_answered = request.POST.get("step") == "review"
        nothing_asked: dict[str, str] | None = None if self._action.has_questions else {}
        form = self._action.form_for_many(request.POST if is_answered else nothing_asked)
        if self._action.has_questions and not (is_answered and form.is_valid()):
            return self._page(request, form=form, row_ids=row_ids)
        return self._preview(request, form, row_ids)

    def _back(self, request: HttpRequest) -> str:
        """Return the URL of the list, with the filters that it had."""
        query = request.POST.get("back", "")
        return f"{list_url(self._model)}?{query}" if query else list_url(self._model)

    def _rows(self, row_ids: Sequence[str]) -> dict[str, Any]:
        """Return the rows that exist, by id, in the order in which they were chosen."""
        known = [row_id for row_id in row_ids if self._is_id(row_id)]
        found = {str(row.pk): row for row in self._model._default_manager.filter(pk__in=known)}
        return {row_id: found[row_id] for row_id in row_ids if row_id in found}

    def _is_id(self, text: str) -> bool:
        try:
            self._model._meta.pk.to_python(text)
        except ValidationError:
            return False
        return True

    def _preview(
        self, request: HttpRequest, form: ReasonForm, row_ids: Sequence[str], refusal: str = ""
    ) -> HttpResponse:
        action, user, values = self._action, operator_of(request), _values(form)
        possible, exceptions = [], []
        rows = self._rows(row_ids)
        for row_id in row_ids:
            row = rows.get(row_id)
            if row is None:
                exceptions.append(LeftOut(row_id, "", "it does not exist"))
            elif reason := "your role does not allow this" if not action.may(user, row) else action.why_not(user, row):
                exceptions.append(self._exception(row, reason))
            else:
                possible.append(row)
        if not possible:
            refusal = "Nothing can be done with the selected rows."
            return self._page(request, refusal=refusal, exceptions=exceptions, status=409)
        ticket = {
            "user": user.pk,
            "action": action.name,
            "values": input_digest(values),
            "number": token_urlsafe(16),
            "rows": {str(row.pk): action.snapshot(row, values) for row in possible},
        }
        return self._page(
            request,
            refusal=refusal,
            ticket=signing.dumps(ticket, salt=_SALT, compress=True),
            consequences=action.preview_of_many(possible, values),
            exceptions=exceptions,
            hidden=[(name, value) for name, value in values.items() if value not in (None, "")],
            status=400 if refusal else 200,
            row_ids=[str(row.pk) for row in possible],
        )

    def _confirmed(self, request: HttpRequest) -> HttpResponse:
        action, user = self._action, operator_of(request)
        form = action.form_for_many(request.POST)
        if not form.is_valid():
            return self._page(
                request, refusal="Nothing was done: the answers are not valid. Choose the rows again.", status=400
            )
        values, reason = _values(form), form.cleaned_data["reason"]
        try:
            found = signing.loads(request.POST.get("ticket", ""), salt=_SALT, max_age=TICKET_SECONDS)
        except signing.BadSignature:
            found = {}
        if (found.get("user"), found.get("action"), found.get("values")) != (
            user.pk,
            action.name,
            input_digest(values),
        ):
            refusal = (
                "Nothing was done: this confirmation is not valid, or more than 15 minutes old. Choose the rows again."
            )
            return self._page(request, refusal=refusal, status=409)
        if not reason:
            return self._preview(request, form, list(found["rows"]), "Nothing was done yet: give a reason.")
        done, exceptions = self._run(user, reason, values, found)
        return self._page(request, done=done, is_report=True, exceptions=exceptions, status=200 if done else 409)

    def _run(
        self, user: User, reason: str, values: Mapping[str, Any], found: Mapping[str, Any]
    ) -> tuple[list[str], list[LeftOut]]:
        """Do it row by row. Return what was done, in sentences, and the rows that were left as they are."""
        done: list[str] = []
        exceptions: list[LeftOut] = []
        rows = self._rows(list(found["rows"]))
        stopped = False
        for place, (row_id, snapshot) in enumerate(found["rows"].items()):
            row = rows.get(row_id)
            if row is None or stopped:
                why = "not tried: the database did not answer before" if stopped else "it does not exist any more"
                exceptions.append(LeftOut(row_id, "", why) if row is None else self._exception(row, why))
                continue
            try:
                # Rights are kept with the object of the person: a new one has those of now.
                staff = User.objects.get(pk=user.pk)
                operator = Operator(staff, f"{found['number']}:{place}", reason, current_request_id())
                done.append(self._action.run(operator, row, values, snapshot).message)
            except errors.AlreadyDone:
                exceptions.append(self._exception(row, "it was already done with this confirmation"))
            except (errors.DomainError, User.DoesNotExist) as error:
                exceptions.append(self._exception(row, str(error)))
            except DatabaseError:
                exceptions.append(self._exception(row, "the database did not answer; it may be tried again"))
                stopped = True
        return done, exceptions

    def _exception(self, row: Any, why: str) -> LeftOut:
        return LeftOut(self._action.log_label(row, {}), page_url(self._model, row.pk), why)

    def _page(self, request: HttpRequest, *, status: int = 200, **context: Any) -> HttpResponse:
        request.current_app = self._site.name
        return TemplateResponse(
            request,
            "desk/many.html",
            {
                **self._site.each_context(request),
                "title": self._action.label_for_many,
                "opts": self._model._meta,
                "action": self._action,
                "back": self._back(request),
                "query": request.POST.get("back", ""),
                **context,
            },
            status=status,
        )


def _values(form: ReasonForm) -> dict[str, Any]:
    form.is_valid()
    return {name: value for name, value in form.cleaned_data.items() if name != "reason"}
