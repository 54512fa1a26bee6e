"""
Signing in to the admin with the provider of `config.admin.oidc`.

An account belongs to an issuer and a subject, never to a name or a mail address: an account with a password is not
taken over. The provider's groups decide the role, anew at each sign-in, and the provider asks for further factors.
"""

import logging
import re
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME, login
from django.contrib.auth.models import Group, User
from django.core import signing
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_safe

from config.admin import oidc, people, roles, sessions
from config.admin.actions.base import PERSON
from config.admin.models import Identity, Session
from config.admin.sign_in import next_page
from config.api.pools import Pool, answered_on
from config.web.addresses import client_address
from wallets import names, operator_log
from wallets.states import OperatorVerb

_COOKIE: Final = "coppice_oidc"
_SALT: Final = "coppice.admin.oidc"
# From the first page to the return.
ATTEMPT_SECONDS: Final = 10 * 60
_BACKEND: Final = "config.admin.backends.People"
# Names of accounts by Django's rule.
_NOT_IN_A_NAME: Final = re.compile(r"[^\w.@+-]+")
# The highest first.
_ROLES: Final = (roles.ADMINISTRATOR, roles.OPERATOR, roles.VIEWER)

_log: Final = logging.getLogger("coppice.admin")


class _NotAdmitted(Exception):
    """The provider knows the person, who may not sign in here; the message is for the person."""


def urls(site: AdminSite) -> list[URLPattern]:
    return [
        path("oidc/", answered_on(Pool.WAITING)(partial(begin, site=site)), name="oidc"),
        path("oidc/callback/", answered_on(Pool.WAITING)(partial(finish, site=site)), name="oidc_callback"),
    ]


def _redirect_uri(request: HttpRequest) -> str:
    own = reverse("admin:oidc_callback")
    return f"{settings.PUBLIC_ORIGIN}{own}" if settings.PUBLIC_ORIGIN else request.build_absolute_uri(own)


