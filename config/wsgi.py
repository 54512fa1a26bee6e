"""Django as a WSGI application, which `config.web.rsgi` serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

from config.dev.embedded import fill_environment
from config.ops import logs, request_metrics

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")
fill_environment()

logs.keep_quiet()
application = get_wsgi_application()
# Loads every view now; the first request of each process would wait a second for it.
resolve("/livez")
request_metrics.hand_over_regularly()
