"""Every URL of Coppice, in one place."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.renderers import OpenApiJsonRenderer

from config import health, metrics
from config.api.openapi import DocsView, SchemaView

# The Treetracker surface stands under the public prefix and, identically, at the root.
_TREETRACKER = [
    # Before the wallets: `/wallets/batch-transfer` is no wallet.
    path("", include("transfers.urls")),
    path("", include("wallets.urls")),
    path("", include("trusts.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(r"^livez/?$", health.livez),
    re_path(r"^readyz/?$", health.readyz),
    re_path(r"^metrics/?$", metrics.metrics),
    path("admin/", admin.site.urls),
    path("openapi.json", SchemaView.as_view(renderer_classes=[OpenApiJsonRenderer]), name="schema"),
    path("docs/", DocsView.as_view()),
    path("api/", include("lockers.urls")),
    path("wallet/", include(_TREETRACKER)),
    path("", include(_TREETRACKER)),
]

handler400 = "config.api.errors.bad_request"
handler403 = "config.api.errors.permission_denied"
handler404 = "config.api.errors.page_not_found"
handler500 = "config.api.errors.server_error"
