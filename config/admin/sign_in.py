"""
Signing in to the admin with a password and, if one is set up, a second factor; and the user's own account.

A user who has given only the password has access to nothing (`passed`): `OperatorsAdminSite` redirects every URL to the
page of the second factor. Attempts at passwords and codes are counted together, by the limits of `/auth`.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import REDIRECT_FIELD_NAME, password_validation, update_session_auth_hash
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.views import LoginView, redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from config.admin import people, second_factor, sessions
from config.admin.confirmation import operator_of
from config.admin.models import SecondFactor
from config.api import throttles
from config.api.errors import RequestRefused
from config.web.addresses import client_address
from lockers.vault import SealBroken
from wallets import passwords
from wallets.errors import InvalidCredentials
from wallets.states import OperatorVerb

# Session key of the sealed secret during enrolment.
_ENROLLING: Final = "enrolling"

# --- access -------------------------------------------------------------------------------


def is_staff(user: User | AnonymousUser) -> bool:
    """Return whether the user has given the password of an account with access to the admin."""
    return user.is_active and user.is_staff


def waits_for_factor(request: HttpRequest) -> bool:
    """Return whether the user has given the password and must still give a code, or set up a second factor."""
    user = request.user
    if not (isinstance(user, User) and is_staff(user)):
        return False
    if settings.OIDC_ISSUER and request.session.get(sessions.PROVIDER) == settings.OIDC_ISSUER:
        # The provider asks for the factors that it requires.
        return False
    known = getattr(request, "_waits_for_factor", None)
    if known is None:
        factor = second_factor.of_user(user)
        known = (
            second_factor.is_obligatory(user)
            if factor is None
            # After a reset or a new enrolment a code is required again.
            else request.session.get(sessions.FACTOR) != str(factor.pk)
        )
        request._waits_for_factor = known  # type: ignore[attr-defined]
    return bool(known)


def passed(request: HttpRequest) -> bool:
    """Return whether the user has given the password, and a code if a second factor is set up or required."""
    return is_staff(request.user) and not waits_for_factor(request)


def to_factor(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect to the page of the second factor, with the requested URL as `next`."""
    query = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()})
    return HttpResponseRedirect(f"{reverse('admin:second_factor')}?{query}")


def next_page(request: HttpRequest) -> str:
    """Return the URL of `next` if it is one of this site, otherwise that of the home page."""
    url = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
    is_ours = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if is_ours else reverse("admin:index")


def _attempt(request: HttpRequest, account: str) -> Any:
    return throttles.login(kind="desk", account=account, address=client_address(request))


def _refusal(error: RequestRefused) -> tuple[str, int, dict[str, str]]:
    """Return message, status and headers of a refused attempt; the same whether or not the account exists."""
    seconds = int(error.headers.get("Retry-After", "1"))
    if error.status_code == 429:
        return f"Too many sign-in attempts. Try again in {_span(seconds)}.", 429, dict(error.headers)
    return "Signing in is not possible at the moment. Try again in a few seconds.", 503, dict(error.headers)


def _span(seconds: int) -> str:
    if seconds <= 90:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    return f"{-(-seconds // 60)} minutes"


# --- the password -------------------------------------------------------------------------


class PasswordForm(AdminAuthenticationForm):
    """Django's form, with the rate limit applied before the password is checked."""

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if not name or not self.cleaned_data.get("password") or self.request is None:
            return self.cleaned_data
        refusal: forms.ValidationError | None = None
        # `throttles.login` counts a DomainError as a wrong password.
        with suppress(InvalidCredentials), _attempt(self.request, name):
            try:
                return super().clean()
            except forms.ValidationError as error:
                refusal = error
                raise InvalidCredentials from error
        raise refusal or forms.ValidationError(self.error_messages["invalid_login"])


class SignIn(LoginView):
    """The page that asks for name and password."""

    authentication_form = PasswordForm
    template_name = "admin/login.html"

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    def form_valid(self, form: Any) -> HttpResponse:
        answer = super().form_valid(form)
        sessions.begin(self.request)
        # Expired sessions are deleted only here.
        sessions.SessionStore.clear_expired()
        return answer


