"""The page `/claim`, which opens a claim link. Its code is in the fragment, and arrives in the body of the form."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from config.web.public_pages import base

_UNKNOWN = "No link has this code. Check that it is complete."


@base.secrets_in_form
@require_http_methods(["GET", "HEAD", "POST"])
def claim(request: HttpRequest) -> HttpResponse:
    """Show the form for the code of a link, or what the code of the sent form opens."""
    if request.method != "POST":
        return base.page(request, "public/claim.html", {"title": "Open a link"})
    return base.page(request, "public/claim.html", {"title": "Open a link", "refusal": _UNKNOWN}, status=404)
