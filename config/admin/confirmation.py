"""
From a button to an effect: what every act of an operator has in common.

An act is confirmed on a page that says in numbers what will come of it. The page carries a signed ticket: who, what,
on which object, with which input, what was shown, and a number of its own. Only with this ticket, within its time,
by the same person, and while everything is as it was shown, does the act take place: once, however often it is sent.

The rules are in the apps' `acts`; here is only how they are asked.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from wallets import errors
from wallets.models import OperatorAction
from wallets.operator_log import Operator
from wallets.request_id import current_request_id

TICKET_SECONDS: Final = 15 * 60
_SALT: Final = "coppice.desk.act"


class Reason(forms.Form):
    """
    What every act asks for besides its own questions: a reason, on the page that says what will come of it.

    It is required there, and not before: an act without questions begins with that page.
    """

    reason = forms.CharField(max_length=500, required=False)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an act: where to look, and what is shown once and never again."""

    sentence: str
    url: str
    secrets: Sequence[tuple[str, str]] = ()


class AdminAction:
    """
    One kind of act. `model` is None if it concerns no row.

    A subclass gives the class attributes, and says by its methods why it is not possible, what it shows, what will
    come of it, and which act of the domain does it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    # What the confirming button says.
    verb: ClassVar[str]
    model: ClassVar[type[Model] | None] = None
    form_class: ClassVar[type[forms.Form]] = Reason
    is_dangerous: ClassVar[bool] = False
    # The app whose permission it takes.
    app: ClassVar[str] = "wallets"

    @property
    def permission(self) -> str:
        return f"{self.app}.act_{self.name.replace('-', '_')}"

    def may(self, user: User, row: Any) -> bool:
        """Tell whether the user's role allows the act; `row` is None before it is known."""
        return user.has_perm(self.permission)

    def why_not_for(self, user: User, row: Any) -> str:
        """Return why this person cannot do it with the row now, or "" if it is possible."""
        return self.why_not(row)

    @property
    def asks(self) -> bool:
        """Whether there is more to fill in than the reason."""
        return set(self.form_class.base_fields) != {"reason"}

    def form(self, row: Any, *args: Any, **kwargs: Any) -> forms.Form:
        return self.form_class(*args, **kwargs)

    def why_not(self, row: Any) -> str:
        """Return why it cannot be done with the row now, or "" if it can."""
        return ""

    def heading(self, row: Any) -> str:
        return self.label if row is None else f"{self.label}: {row}"

    def intro(self, row: Any) -> str:
        """Return what a form with questions says above them."""
        return ""

    def shown(self, row: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the decision rests on, as plain values."""
        raise NotImplementedError

    def consequences(self, row: Any, values: Mapping[str, Any], shown: Mapping[str, Any]) -> Sequence[str]:
        """Return what will come of it, in sentences with numbers."""
        raise NotImplementedError

    def perform(self, operator: Operator, row: Any, values: Mapping[str, Any], shown: Mapping[str, Any]) -> Done:
        """Do it, by one act of the domain."""
        raise NotImplementedError

    def url_of(self, row: Any) -> str:
        """Return the page to go back to."""
        raise NotImplementedError


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Refused(Exception):
    """A ticket does not fit; the sentence is for the operator."""


def _ticket(
    request: HttpRequest, deed: AdminAction, row: Any, values: Mapping[str, Any], shown: Mapping[str, Any]
) -> str:
    return signing.dumps(
        {
            "user": request.user.pk,
            "deed": deed.name,
            "row": None if row is None else str(row.pk),
            "values": _digest(values),
            "shown": dict(shown),
            "number": token_urlsafe(16),
        },
        salt=_SALT,
    )


def _redeem(
    request: HttpRequest, deed: AdminAction, row: Any, values: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Return a ticket's number and what was shown. :raises Refused: it is of somebody or something else, or too old"""
    try:
        ticket = signing.loads(request.POST.get("ticket", ""), salt=_SALT, max_age=TICKET_SECONDS)
    except signing.SignatureExpired as error:
        raise Refused("This confirmation is more than 15 minutes old. Look again.") from error
    except signing.BadSignature as error:
        raise Refused("This confirmation was not made here. Look again.") from error
    fits = (
        ticket["user"] == request.user.pk
        and ticket["deed"] == deed.name
        and ticket["row"] == (None if row is None else str(row.pk))
        and ticket["values"] == _digest(values)
    )
    if not fits:
        raise Refused("This confirmation is of something else. Look again.")
    return ticket["number"], ticket["shown"]


def operator_of(request: HttpRequest) -> User:
    """Return who is signed in at the desk, where somebody is."""
    assert isinstance(request.user, User)
    return request.user


class Confirmation:
    """The pages of one deed: questions if it has any, then what will come of it, then what came of it."""

    def __init__(self, deed: AdminAction, site: AdminSite) -> None:
        self._deed = deed
        self._site = site

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @method_decorator(sensitive_post_parameters())
    def __call__(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        deed, user = self._deed, operator_of(request)
        if not deed.may(user, None):
            raise PermissionDenied
        row = self._row(object_id)
        if not deed.may(user, row):
            raise PermissionDenied
        if request.method == "POST" and request.POST.get("step") == "confirm":
            return self._confirmed(request, row)
        if reason := deed.why_not_for(user, row):
            return self._page(request, row, refusal=f"This is not possible: {reason}.", status=409)
        if request.method == "POST":
            form = deed.form(row, request.POST, request.FILES)
            return self._confirmation(request, row, form) if form.is_valid() else self._questions(request, row, form)
        if deed.asks:
            return self._questions(request, row, deed.form(row))
        return self._confirmation(request, row, deed.form(row, {}))

    def _row(self, object_id: str | None) -> Any:
        model = self._deed.model
        if model is None:
            return None
        try:
            row = model._default_manager.filter(pk=object_id).first()
        except (ValueError, TypeError, forms.ValidationError) as error:
            raise Http404 from error
        if row is None:
            raise Http404
        return row

    def _confirmed(self, request: HttpRequest, row: Any) -> HttpResponse:
        deed = self._deed
        form = deed.form(row, request.POST, request.FILES)
        if not form.is_valid():
            if reason := deed.why_not_for(operator_of(request), row):
                return self._page(request, row, refusal=f"This is not possible: {reason}.", status=409)
            return self._questions(request, row, form)
        values = _without_reason(form)
        if not form.cleaned_data["reason"]:
            return self._again(request, row, form, refusal="Nothing was done yet: say for what reason.", status=400)
        try:
            number, shown = _redeem(request, deed, row, values)
            operator = Operator(
                staff=operator_of(request),
                confirmation=number,
                reason=form.cleaned_data["reason"],
                request_id=current_request_id(),
            )
            done = deed.perform(operator, row, values, shown)
        except errors.AlreadyDone as error:
            return self._was_done(request, row, error)
        except (Refused, errors.ChangedMeanwhile) as error:
            return self._again(request, row, form, refusal=str(error), status=409)
        except errors.DomainError as error:
            return self._page(request, row, refusal=f"Nothing was done. {error}", status=409)
        if done.secrets:
            return self._page(request, row, done=done)
        messages.success(request, done.sentence)
        return HttpResponseRedirect(done.url)

    def _again(self, request: HttpRequest, row: Any, form: forms.Form, *, refusal: str, status: int) -> HttpResponse:
        """Show what would come of it now, if it is still possible."""
        row = self._fresh(row)
        if reason := self._deed.why_not_for(operator_of(request), row):
            return self._page(request, row, refusal=f"{refusal} It is not possible any more: {reason}.", status=409)
        return self._confirmation(request, row, form, refusal=refusal, status=status)

    def _fresh(self, row: Any) -> Any:
        return None if row is None else self._row(str(row.pk))

    def _was_done(self, request: HttpRequest, row: Any, error: errors.AlreadyDone) -> HttpResponse:
        action = OperatorAction.objects.filter(pk=error.args[0]).first() if error.args else None
        sentence = "This was done already, once: the same confirmation was sent twice."
        return self._page(request, row, refusal=sentence, action=action, status=409)

    def _questions(self, request: HttpRequest, row: Any, form: forms.Form) -> HttpResponse:
        return self._page(request, row, form=form, intro=self._deed.intro(row))

    def _confirmation(
        self, request: HttpRequest, row: Any, form: forms.Form, *, refusal: str = "", status: int = 200
    ) -> HttpResponse:
        """Show what will come of it. What was filled in goes along, hidden."""
        form.is_valid()
        values = _without_reason(form)
        shown = self._deed.shown(row, values)
        return self._page(
            request,
            row,
            refusal=refusal,
            status=status,
            ticket=_ticket(request, self._deed, row, values, shown),
            consequences=self._deed.consequences(row, values, shown),
            hidden=[(name, value) for name, value in _as_sent(values).items() if name != "reason"],
            reason=form.cleaned_data.get("reason", ""),
        )

    def _page(self, request: HttpRequest, row: Any, *, status: int = 200, **context: Any) -> HttpResponse:
        deed = self._deed
        request.current_app = self._site.name
        return TemplateResponse(
            request,
            "desk/act.html",
            {
                **self._site.each_context(request),
                "title": deed.heading(row),
                "deed": deed,
                "back": deed.url_of(row),
                **context,
            },
            status=status,
        )


def _without_reason(form: forms.Form) -> dict[str, Any]:
    """What decides; of a file the form has made values, and it is not sent again."""
    return {
        name: value
        for name, value in form.cleaned_data.items()
        if name != "reason" and not isinstance(form.fields[name], forms.FileField)
    }


def _as_sent(values: Mapping[str, Any]) -> dict[str, str]:
    """Turn cleaned values into what a form would send for them."""
    return {
        name: "on" if value is True else str(value) for name, value in values.items() if value not in (None, "", False)
    }
