"""The pages of an operator's action: its questions if it has any, the preview that is confirmed, and the result."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from config.admin import four_eyes
from config.admin.actions.base import AdminAction, InvalidTicket, ReasonForm
from config.admin.four_eyes import as_sent
from wallets import errors
from wallets.models import OperatorAction
from wallets.operator_log import Operator
from wallets.request_id import current_request_id


def operator_of(request: HttpRequest) -> User:
    """Return the user of a request that the admin let in."""
    assert isinstance(request.user, User)
    return request.user


class Confirmation:
    """
    The view of one action.

    The preview carries a signed ticket. The action runs once, for the same user, within 15 minutes, with the same
    input, and only while the subject is as the preview showed it.
    """

    def __init__(self, action: AdminAction, site: AdminSite) -> None:
        self._action = action
        self._site = site

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @method_decorator(sensitive_post_parameters())
    def __call__(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        action, user = self._action, operator_of(request)
        if not action.may(user, None):
            raise PermissionDenied
        row = self._row(object_id)
        if not action.may(user, row):
            raise PermissionDenied
        if request.method == "POST" and request.POST.get("step") == "confirm":
            return self._confirmed(request, row)
        if reason := action.why_not(user, row):
            return self._page(request, row, refusal=f"This is not possible: {reason}.", status=409)
        if request.method == "POST":
            form = action.form(row, request.POST, request.FILES)
            return self._preview(request, row, form) if form.is_valid() else self._questions(request, row, form)
        if action.has_questions:
            return self._questions(request, row, action.form(row))
        return self._preview(request, row, action.form(row, {}))

    def _row(self, object_id: str | None) -> Any:
        model = self._action.model
        if model is None:
            return None
        try:
            row = model._default_manager.filter(pk=object_id).first()
        except (ValueError, TypeError, forms.ValidationError) as error:
            raise Http404 from error
        if row is None:
            raise Http404
        return row

    @method_decorator(sensitive_variables("outcome"))
    def _confirmed(self, request: HttpRequest, row: Any) -> HttpResponse:
        action, user = self._action, operator_of(request)
        form = action.form(row, request.POST, request.FILES)
        if not form.is_valid():
            if reason := action.why_not(user, row):
                return self._page(request, row, refusal=f"This is not possible: {reason}.", status=409)
            return self._questions(request, row, form)
        values, reason = without_reason(form), form.cleaned_data["reason"]
        if not reason:
            return self._again(request, row, form, refusal="Nothing was done yet: give a reason.", status=400)
        try:
            number, snapshot = action.redeem(request.POST.get("ticket", ""), user, row, values)
            operator = Operator(staff=user, confirmation=number, reason=reason, request_id=current_request_id())
            outcome = action.run(operator, row, values, snapshot)
        except errors.AlreadyDone as error:
            earlier = OperatorAction.objects.filter(pk=error.args[0]).first() if error.args else None
            refusal = "This action was already done: the same confirmation was sent twice."
            return self._page(request, row, refusal=refusal, earlier=earlier, status=409)
        except (InvalidTicket, errors.ChangedMeanwhile) as error:
            return self._again(request, row, form, refusal=str(error), status=409)
        except errors.DomainError as error:
            return self._page(request, row, refusal=f"Nothing was done. {error}", status=409)
        url = outcome.url or action.url_of(row if outcome.subject is None else outcome.subject)
        if outcome.secrets:
            return self._page(request, row, done=outcome, next_url=url)
        messages.success(request, outcome.message)
        return HttpResponseRedirect(url)

    def _again(self, request: HttpRequest, row: Any, form: ReasonForm, *, refusal: str, status: int) -> HttpResponse:
        """Show the preview as it is now, if the action is still possible."""
        row = None if row is None else self._row(str(row.pk))
        if reason := self._action.why_not(operator_of(request), row):
            return self._page(request, row, refusal=f"{refusal} It is no longer possible: {reason}.", status=409)
        return self._preview(request, row, form, refusal=refusal, status=status)

    def _questions(self, request: HttpRequest, row: Any, form: ReasonForm) -> HttpResponse:
        return self._page(request, row, form=form, intro=self._action.intro(row))

    def _preview(
        self, request: HttpRequest, row: Any, form: ReasonForm, *, refusal: str = "", status: int = 200
    ) -> HttpResponse:
        """Show what will happen. The answers to the questions are in hidden fields."""
        form.is_valid()
        action, values = self._action, without_reason(form)
        snapshot = action.snapshot(row, values)
        return self._page(
            request,
            row,
            title=action.heading(row, values),
            refusal=refusal,
            status=status,
            ticket=action.ticket(operator_of(request), row, values, snapshot),
            consequences=action.preview(row, values, snapshot),
            hidden=list(as_sent(values).items()),
            needs_second=four_eyes.is_covered(action, values),
            reason=form.cleaned_data.get("reason", ""),
        )

    def _page(self, request: HttpRequest, row: Any, *, status: int = 200, **context: Any) -> HttpResponse:
        action = self._action
        subject = action.model or action.above
        request.current_app = self._site.name
        return TemplateResponse(
            request,
            "desk/confirmation.html",
            {
                **self._site.each_context(request),
                "title": action.heading(row, {}),
                "action": action,
                "opts": None if subject is None else subject._meta,
                "back": action.url_of(row),
                **context,
            },
            status=status,
        )


def without_reason(form: ReasonForm) -> dict[str, Any]:
    """Return the answers. Of a file the form has made values, and it is not sent again."""
    return {
        name: value
        for name, value in form.cleaned_data.items()
        if name != "reason" and not isinstance(form.fields[name], forms.FileField)
    }
