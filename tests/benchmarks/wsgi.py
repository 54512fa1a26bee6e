"""The application of the control, with the garbage collection of the product's server."""

from config.web.processes import exclude_from_garbage_collection
from config.wsgi import application

__all__ = ["application"]

exclude_from_garbage_collection()
