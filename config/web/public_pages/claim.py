"""The page `/claim`, which opens a claim link or a locker. The code is in the fragment, and arrives in a form."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from config.web.public_pages import base, coins

_UNKNOWN = "No link has this code. If it is the transmit code of a locker, its coins can be taken here."


@base.secrets_in_form
@require_http_methods(["GET", "HEAD", "POST"])
def claim(request: HttpRequest) -> HttpResponse:
    """Show the form for the code of a link, or what the code of the sent form opens."""
    if request.method != "POST":
        return base.page(request, "public/claim.html", {"title": "Open a link"})
    return coins.offer(request, request.POST.get("code", "").strip(), note=_UNKNOWN)
