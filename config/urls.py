"""All URLs of Coppice."""

import re
from typing import Any, Final

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.urls.resolvers import RoutePattern
from drf_spectacular.renderers import OpenApiJsonRenderer

from config.api.error_page import error_page
from config.api.openapi_document import SchemaView
from config.api.treetracker import v2
from config.ops import health, metrics
from config.web import docs_pages, front, media
from config.web.public_pages import checkpoints, claim, coins, pay
from wallets import images

# Here and not at the start of every process: see `config.admin.apps`.
admin.autodiscover()

# The Treetracker API is served under /wallet/ and at the root, and its later version under /wallet/v2/.
_TREETRACKER = [path("", include("config.api.treetracker.urls"))]


class AnyCase(RoutePattern):
    """A case-insensitive prefix without parameters, and what follows it, as at the public service."""

    def match(self, path: str) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
        prefix = str(self)
        return (path[len(prefix) :].lower(), (), {}) if path[: len(prefix)].lower() == prefix else None


urlpatterns: list[URLPattern | URLResolver] = [
    path("", front.front),
    re_path(r"^livez/?$", health.livez),
    re_path(r"^readyz/?$", health.readyz),
    re_path(r"^metrics/?$", metrics.metrics),
    path("admin/", admin.site.urls),
    path("openapi.json", SchemaView.as_view(renderer_classes=[OpenApiJsonRenderer]), name="schema"),
    path("docs/", docs_pages.api_reference),
    path("docs/try/", docs_pages.TryView.as_view()),
    re_path(r"^docs/errors/?$", error_page),
    path("docs/<slug:name>/", docs_pages.page),
    re_path(r"^claim/?$", coins.open_code),
    re_path(r"^claim/wallet/?$", claim.claim_into_wallet),
    re_path(r"^claim/new/?$", claim.claim_into_new_wallet),
    re_path(r"^claim/coins/?$", coins.begin),
    re_path(r"^claim/coins/progress/?$", coins.progress),
    re_path(r"^public/checkpoints/?$", checkpoints.checkpoints),
    re_path(r"^pay/?$", pay.find),
    re_path(r"^pay/(?P<request_id>[^/]+)/?$", pay.show),
    re_path(r"^pay/(?P<request_id>[^/]+)/from-wallet/?$", pay.pay_from_wallet),
    re_path(r"^pay/(?P<request_id>[^/]+)/with-code/?$", pay.pay_with_code),
    re_path(rf"^media/(?P<name>{images.NAME})$", media.image),
    path("api/", include("config.api.cloudcoin.urls")),
    path("", include("config.api.webhooks.urls")),
    path("", include("config.api.keys.urls")),
    # Before `wallet/`.
    URLResolver(AnyCase(v2.PREFIX), _TREETRACKER, namespace=v2.NAMESPACE),
    URLResolver(AnyCase("wallet/"), _TREETRACKER),
    URLResolver(AnyCase(""), _TREETRACKER),
]

# Paths with the larger limit of request bodies.
LARGE_BODIES: Final = re.compile(r"/api/v1/import/?\Z")

handler400 = "config.api.errors.bad_request"
handler403 = "config.api.errors.permission_denied"
handler404 = "config.api.errors.page_not_found"
handler500 = "config.api.errors.server_error"
