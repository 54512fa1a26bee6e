"""Paths of the transfers app, with and without a trailing slash."""

from django.urls import re_path

from transfers.batch_views import BatchViewSet
from transfers.event_views import EventViewSet
from transfers.views import HistoryViewSet, PendingViewSet, TransferViewSet

_TRANSFER = r"^transfers/(?P<transfer_id>[^/]+)"

urlpatterns = [
    re_path(r"^transfers/?$", TransferViewSet.as_view({"get": "list", "post": "create"})),
    re_path(rf"{_TRANSFER}/?$", TransferViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    re_path(rf"{_TRANSFER}/tokens/?$", TransferViewSet.as_view({"get": "tokens"})),
    re_path(rf"{_TRANSFER}/accept/?$", TransferViewSet.as_view({"post": "accept"})),
    re_path(rf"{_TRANSFER}/fulfill/?$", TransferViewSet.as_view({"post": "fulfill"})),
    re_path(rf"{_TRANSFER}/decline/?$", TransferViewSet.as_view({"post": "decline"})),
    re_path(r"^wallets/batch-create-wallet/?$", BatchViewSet.as_view({"post": "create_wallets"})),
    re_path(r"^wallets/batch-transfer/?$", BatchViewSet.as_view({"post": "transfer"})),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/pending-transfers/?$", PendingViewSet.as_view({"get": "list"})),
    re_path(r"^events/?$", EventViewSet.as_view({"get": "list"})),
    re_path(r"^tokens/(?P<token_id>[^/]+)/transactions/?$", HistoryViewSet.as_view({"get": "list"})),
]
