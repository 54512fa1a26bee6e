"""The admin site: its URLs, access checks, home page and navigation."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, update_wrapper
from typing import Any, Final

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_safe

from config.admin import (
    alerts,
    base,
    dashboard,
    find,
    four_eyes,
    oidc_sign_in,
    proposals,
    reports,
    sessions,
    sign_in,
    task_progress,
    tiles,
)
from config.admin.actions import registry
from config.admin.confirmation import operator_of
from config.api.pools import Pool, answered_on
from config.web import replica_pages

# The navigation, in this order, in two lines: what the ledger holds; who uses it, and how it runs. Pages that the user
# may not see are left out.
_LEDGER: Final[Sequence[str]] = (
    "wallets.wallet",
    "wallets.token",
    "transfers.transfer",
    "transfers.actiontoken",
    "trusts.trust",
    "lockers.lockertask",
    "lockers.locker",
    "lockers.coin",
    "lockers.paymentrequest",
)
_RUNNING: Final[Sequence[str]] = (
    "webhooks.webhook",
    "webhooks.webhookdelivery",
    "wallets.apikey",
    "wallets.bearertoken",
    "wallets.restrictedkey",
    "desk.alert",
    "desk.request",
    "wallets.auditrun",
    "wallets.operatoraction",
    "auth.user",
)
# Pages of Django that are not used or are replaced.
_NOT_OURS: Final = {
    "autocomplete",
    "app_list",
    "jsi18n",
    "logout",
    "password_change",
    "password_change_done",
    "view_on_site",
}


def _from_replica(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a view whose pages a replica may answer."""

    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return replica_pages.answered(request, lambda: view(request, *args, **kwargs))

    return answered


class OperatorsAdminSite(AdminSite):
    """Django's admin with a home page that shows the state of the ledger."""

    site_header = "Coppice"
    site_title = "Coppice"
    index_title = "Home"
    site_url = None
    enable_nav_sidebar = False

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("find/", self.admin_view(partial(find.find, site=self, pages=self.pages_for)), name="find"),
            path("live/", self.admin_view(task_progress.tasks), name="live"),
            path("tiles/", self.admin_view(self.tiles), name="tiles"),
            path("second-factor/", partial(sign_in.second_factor_page, site=self), name="second_factor"),
            path("sessions/", self.admin_view(partial(sign_in.own_sessions, site=self)), name="sessions"),
            # Before Django's, which requires access to the admin: signing out is always possible.
            path("logout/", csrf_protect(self.logout), name="logout"),
            path(
                "password_change/",
                answered_on(Pool.PASSWORDS)(self.admin_view(partial(sign_in.change_password, site=self))),
                name="password_change",
            ),
            *(
                path(
                    f"reports/{kind}/",
                    self.admin_view(_from_replica(partial(reports.report, site=self, kind=kind))),
                    name=f"report_{kind}",
                )
                for kind in reports.KINDS
            ),
            path(
                "reports/wallet/<str:object_id>/",
                self.admin_view(_from_replica(partial(reports.wallet, site=self))),
                name="report_wallet",
            ),
            path("proposals/", self.admin_view(partial(proposals.listing, site=self)), name="proposals"),
            path("proposals/<uuid:proposal_id>/", self.admin_view(proposals.Decision(self)), name="proposal"),
            *oidc_sign_in.urls(self),
            *registry.urls(self),
            *[each for each in super().get_urls() if getattr(each, "name", None) not in _NOT_OURS],
        ]

    def has_permission(self, request: HttpRequest) -> bool:
        return sign_in.passed(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Require the second factor too, and update the session's last use."""
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if sign_in.waits_for_factor(request):
                return sign_in.to_factor(request)
            # The polling of an open page does not count as use.
            if view not in (task_progress.tasks, self.tiles) and self.has_permission(request):
                sessions.touch(request)
            answer: HttpResponseBase = inner(request, *args, **kwargs)
            return answer

        return update_wrapper(guarded, inner)

    @answered_on(Pool.PASSWORDS)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return sign_in.sign_in(request, site=self, extra_context=extra_context)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = {**super().each_context(request), "around": self._around(request)}
        if four_eyes.is_on() and self.has_permission(request):
            context["open_proposals"] = four_eyes.open_count()
        return context

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return nothing: the navigation is `around`."""
        return []

    def pages_for(self, request: HttpRequest) -> Iterator[base.LedgerPage]:
        """Yield the pages that the user may view, in the order of the navigation."""
        by_label = {model._meta.label_lower: page for model, page in self._registry.items()}
        for label in (*_LEDGER, *_RUNNING):
            page = by_label.get(label)
            if isinstance(page, base.LedgerPage) and page.has_view_permission(request):
                yield page

    def _around(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.has_permission(request):
            return []
        pages = []
        by_label = {model._meta.label_lower: (model, model_admin) for model, model_admin in self._registry.items()}
        for label in (*_LEDGER, *_RUNNING):
            model, model_admin = by_label.get(label, (None, None))
            if model is None or model_admin is None or not model_admin.has_view_or_change_permission(request):
                continue
            name = f"{model._meta.app_label}_{model._meta.model_name}_changelist"
            title = getattr(model_admin, "plural", model._meta.verbose_name_plural)
            pages.append(
                {"url_name": f"admin:{name}", "title": str(title), "label": label, "is_ledger": label in _LEDGER}
            )
        return pages

    @method_decorator(require_safe)
    def tiles(self, request: HttpRequest) -> HttpResponse:
        """Return the tiles and open alerts of the home page, as a part of a page."""
        if not request.user.has_perm("wallets.view_wallet"):
            raise PermissionDenied
        context = {"tiles": tiles.computed(tiles.Readings()), "alerts": alerts.open_alerts()}
        return TemplateResponse(request, "desk/tiles.html", context)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        # Every role has this permission; a staff member without a role sees nothing of the ledger.
        may_see = request.user.has_perm("wallets.view_wallet")
        context = {
            **self.each_context(request),
            "title": self.index_title,
            "home": dashboard.collected(days=dashboard.days_asked(request.GET.get("days")), user=operator_of(request))
            if may_see
            else None,
            **(extra_context or {}),
        }
        request.current_app = self.name
        return TemplateResponse(request, "admin/index.html", context)
