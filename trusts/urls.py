"""Paths of the trusts app, with and without a trailing slash."""

from django.urls import re_path

from trusts.views import TrustViewSet

_TRUST = r"^trust_relationships/(?P<trust_relationship_id>[^/]+)"

urlpatterns = [
    re_path(r"^trust_relationships/?$", TrustViewSet.as_view({"get": "list", "post": "create"})),
    re_path(rf"{_TRUST}/?$", TrustViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    re_path(rf"{_TRUST}/accept/?$", TrustViewSet.as_view({"post": "accept"})),
    re_path(rf"{_TRUST}/decline/?$", TrustViewSet.as_view({"post": "decline"})),
    re_path(
        r"^wallets/(?P<wallet_id>[^/]+)/trust_relationships/?$",
        TrustViewSet.as_view({"get": "list_of_wallet"}),
    ),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/dismiss/?$", TrustViewSet.as_view({"post": "dismiss"})),
]
