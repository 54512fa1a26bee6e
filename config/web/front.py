"""The page at `/`: what this is, and where to go from here."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix
from django.views.decorators.vary import vary_on_headers

from config.web.security_headers import READING_POLICY


@vary_on_headers("Accept")
def front(request: HttpRequest) -> HttpResponse:
    """
    Show the page. Clients that ask for JSON, and methods that read nothing, get 404 as at any path without an endpoint.

    So do clients that send no `Accept`, as those of the public service. Browsers name text/html; curl and the probes of
    load balancers accept anything, and 200 is what the latter want.
    """
    accepted = request.headers.get("Accept", "").lower()
    if request.method not in {"GET", "HEAD"} or ("text/html" not in accepted and (not accepted or "json" in accepted)):
        raise Http404
    home = get_script_prefix()
    response = render(request, "home.html", {"home": home, "docs": f"{home}docs/"})
    response.headers["Content-Security-Policy"] = READING_POLICY
    return response
