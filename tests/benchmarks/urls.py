"""Every URL of Coppice and `/nothing`: the framework's limit."""

from django.urls import path
from rest_framework.request import Request

from config.api.renderers import Response
from config.api.views import ApiViewSet
from config.urls import handler400, handler403, handler404, handler500
from config.urls import urlpatterns as product

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class NothingViewSet(ApiViewSet):
    """Routes, authenticates and answers as every endpoint does, and does nothing else."""

    def list(self, request: Request) -> Response:
        return Response({})


urlpatterns = [*product, path("nothing", NothingViewSet.as_view({"get": "list"}))]
