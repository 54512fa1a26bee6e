"""The pages of proposals: their list, and the page on which a second operator approves or refuses one."""

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from config.admin import four_eyes
from config.admin.actions import registry
from config.admin.actions.base import AdminAction, InvalidTicket, ReasonForm
from config.admin.confirmation import operator_of, without_reason
from config.admin.kinds import PROPOSAL
from config.admin.links import page_url
from config.admin.models import Proposal
from wallets import errors
from wallets.models import OperatorAction
from wallets.operator_log import Operator
from wallets.request_id import current_request_id

_SHOWN: Final = 100


@require_safe
def listing(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Show the newest proposals."""
    if not request.user.has_perm("wallets.view_operatoraction"):
        raise PermissionDenied
    now = four_eyes.database_now()
    found = Proposal.objects.defer("given").select_related("proposer", "decided_by").order_by("-created_at", "id")
    request.current_app = site.name
    return TemplateResponse(
        request,
        "desk/proposals.html",
        {
            **site.each_context(request),
            "title": "Proposals",
            "rows": [{"proposal": each, "state": four_eyes.state_of(each, now)} for each in found[:_SHOWN]],
            "shown": _SHOWN,
        },
    )


class Decision:
    """
    The page of one proposal.

    It shows what was proposed, and a new preview of what would happen now, whose ticket is for the approver. Every
    state and right is checked again when the action runs.
    """

    def __init__(self, site: AdminSite) -> None:
        self._site = site

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @method_decorator(sensitive_post_parameters())
    def __call__(self, request: HttpRequest, proposal_id: UUID) -> HttpResponse:
        user = operator_of(request)
        proposal = self._proposal(proposal_id)
        action = registry.by_name(proposal.action)
        if not action.may(user, None) and user.pk != proposal.proposer_id:
            raise PermissionDenied
        row = self._row(proposal, action)
        four_eyes.void_if_lost(proposal.pk, action, row)
        if request.method == "POST" and request.POST.get("step") == "refuse":
            return self._refused(request, proposal, action, row)
        if request.method == "POST":
            return self._approved(request, proposal, action, row)
        return self._page(request, proposal_id)

    def _proposal(self, proposal_id: UUID) -> Proposal:
        proposal = Proposal.objects.select_related("proposer", "decided_by").filter(pk=proposal_id).first()
        if proposal is None:
            raise Http404
        return proposal

    def _row(self, proposal: Proposal, action: AdminAction) -> Any:
        if action.model is None:
            return None
        return action.model._default_manager.filter(pk=proposal.object_id).first()

    @method_decorator(sensitive_variables("outcome", "form", "values"))
    def _approved(self, request: HttpRequest, proposal: Proposal, action: AdminAction, row: Any) -> HttpResponse:
        user, reason = operator_of(request), request.POST.get("reason", "").strip()[:500]
        if not reason:
            return self._page(request, proposal.pk, refusal="Nothing was done yet: give a reason.", status=400)
        try:
            form = _form(proposal, action, row)
            values = without_reason(form)
            number, snapshot = action.redeem(request.POST.get("ticket", ""), user, row, values)
            operator = Operator(staff=user, confirmation=number, reason=reason, request_id=current_request_id())
            outcome = action.run(operator, row, values, snapshot, proposal_id=proposal.pk)
        except errors.AlreadyDone:
            refusal = "This was already done: the same confirmation was sent twice."
            return self._page(request, proposal.pk, refusal=refusal, status=409)
        except (InvalidTicket, errors.ChangedMeanwhile) as error:
            return self._page(request, proposal.pk, refusal=str(error), status=409, reason=reason)
        except errors.DomainError as error:
            return self._page(request, proposal.pk, refusal=f"Nothing was done. {error}", status=409)
        url = outcome.url or action.url_of(row if outcome.subject is None else outcome.subject)
        if outcome.secrets:
            return self._page(request, proposal.pk, done=outcome, next_url=url)
        messages.success(request, outcome.message)
        return HttpResponseRedirect(url)

    def _refused(self, request: HttpRequest, proposal: Proposal, action: AdminAction, row: Any) -> HttpResponse:
        user, reason = operator_of(request), request.POST.get("reason", "").strip()[:500]
        if not reason:
            return self._page(request, proposal.pk, refusal="Nothing was done yet: give a reason.", status=400)
        # A proposal is refused once, whatever the form was.
        number = f"refuse {proposal.pk}"
        operator = Operator(staff=user, confirmation=number, reason=reason, request_id=current_request_id())
        try:
            four_eyes.refuse(proposal_id=proposal.pk, action=action, operator=operator, row=row)
        except errors.AlreadyDone:
            return self._page(request, proposal.pk, refusal="It was refused already.", status=409)
        except errors.DomainError as error:
            return self._page(request, proposal.pk, refusal=f"Nothing was done. {error}", status=409)
        messages.success(request, "The proposal was refused. Nothing was done.")
        return HttpResponseRedirect(reverse("admin:proposals"))

    def _page(self, request: HttpRequest, proposal_id: UUID, *, status: int = 200, **context: Any) -> HttpResponse:
        """Show the proposal as it is now."""
        user, proposal = operator_of(request), self._proposal(proposal_id)
        action = registry.by_name(proposal.action)
        row = self._row(proposal, action)
        because = four_eyes.why_not(proposal, user)
        if not because and not action.may(user, row):
            because = "your role does not allow this action"
        if not because:
            because = action.why_not(user, row)
        consequences, ticket = [], ""
        if not because and "done" not in context:
            try:
                values = without_reason(_form(proposal, action, row))
            except errors.NotPossible as error:
                because = str(error)
            else:
                snapshot = action.snapshot(row, values)
                consequences = list(action.preview(row, values, snapshot))
                ticket = action.ticket(user, row, values, snapshot)
        log = OperatorAction.objects.filter(things__contains=[f"{PROPOSAL}:{proposal.pk}"])
        request.current_app = self._site.name
        return TemplateResponse(
            request,
            "desk/proposal.html",
            {
                **self._site.each_context(request),
                "title": f"Proposal: {proposal.title}"[:100],
                "proposal": proposal,
                "action": action,
                "state": four_eyes.state_of(proposal, four_eyes.database_now()),
                "is_open": not four_eyes.why_not_open(proposal),
                "is_proposer": user.pk == proposal.proposer_id,
                "because": because,
                "consequences": consequences,
                "is_other": consequences != proposal.shown,
                "ticket": ticket,
                "object_url": page_url(type(row), row.pk) if row is not None else "",
                "log": log.select_related("staff").order_by("pk"),
                **context,
            },
            status=status,
        )


def _form(proposal: Proposal, action: AdminAction, row: Any) -> ReasonForm:
    """
    Return the valid form with the input of the proposal.

    :raises NotPossible: the input is no longer valid, or cannot be opened
    """
    form = action.form(row, four_eyes.given(proposal))
    if not form.is_valid():
        raise errors.NotPossible("What was proposed is no longer valid: " + " ".join(form.errors.as_text().split("\n")))
    return form
