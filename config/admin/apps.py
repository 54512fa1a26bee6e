"""The operators' admin: Django's admin with its own site, templates and static files."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class OperatorsAdminConfig(AppConfig):
    """Listed before Django's admin in INSTALLED_APPS, so that its templates take precedence."""

    name = "config.admin"
    label = "desk"


class AdminSiteConfig(AdminConfig):
    """Django's admin with `OperatorsAdminSite` as the default site."""

    default_site = "config.admin.site.OperatorsAdminSite"
