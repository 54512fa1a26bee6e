"""URLs of restricted keys, with and without a trailing slash."""

from django.urls import re_path

from config.api.keys.views import KeyViewSet

urlpatterns = [
    re_path(r"^keys/?$", KeyViewSet.as_view({"get": "list", "post": "create"})),
    re_path(
        r"^keys/(?P<key_id>[^/]+)/?$",
        KeyViewSet.as_view({"get": "retrieve", "patch": "rename", "delete": "end"}),
    ),
]
