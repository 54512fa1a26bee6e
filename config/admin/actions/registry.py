"""All actions of operators, their URLs, and the buttons of each page."""

from collections.abc import Sequence
from typing import Final

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse

from config.admin.actions import alerts, keys, lockers, payments, people, transfers, trusts, wallets, webhooks
from config.admin.actions.base import ActionButton, AdminAction
from config.admin.confirmation import Confirmation, operator_of
from config.admin.many import Many

# In the order in which the pages show them.
ALL: Final[Sequence[AdminAction]] = (
    wallets.CreateWallet(),
    transfers.IssueTokens(),
    wallets.SetPassword(),
    wallets.PseudonymiseWallet(),
    wallets.RevokeBearerTokens(),
    wallets.EndRestrictedKeys(),
    lockers.StartFind(),
    lockers.StartFix(),
    lockers.CheckCoins(),
    wallets.RevokeBearerToken(),
    keys.EndRestrictedKey(),
    wallets.CreateApiKey(),
    wallets.RotateApiKey(),
    wallets.RevokeApiKey(),
    trusts.EndTrust(),
    transfers.CancelTransfer(),
    payments.CancelPaymentRequest(),
    transfers.CancelActionToken(),
    lockers.RetryTask(),
    lockers.RollBackTask(),
    lockers.MarkTaskSeen(),
    webhooks.DisableWebhook(),
    webhooks.EnableWebhook(),
    webhooks.TestWebhook(),
    webhooks.ResendDelivery(),
    wallets.RunAudit(),
    lockers.RehearseOutage(),
    people.CreatePerson(),
    people.ChangeRole(),
    people.ChangeMail(),
    people.ChangeActive(),
    people.SetPersonPassword(),
    people.ResetSecondFactor(),
    people.EndSessions(),
    people.EndSession(),
    alerts.AcknowledgeAlert(),
)


_BY_NAME: Final = {action.name: action for action in ALL}


def by_name(name: str) -> AdminAction:
    """
    Return the action with this name.

    :raises KeyError: there is none
    """
    return _BY_NAME[name]


def urls(site: AdminSite) -> list[URLPattern]:
    return [
        *(
            path(f"acts/many/{action.name}/", site.admin_view(Many(action, site)), name=f"many-{action.name}")
            for action in ALL
            if action.label_for_many
        ),
    ] + [
        path(
            f"acts/{action.name}/" if action.model is None else f"acts/{action.name}/<str:object_id>/",
            site.admin_view(Confirmation(action, site)),
            name=action.name,
        )
        for action in ALL
    ]


def buttons_of(request: HttpRequest, row: Model) -> list[ActionButton]:
    """Return the buttons on the page of a row, with the reasons of those that are off."""
    user = operator_of(request)
    return [action.button(user, row) for action in ALL if action.model is not None and isinstance(row, action.model)]


def buttons_above(request: HttpRequest, model: type[Model]) -> list[ActionButton]:
    """Return the buttons above the list of a model."""
    user = operator_of(request)
    return [action.button(user, None) for action in ALL if action.above is model]


def buttons_for_many(request: HttpRequest, model: type[Model]) -> list[ActionButton]:
    """Return the buttons for the selected rows of a list of a model, which the user's role allows."""
    user = operator_of(request)
    return [
        ActionButton(action.label_for_many, reverse(f"admin:many-{action.name}"), is_dangerous=action.is_dangerous)
        for action in ALL
        if action.label_for_many and action.model is model and action.may(user, None)
    ]
