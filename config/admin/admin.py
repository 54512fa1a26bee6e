"""The pages of user accounts, in place of Django's. Django imports this module, and with it all pages."""

from typing import Any, cast

from django.contrib import admin

# Imported first, so that it does not register its pages after they were unregistered here.
from django.contrib.auth import admin as _djangos  # noqa: F401
from django.contrib.auth.models import Group, User
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

# The pages of the apps register themselves.
from config.admin import action_tokens as _action_tokens  # noqa: F401
from config.admin import alert_pages as _alert_pages  # noqa: F401
from config.admin import base, filters, people, roles, second_factor, sessions
from config.admin import credentials as _credentials  # noqa: F401
from config.admin import lockers as _lockers  # noqa: F401
from config.admin import payments as _payments  # noqa: F401
from config.admin import requests as _requests  # noqa: F401
from config.admin import transfers as _transfers  # noqa: F401
from config.admin import trusts as _trusts  # noqa: F401
from config.admin import wallets as _wallets  # noqa: F401
from config.admin import webhooks as _webhooks  # noqa: F401
from config.admin.base import Fact
from config.admin.confirmation import operator_of
from config.admin.csv_export import attributes
from config.admin.models import SecondFactor
from config.admin.templatetags import formats
from wallets.wording import counted

admin.site.unregister([User, Group])


class RoleFilter(filters.Choice):
    title = "role"
    parameter_name = "role"
    values = [*((role, role) for role in roles.ROLES), (people.SUPERUSER, people.SUPERUSER), (people.NO_ROLE, "none")]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == people.SUPERUSER:
            return queryset.filter(is_superuser=True)
        if value == people.NO_ROLE:
            return queryset.filter(is_superuser=False, groups=None)
        return queryset.filter(is_superuser=False, groups__name=value)


class ActiveFilter(filters.Choice):
    title = "active"
    parameter_name = "active"
    values = [("yes", "yes"), ("no", "no")]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        active = queryset.filter(is_active=True, is_staff=True)
        return active if value == "yes" else queryset.exclude(pk__in=active.values("pk"))


@admin.register(User)
class PersonPage(base.LedgerPage):
    """Accounts of the admin and their roles."""

    called = ("person", "people")
    list_display = ("name", "mail", "role", "active", "factor", "seen")
    list_filter = (RoleFilter, ActiveFilter, filters.made("date_joined"))
    # Few rows.
    sorts = {"name": ("username",), "seen": ("last_login", "username")}
    ordering = ("username",)
    search_help_text = "a name or a mail address"
    detail_template = "desk/person.html"
    empty = "No account yet."
    csv_columns = (
        ("name", lambda person: person.username),
        ("mail", lambda person: person.email),
        ("role", people.role_of),
        ("active", people.is_active),
        ("second factor", lambda person: "yes" if person.has_factor else "no"),
        *attributes("last_login"),
        ("created at", lambda person: person.date_joined),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        factor = SecondFactor.objects.filter(user_id=OuterRef("pk"))
        permissions = User.user_permissions.through.objects.filter(user_id=OuterRef("pk"))
        return (
            User.objects.defer("password")
            .annotate(has_factor=Exists(factor), has_permissions=Exists(permissions))
            .prefetch_related("groups")
        )

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(Q(username__istartswith=term) | Q(email__iexact=term))

    name = base.column("name", lambda person: person.username)
    mail = base.column("mail", lambda person: person.email or "–")
    role = base.column("role", people.role_of)
    active = base.column("active", lambda person: _yes(people.is_active(person)))
    factor = base.column("second factor", lambda person: "yes" if person.has_factor else "no")
    seen = base.column("last login", lambda person: formats.moment(person.last_login))

    def detail(self, request: HttpRequest, row: User) -> dict[str, Any]:
        about = second_factor.about(row)
        told = (
            f"since {about['since']:%Y-%m-%d}, {counted(cast(int, about['recovery_codes_left']), 'recovery code')} left"
            if about["second_factor"]
            else "none" + (", and the role must have one" if second_factor.is_obligatory(row) else "")
        )
        return {
            "title": f"Person {row.username}",
            "facts": [
                Fact("name", row.username),
                Fact("mail", row.email or "none"),
                Fact("role", people.role_of(row)),
                Fact("active", _yes(people.is_active(row))),
                Fact("second factor", told),
                Fact("signs in with", "the provider" if people.has_identity(row) else "a password"),
                Fact("last login", formats.full(row.last_login) or "never"),
                Fact("made", formats.full(row.date_joined)),
            ],
            "sessions": list(sessions.of_person(row)),
            "current": sessions.current(request),
            "may_end": not people.why_not(operator_of(request), row) and request.user.has_perm("desk.act_end_session"),
        }


def _yes(value: bool) -> SafeString:
    return formats.pill("valid" if value else "ended", "yes" if value else "no")
