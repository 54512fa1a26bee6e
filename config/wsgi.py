"""Django as a WSGI application, which `config.web.rsgi` serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

from config.dev.embedded import fill_environment
from config.ops import logs, request_metrics

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")
fill_environment()

logs.log_uncaught_exceptions()
application = get_wsgi_application()
# Loads all views now: otherwise the first request of each process would take a second longer.
resolve("/livez")
request_metrics.flush_regularly()
