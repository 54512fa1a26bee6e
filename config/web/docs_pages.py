"""The pages below `/docs/`: the API reference, and pages of docs/ for the people who write clients."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import get_script_prefix
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from config.environment import ROOT
from config.web import markdown, reference
from config.web.security_headers import READING_POLICY

# Files of docs/, by the name in the path: the title in the navigation.
PAGES: Final[Mapping[str, str]] = {
    "partners": "For partners",
    "clients": "Public clients",
    "seals": "Seals",
    "glossary": "Glossary",
}


@require_safe
def api_reference(request: HttpRequest) -> HttpResponse:
    """Show every operation and schema of the API description."""
    return _guarded(_written_reference(get_script_prefix()))


@cache
def _written_reference(home: str) -> str:
    """Return the page with links below `home`. It depends on the code alone and takes a third of a second to write."""
    values = {"introduction": reference.introduction(), "groups": reference.groups(), "schemas": reference.schemas()}
    return render_to_string("docs/reference.html", {**around("docs/", "API reference", home), **values})


@require_safe
def page(request: HttpRequest, name: str) -> HttpResponse:
    """Show a file of docs/."""
    if name not in PAGES:
        raise Http404
    home = get_script_prefix()
    links = {f"{each}.md": f"{home}docs/{each}/" for each in PAGES} | {"openapi.json": f"{home}openapi.json"}
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    body = markdown.page_of(text, links, anchors_of_rows=name == "glossary")
    values = {**around(f"docs/{name}/", PAGES[name], home), "body": body}
    return _guarded(render_to_string("docs/page.html", values))


def around(path: str, title: str, home: str) -> dict[str, Any]:
    """Return the values of what all pages below `/docs/` have: `path` is that of the present one."""
    entries = [("docs/", "API reference"), *((f"docs/{name}/", name_shown) for name, name_shown in PAGES.items())]
    entries.insert(2, ("docs/errors", "Errors"))
    entries += [("docs/try/", "Try it"), ("openapi.json", "OpenAPI")]
    return {
        "title": title,
        "home": home,
        "navigation": [(f"{home}{each}", name_shown, each == path) for each, name_shown in entries],
    }


def _guarded(content: str) -> HttpResponse:
    return HttpResponse(content, headers={"Content-Security-Policy": READING_POLICY})


class TryView(SpectacularSwaggerSplitView):
    """Swagger UI, from which requests can be sent. Its script is a separate response."""

    authentication_classes = []
    permission_classes = []
    template_name = "docs/try.html"
    url_name = "schema"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.data |= around("docs/try/", "Try it", get_script_prefix())
        return response

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = READING_POLICY
        return response
