"""Paths of the wallets app, with and without a trailing slash."""

from django.urls import re_path

from wallets.views import AuthViewSet, TokenViewSet, WalletViewSet

urlpatterns = [
    re_path(r"^auth/?$", AuthViewSet.as_view({"post": "create"})),
    re_path(r"^wallets/?$", WalletViewSet.as_view({"get": "list", "post": "create"})),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/?$", WalletViewSet.as_view({"get": "retrieve", "patch": "partial_update"})),
    re_path(r"^tokens/?$", TokenViewSet.as_view({"get": "list"})),
    re_path(r"^tokens/(?P<token_id>[^/]+)/?$", TokenViewSet.as_view({"get": "retrieve"})),
]
