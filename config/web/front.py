"""The page at `/`, with links to the documentation, the admin and the health checks."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix
from django.views.decorators.vary import vary_on_headers

from config.web.security_headers import READING_POLICY


@vary_on_headers("Accept")
def front(request: HttpRequest) -> HttpResponse:
    """
    Show the page to clients that accept HTML or any type, such as browsers, curl and the probes of load balancers.

    Other requests get 404, as at an unknown path: methods other than GET and HEAD, clients that ask for JSON, and
    clients without `Accept`, such as those of the public service.
    """
    accepted = request.headers.get("Accept", "").lower()
    if request.method not in {"GET", "HEAD"} or ("text/html" not in accepted and (not accepted or "json" in accepted)):
        raise Http404
    home = get_script_prefix()
    response = render(request, "home.html", {"home": home, "docs": f"{home}docs/"})
    response.headers["Content-Security-Policy"] = READING_POLICY
    return response
