"""Authentication of the admin's users: Django's backend, with passwords in one Unicode normalisation form."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

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
        return person if person is not None and is_right and self.user_can_authenticate(person) else None
