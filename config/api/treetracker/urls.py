"""URLs of the Treetracker API, with and without a trailing slash."""

from django.urls import re_path

from config.api.treetracker.action_token_views import ActionTokenDescriptionViewSet, ActionTokenViewSet
from config.api.treetracker.approval_views import ApprovalViewSet
from config.api.treetracker.bulk_views import BatchViewSet
from config.api.treetracker.event_views import EventViewSet
from config.api.treetracker.proof_views import ProofViewSet
from config.api.treetracker.session_views import PasswordViewSet, SessionViewSet
from config.api.treetracker.statement_views import StatementViewSet
from config.api.treetracker.transfer_views import HistoryViewSet, PendingViewSet, TransferViewSet
from config.api.treetracker.trust_views import TrustViewSet
from config.api.treetracker.wallet_views import AuthViewSet, TokenViewSet, WalletViewSet

_TRANSFER = r"^transfers/(?P<transfer_id>[^/]+)"
_TRUST = r"^trust_relationships/(?P<trust_relationship_id>[^/]+)"

urlpatterns = [
    # Before `/action-tokens/{id}`, which also matches `/action-tokens/batch`.
    re_path(r"^action-tokens/?$", ActionTokenViewSet.as_view({"get": "list", "post": "create"})),
    re_path(r"^action-tokens/batch/?$", ActionTokenViewSet.as_view({"post": "batch"})),
    re_path(r"^action-tokens/redeem/?$", ActionTokenViewSet.as_view({"post": "redeem"})),
    re_path(r"^action-tokens/describe/?$", ActionTokenDescriptionViewSet.as_view({"post": "create"})),
    re_path(
        r"^action-tokens/(?P<action_token_id>[^/]+)/?$",
        ActionTokenViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    re_path(r"^transfers/?$", TransferViewSet.as_view({"get": "list", "post": "create"})),
    re_path(rf"{_TRANSFER}/?$", TransferViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    re_path(rf"{_TRANSFER}/tokens/?$", TransferViewSet.as_view({"get": "tokens"})),
    re_path(rf"{_TRANSFER}/proof/?$", ProofViewSet.as_view({"get": "of_transfer"})),
    re_path(rf"{_TRANSFER}/accept/?$", TransferViewSet.as_view({"post": "accept"})),
    re_path(rf"{_TRANSFER}/fulfill/?$", TransferViewSet.as_view({"post": "fulfill"})),
    re_path(rf"{_TRANSFER}/decline/?$", TransferViewSet.as_view({"post": "decline"})),
    re_path(rf"{_TRANSFER}/approve/?$", TransferViewSet.as_view({"post": "approve"})),
    re_path(rf"{_TRANSFER}/refuse/?$", TransferViewSet.as_view({"post": "refuse"})),
    # Before `/wallets/{id}`, which also matches `/wallets/batch-transfer`.
    re_path(r"^wallets/batch-create-wallet/?$", BatchViewSet.as_view({"post": "create_wallets"})),
    re_path(r"^wallets/batch-transfer/?$", BatchViewSet.as_view({"post": "transfer"})),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/pending-transfers/?$", PendingViewSet.as_view({"get": "list"})),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/balance/?$", StatementViewSet.as_view({"get": "balance"})),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/statement/?$", StatementViewSet.as_view({"get": "statement"})),
    re_path(r"^events/?$", EventViewSet.as_view({"get": "list"})),
    re_path(r"^tokens/(?P<token_id>[^/]+)/transactions/?$", HistoryViewSet.as_view({"get": "list"})),
    re_path(r"^tokens/(?P<token_id>[^/]+)/proof/?$", ProofViewSet.as_view({"get": "of_token"})),
    re_path(r"^auth/?$", AuthViewSet.as_view({"post": "create"})),
    re_path(r"^auth/password/?$", PasswordViewSet.as_view({"post": "change"})),
    re_path(r"^auth/sessions/?$", SessionViewSet.as_view({"get": "list"})),
    re_path(r"^auth/sessions/(?P<session_id>[^/]+)/?$", SessionViewSet.as_view({"delete": "destroy"})),
    re_path(r"^auth/token/?$", SessionViewSet.as_view({"delete": "log_out"})),
    re_path(r"^wallets/?$", WalletViewSet.as_view({"get": "list", "post": "create"})),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/?$", WalletViewSet.as_view({"get": "retrieve", "patch": "partial_update"})),
    re_path(
        r"^wallets/(?P<wallet_id>[^/]+)/approval/?$",
        ApprovalViewSet.as_view({"get": "retrieve", "put": "update"}),
    ),
    re_path(r"^wallets/(?P<wallet_id>[^/]+)/export/?$", WalletViewSet.as_view({"get": "export"})),
    re_path(r"^tokens/?$", TokenViewSet.as_view({"get": "list"})),
    re_path(r"^tokens/(?P<token_id>[^/]+)/?$", TokenViewSet.as_view({"get": "retrieve"})),
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