@never_cache
def sign_in(request: HttpRequest, *, site: AdminSite, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
    """Show the form, or check name and password; 429 with Retry-After after too many attempts."""
    if request.method == "GET" and waits_for_factor(request):
        return HttpResponseRedirect(f"{reverse('admin:second_factor')}?{urlencode({'next': next_page(request)})}")
    if request.method == "GET" and passed(request):
        return HttpResponseRedirect(reverse("admin:index"))
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "title": "Log in",
        "subtitle": None,
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
        "oidc_name": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
        "oidc_only": settings.OIDC_ONLY,
        REDIRECT_FIELD_NAME: next_page(request),
        **(extra_context or {}),
    }
    view = SignIn.as_view(extra_context=context)
    try:
        return view(request)
    except RequestRefused as error:
        sentence, status, headers = _refusal(error)
        form = PasswordForm(request, initial={"username": request.POST.get("username", "")[:150]})
        return TemplateResponse(
            request,
            SignIn.template_name,
            {**context, "form": form, "refusal": sentence, "next": next_page(request)},
            status=status,
            headers=headers,
        )


# --- the second factor --------------------------------------------------------------------


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=64,
        label="Code",
        help_text="The six digits that your authenticator app shows now, or one of your recovery codes.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "autofocus": True, "autocapitalize": "off"}),
    )


