"""Authentication of the admin's users: Django's backend, with passwords in one Unicode normalisation form."""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from config.admin.models import Identity
from wallets import passwords


class People(ModelBackend):
    """
    Accounts of the admin.

    A password is compared as `wallets.passwords` compares those of wallets. One that was stored in another form, by
    `manage.py createsuperuser` for instance, is also accepted as it was typed then.
    """

    @sensitive_variables("password")
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **credentials: Any
    ) -> User | None:
        if username is None or password is None:
            return None
        person = User.objects.filter(username=username).first()
        # Hash a password for unknown names too, so that the response time does not reveal which names exist.
        is_right, _ = passwords.verify(password, "" if person is None else person.password)
        if person is None or not is_right or not self.user_can_authenticate(person) or not _may_have_password(person):
            return None
        return person


def _may_have_password(person: User) -> bool:
    """
    Return whether a password is enough. The role of a person of the provider follows the groups at each sign-in there;
    with COPPICE_OIDC_ONLY only superusers keep their passwords, for the time when the provider does not answer.
    """
    if person.is_superuser:
        return True
    is_only = bool(settings.OIDC_ISSUER) and settings.OIDC_ONLY
    return not is_only and not Identity.objects.filter(user=person).exists()