@never_cache
@require_safe
def begin(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Send the browser to the provider."""
    if not settings.OIDC_ISSUER:
        return _page(request, site, "This installation has no single sign-on.", status=404)
    try:
        url, attempt = oidc.begin(redirect_uri=_redirect_uri(request))
    except (oidc.ProviderAway, oidc.Refused) as error:
        return _away(request, site, error)
    answer = HttpResponseRedirect(url)
    answer.set_cookie(
        _COOKIE,
        signing.dumps({**asdict(attempt), "next": next_page(request)}, salt=_SALT),
        max_age=ATTEMPT_SECONDS,
        path=reverse("admin:oidc"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        # It must come back with the redirect of the provider.
        samesite="Lax",
    )
    return answer


@never_cache
@require_safe
@sensitive_variables("attempt")
def finish(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Sign the person in whom the provider sends back, or say why not."""
    if not settings.OIDC_ISSUER:
        return _page(request, site, "This installation has no single sign-on.", status=404)
    answer = _finish(request, site)
    # An attempt is finished once.
    answer.delete_cookie(_COOKIE, path=reverse("admin:oidc"), samesite="Lax")
    return answer


def _finish(request: HttpRequest, site: AdminSite) -> HttpResponse:
    try:
        kept = signing.loads(request.COOKIES.get(_COOKIE, ""), salt=_SALT, max_age=ATTEMPT_SECONDS)
        attempt = oidc.Attempt(kept["state"], kept["nonce"], kept["verifier"])
    except signing.BadSignature:
        return _page(request, site, "This sign-in was not begun in this browser, or took too long.", status=400)
    try:
        person = oidc.finish(attempt, request.GET.dict(), redirect_uri=_redirect_uri(request))
        user = _admitted(person)
    except oidc.ProviderAway as error:
        return _away(request, site, error)
    except oidc.Refused as error:
        _log.warning("oidc_refused", extra={"error": str(error), "client": client_address(request)})
        return _page(request, site, "The sign-in was refused. Begin again.", status=403)
    except _NotAdmitted as error:
        _log.warning("oidc_not_admitted", extra={"client": client_address(request)})
        return _page(request, site, str(error), status=403)
    login(request, user, backend=_BACKEND)
    sessions.begin(request)
    request.session[sessions.PROVIDER] = person.issuer
    sessions.SessionStore.clear_expired()
    _log.info("oidc_signed_in", extra={"user": user.pk, "client": client_address(request)})
    return HttpResponseRedirect(kept["next"])


def role_of(groups: frozenset[str]) -> str | None:
    """Return the highest role that a group of the person has, or None."""
    found = {role for group, role in settings.OIDC_GROUPS.items() if group in groups}
    return next((role for role in _ROLES if role in found), None)


def _admitted(person: oidc.Person) -> User:
    """
    Return the account of a person, with the role of the groups as they are now; make it at the first sign-in.

    :raises _NotAdmitted: no group has a role, or the account is deactivated or of a superuser
    """
    role = role_of(person.groups)
    refusal = ""
    with transaction.atomic():
        identity = _identity(person)
        if identity is None:
            if role is None:
                raise _NotAdmitted("None of your groups has a role here. Ask an administrator.")
            # One at a time: names are compared by their keys, which no constraint does.
            operator_log.hold(OperatorVerb.CREATED_PERSON, kind=PERSON, object_id=_SALT)
            identity = _identity(person) or _made(person)
        (user,) = people.locked(identity.user_id)
        if user.is_superuser:
            refusal = "Superusers sign in with a password."
        elif not people.is_active(user):
            refusal = "Your account is deactivated. Ask an administrator."
        else:
            _set_role(user, role)
            if role is None:
                refusal = "None of your groups has a role here any more. Ask an administrator."
    if refusal:
        raise _NotAdmitted(refusal)
    return user


def _identity(person: oidc.Person) -> Identity | None:
    return Identity.objects.filter(issuer=person.issuer, subject=person.subject).first()


def _made(person: oidc.Person) -> Identity:
    """Make an account without a password, under a name that is free."""
    # As Django stores it, so that what is compared and cut is what is stored.
    seen = "".join(character for character in person.name if not names.is_invisible(character))
    wanted = _NOT_IN_A_NAME.sub("-", User.normalize_username(seen))[:100].strip("-") or "person"
    name, number, taken = wanted, 1, people.name_keys()
    while names.name_key(name) in taken:
        number += 1
        name = f"{wanted}-{number}"
    try:
        with transaction.atomic():
            user = User.objects.create_user(name, email=person.mail[:254], is_staff=True)
    except IntegrityError:
        # By an administrator.
        raise _NotAdmitted("An account with your name was made at this moment. Sign in again.") from None
    people.record_own(user, OperatorVerb.CREATED_PERSON, {"name": name, "by": "single sign-on"})
    return Identity.objects.create(user=user, issuer=person.issuer, subject=person.subject)


def _set_role(user: User, role: str | None) -> None:
    """Give a person, whose row is locked, this role alone. A change ends the sessions of before."""
    has = {group.name for group in user.groups.all()}
    wants = set() if role is None else {role}
    if has == wants and not user.user_permissions.exists():
        return
    user.groups.set(Group.objects.filter(name__in=wants))
    user.user_permissions.clear()
    ended, _ = Session.objects.filter(user=user).delete()
    people.record_own(
        user,
        OperatorVerb.CHANGED_ROLE,
        {"role": role or people.NO_ROLE, "by": "single sign-on", "sessions_ended": ended},
    )


# --- pages --------------------------------------------------------------------------------


def _away(request: HttpRequest, site: AdminSite, error: Exception) -> HttpResponse:
    _log.error("oidc_provider_away", extra={"error": str(error)})
    sentence = "The sign-in service does not answer as it should. Try again in a minute."
    return _page(request, site, sentence, status=503)


def _page(request: HttpRequest, site: AdminSite, sentence: str, *, status: int) -> HttpResponse:
    request.current_app = site.name
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Sign in",
        "refusal": sentence,
        REDIRECT_FIELD_NAME: reverse("admin:index"),
        "oidc_name": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
    }
    return TemplateResponse(request, "desk/oidc_refused.html", context, status=status)