class AppCodeForm(CodeForm):
    code = forms.CharField(
        max_length=64,
        label="Code",
        help_text="The six digits that the app shows now.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


@never_cache
@csrf_protect
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor_page(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Ask for a code, set up a second factor, or show its state, depending on the session."""
    user = request.user
    if not (isinstance(user, User) and is_staff(user)):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    factor = second_factor.of_user(user)
    step = request.POST.get("step", "")
    if factor is not None and waits_for_factor(request):
        return _ask(site, request, user)
    if request.method == "POST" and step == "begin":
        return _begin(site, request, user, factor)
    if factor is None or _ENROLLING in request.session:
        return _set_up(site, request, user)
    return _page(site, request, "Second factor", mode="told", form=CodeForm(), about=second_factor.about(user))


def _page(
    site: AdminSite, request: HttpRequest, title: str, *, status: int = 200, headers: Any = None, **context: Any
) -> HttpResponse:
    request.current_app = site.name
    more = {"title": title, "next": next_page(request), "waits": waits_for_factor(request), **context}
    return TemplateResponse(
        request, "desk/second_factor.html", {**site.each_context(request), **more}, status=status, headers=headers
    )


def _checked(request: HttpRequest, user: User, form: forms.Form, look: Callable[[str], Any]) -> tuple[Any, Any]:
    """Check the code of a form with `look`. Return its result, or None and the status and headers of a refusal."""
    if not form.is_valid():
        return None, {}
    try:
        with _attempt(request, user.get_username()):
            return look(form.cleaned_data["code"]), {}
    except InvalidCredentials as error:
        form.add_error("code", str(error))
        return None, {}
    except second_factor.WaitFirst as error:
        form.add_error("code", f"Too many wrong codes. Try again in {_span(error.seconds)}.")
        return None, {"status": 429, "headers": {"Retry-After": str(error.seconds)}}
    except RequestRefused as error:
        sentence, status, headers = _refusal(error)
        form.add_error("code", sentence)
        return None, {"status": status, "headers": headers}


def _ask(site: AdminSite, request: HttpRequest, user: User) -> HttpResponse:
    form = CodeForm(request.POST if request.method == "POST" else None)
    refusal: dict[str, Any] = {}
    if request.method == "POST":
        factor, refusal = _checked(request, user, form, lambda code: second_factor.check(user, code))
        if factor is not None:
            _let_in(request, factor)
            return HttpResponseRedirect(next_page(request))
    return _page(site, request, "One more step", mode="asked", form=form, **refusal)


def _let_in(request: HttpRequest, factor: SecondFactor) -> None:
    request.session.pop(_ENROLLING, None)
    request.session[sessions.FACTOR] = str(factor.pk)
    # Prevents session fixation.
    request.session.cycle_key()
    request._waits_for_factor = False  # type: ignore[attr-defined]


def _begin(site: AdminSite, request: HttpRequest, user: User, factor: SecondFactor | None) -> HttpResponse:
    """Start an enrolment. Replacing a second factor takes one of its codes."""
    if factor is not None:
        form = CodeForm(request.POST)
        found, refusal = _checked(request, user, form, lambda code: second_factor.check(user, code))
        if found is None:
            return _page(
                site, request, "Second factor", mode="told", form=form, about=second_factor.about(user), **refusal
            )
    request.session[_ENROLLING] = second_factor.Enrolment.begin().sealed()
    return HttpResponseRedirect(f"{reverse('admin:second_factor')}?{urlencode({'next': next_page(request)})}")


@sensitive_variables("enrolment", "codes")
def _set_up(site: AdminSite, request: HttpRequest, user: User) -> HttpResponse:
    try:
        enrolment = second_factor.Enrolment.opened(str(request.session[_ENROLLING]))
    except (KeyError, ValueError, SealBroken):
        enrolment = second_factor.Enrolment.begin()
        request.session[_ENROLLING] = enrolment.sealed()
    form = AppCodeForm(request.POST if request.POST.get("step") == "confirm" else None)
    refusal: dict[str, Any] = {}

    def confirmed(code: str) -> tuple[SecondFactor, list[str]]:
        with transaction.atomic(savepoint=False):
            result = second_factor.confirm(user, enrolment, code)
            people.record_own(user, OperatorVerb.SET_UP_SECOND_FACTOR, {"second_factor": True})
        return result

    if form.is_bound:
        found, refusal = _checked(request, user, form, confirmed)
        if found is not None:
            factor, codes = found
            _let_in(request, factor)
            return _page(site, request, "Recovery codes", mode="codes", codes=codes)
    return _page(
        site,
        request,
        "Set up a second factor",
        mode="set up",
        form=form,
        obliged=second_factor.is_obligatory(user),
        picture=enrolment.picture(user),
        secret=enrolment.as_text,
        **refusal,
    )


# --- own password -------------------------------------------------------------------------


class NewPasswordForm(forms.Form):
    old = forms.CharField(
        label="Current password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    new = forms.CharField(
        label="New password",
        strip=False,
        help_text="At least 12 characters.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label="Repeat the new password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        values = self.cleaned_data
        new, again = (passwords.composed(values.get(name) or "") for name in ("new", "again"))
        if new and again and new != again:
            self.add_error("again", "The two passwords differ.")
        elif values.get("new"):
            try:
                password_validation.validate_password(values["new"], self._user)
            except forms.ValidationError as error:
                self.add_error("new", error)
        return values


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def change_password(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Change the user's own password, and end the user's other sessions."""
    user = operator_of(request)
    form = NewPasswordForm(user, request.POST if request.method == "POST" else None)
    status, headers = 200, dict[str, str]()
    if form.is_bound and form.is_valid():
        try:
            with _attempt(request, user.get_username()):
                if not passwords.verify(form.cleaned_data["old"], user.password)[0]:
                    raise InvalidCredentials
        except InvalidCredentials:
            form.add_error("old", "This is not your password.")
        except RequestRefused as error:
            sentence, status, headers = _refusal(error)
            form.add_error("old", sentence)
        else:
            fresh = people.change_own_password(user, form.cleaned_data["new"], keep=sessions.current(request))
            update_session_auth_hash(request, fresh)
            messages.success(request, "Your password was changed. Your other sessions have ended.")
            return HttpResponseRedirect(reverse("admin:sessions"))
    request.current_app = site.name
    return TemplateResponse(
        request,
        "desk/password.html",
        {**site.each_context(request), "title": "Change your password", "form": form},
        status=status,
        headers=headers,
    )


# --- own sessions -------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD"])
def own_sessions(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Show the user's own sessions, with the current one marked."""
    user = operator_of(request)
    request.current_app = site.name
    return TemplateResponse(
        request,
        "desk/sessions.html",
        {
            **site.each_context(request),
            "title": "Your sessions",
            "sessions": list(sessions.of_person(user)),
            "current": sessions.current(request),
            "person": user,
            "about": second_factor.about(user),
        },
    )
