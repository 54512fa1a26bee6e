"""URLs of webhooks, with and without a trailing slash."""

from django.urls import re_path

from config.api.webhooks.views import WebhookViewSet

_WEBHOOK = r"^webhooks/(?P<webhook_id>[^/]+)"

urlpatterns = [
    re_path(r"^webhooks/?$", WebhookViewSet.as_view({"get": "list", "post": "create"})),
    re_path(
        rf"{_WEBHOOK}/?$",
        WebhookViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    re_path(rf"{_WEBHOOK}/rotate-secret/?$", WebhookViewSet.as_view({"post": "rotate_secret"})),
    re_path(rf"{_WEBHOOK}/test/?$", WebhookViewSet.as_view({"post": "test"})),
    re_path(rf"{_WEBHOOK}/deliveries/?$", WebhookViewSet.as_view({"get": "deliveries"})),
    re_path(rf"{_WEBHOOK}/deliveries/(?P<delivery_id>[^/]+)/resend/?$", WebhookViewSet.as_view({"post": "resend"})),
]
