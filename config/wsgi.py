"""The WSGI application that granian serves."""

import os

from django.core.wsgi import get_wsgi_application

from config.embedded import fill_environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")
fill_environment()

application = get_wsgi_application()
