"""The operators' admin: Django's admin with its own site, templates and static files."""

from typing import Any

from django.apps import AppConfig
from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class OperatorsAdminConfig(AppConfig):
    """Listed before Django's admin in INSTALLED_APPS, so that its templates take precedence."""

    name = "config.admin"
    label = "desk"


class AdminSiteConfig(SimpleAdminConfig):
    """
    Django's admin with `OperatorsAdminSite` as the default site.

    Its pages are loaded with the URLs (`config.urls`) and by the checks, not by each process that runs Django: to
    import them takes half a second of processor time.
    """

    default_site = "config.admin.site.OperatorsAdminSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(_check_the_pages, checks.Tags.admin)


def _check_the_pages(**options: Any) -> list[checks.CheckMessage]:
    autodiscover()
    return check_admin_app(**options)
