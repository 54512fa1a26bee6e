"""
URLs below `/api/`, with and without a trailing slash.

Some endpoints have aliases for clients of other products (RAIDA protocol, sections 9 and 10). A GET of those products
that moves coins is a POST here.
"""

from collections.abc import Sequence
from typing import Any, Final

from django.urls import re_path

from config.api.cloudcoin.coin_views import CoinViewSet
from config.api.cloudcoin.export_views import ExportViewSet
from config.api.cloudcoin.import_views import ImportViewSet
from config.api.cloudcoin.locker_views import LockerViewSet
from config.api.cloudcoin.payment_views import PaymentRequestViewSet
from config.api.cloudcoin.synchronous_views import SynchronousViewSet
from config.api.cloudcoin.task_views import ReceiptViewSet, TaskViewSet
from config.api.cloudcoin.wallet_views import WalletViewSet
from config.api.views import ApiViewSet

urlpatterns = [
    re_path(r"^v1/locker/?$", LockerViewSet.as_view({"post": "put_coins"})),
    re_path(r"^v1/lockers/?$", LockerViewSet.as_view({"get": "list"})),
    # A POST, so that no cache or history stores the response.
    re_path(r"^v1/lockers/(?P<locker_id>[^/]+)/code/?$", LockerViewSet.as_view({"post": "code"})),
    # Before the pattern that matches any code.
    re_path(r"^v1/locker/peek/?$", LockerViewSet.as_view({"post": "peek_with_body"})),
    re_path(r"^v1/locker/take/?$", LockerViewSet.as_view({"post": "take_with_body"})),
    re_path(r"^v1/locker/(?P<code>[^/]+)/?$", LockerViewSet.as_view({"get": "peek", "post": "take"})),
    re_path(r"^v1/tasks?/(?P<task_id>[^/]+)/?$", TaskViewSet.as_view({"get": "retrieve"})),
    re_path(r"^v1/import/?$", ImportViewSet.as_view({"post": "create"})),
    re_path(r"^v1/echo/?$", CoinViewSet.as_view({"get": "echo"})),
    re_path(r"^v1/fix/?$", CoinViewSet.as_view({"post": "fix"})),
    re_path(r"^v1/health/?$", CoinViewSet.as_view({"post": "health"})),
    re_path(r"^v1/break/?$", CoinViewSet.as_view({"post": "break_coin"})),
    re_path(r"^v1/find/?$", CoinViewSet.as_view({"post": "find"})),
    re_path(r"^v1/wallets/?$", WalletViewSet.as_view({"get": "wallets", "post": "open_wallet"})),
    # A name may contain a decoded slash. A wallet whose name ends in `/statement` is addressed by its id.
    re_path(r"^v1/wallets/(?P<name>.+?)/statement/?$", WalletViewSet.as_view({"get": "statement"})),
    re_path(r"^v1/wallets/(?P<name>.+?)/?$", WalletViewSet.as_view({"get": "wallet"})),
    re_path(r"^v1/transfer/?$", CoinViewSet.as_view({"post": "transfer"})),
    re_path(r"^v1/export/?$", ExportViewSet.as_view({"post": "create"})),
    re_path(r"^v1/exports/?$", ExportViewSet.as_view({"get": "list"})),
    re_path(r"^v1/exports/(?P<export_id>[^/]+)/?$", ExportViewSet.as_view({"get": "retrieve"})),
    re_path(r"^v1/exports/(?P<export_id>[^/]+)/file/?$", ExportViewSet.as_view({"get": "file"})),
    re_path(r"^v1/exports/(?P<export_id>[^/]+)/confirm/?$", ExportViewSet.as_view({"post": "confirm"})),
    re_path(r"^v1/exports/(?P<export_id>[^/]+)/recall/?$", ExportViewSet.as_view({"post": "recall"})),
    re_path(r"^v1/payment-requests/?$", PaymentRequestViewSet.as_view({"get": "list", "post": "create"})),
    re_path(
        r"^v1/payment-requests/(?P<payment_request_id>[^/]+)/?$",
        PaymentRequestViewSet.as_view({"get": "retrieve", "delete": "cancel"}),
    ),
    re_path(
        r"^v1/payment-requests/(?P<payment_request_id>[^/]+)/pay/?$", PaymentRequestViewSet.as_view({"post": "pay"})
    ),
    re_path(
        r"^v1/payment-requests/(?P<payment_request_id>[^/]+)/payments/(?P<payment_id>[^/]+)/?$",
        PaymentRequestViewSet.as_view({"get": "payment"}),
    ),
    re_path(r"^v1/receipts/(?P<receipt_id>[^/]+)/?$", ReceiptViewSet.as_view({"get": "receipt"})),
    re_path(
        r"^v1/transactions/(?P<name>.+?)/(?P<receipt_id>[^/]+)/?$",
        ReceiptViewSet.as_view({"get": "receipt_of_wallet"}),
    ),
    re_path(r"^transactions/locker/peek/?$", SynchronousViewSet.as_view({"get": "peek", "post": "peek_with_body"})),
    re_path(r"^transactions/locker/upload/?$", SynchronousViewSet.as_view({"post": "upload"})),
    re_path(r"^transactions/locker/put-one-coin/?$", SynchronousViewSet.as_view({"post": "put_one_coin"})),
    re_path(r"^transactions/locker/download/?$", SynchronousViewSet.as_view({"post": "download"})),
    re_path(r"^system/tasks/?$", SynchronousViewSet.as_view({"get": "task"})),
    re_path(r"^wallets/balance/?$", SynchronousViewSet.as_view({"get": "balance"})),
]

_ALIASES: Final[Sequence[tuple[str, type[ApiViewSet], dict[str, Any]]]] = (
    (r"^v1/deposit-coins-to-locker/?$", LockerViewSet, {"post": "put_coins"}),
    (r"^v1/verify-locker-contents/(?P<code>[^/]+)/?$", LockerViewSet, {"get": "peek"}),
    (r"^v1/retrieve-coins-from-locker/(?P<code>[^/]+)/?$", LockerViewSet, {"post": "take"}),
    (r"^locker/peek/?$", SynchronousViewSet, {"get": "peek", "post": "peek_with_body"}),
    (r"^locker/upload/?$", SynchronousViewSet, {"post": "upload"}),
    (r"^locker/put/?$", SynchronousViewSet, {"post": "upload"}),
    (r"^locker/put-no-sum/?$", SynchronousViewSet, {"post": "upload"}),
    (r"^transactions/locker/put/?$", SynchronousViewSet, {"post": "upload"}),
    (r"^transactions/locker/put-no-sum/?$", SynchronousViewSet, {"post": "upload"}),
    (r"^locker/put-one-coin/?$", SynchronousViewSet, {"post": "put_one_coin"}),
    (r"^locker/download/?$", SynchronousViewSet, {"post": "download"}),
    (r"^task/?$", SynchronousViewSet, {"get": "task"}),
    (r"^transactions/task/?$", SynchronousViewSet, {"get": "task"}),
)
urlpatterns += [re_path(path, view_set.as_view(actions, is_alias=True)) for path, view_set, actions in _ALIASES]
