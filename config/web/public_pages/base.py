"""What the pages without a session share: headers, the login in the form of an act, refusals in words."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from config.api import throttles
from config.api.errors import RequestRefused, code_of
from config.web.addresses import client_address
from wallets import errors, operations, queries
from wallets.errors import DomainError
from wallets.models import Wallet

_NO_SUCH_LOGIN: Final = (
    errors.InvalidCredentials,
    errors.InvalidWalletName,
    errors.WalletNameLength,
    errors.WalletNotFound,
)
WRONG_LOGIN: Final = "The name of the wallet or the password is wrong."


def page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Return a page that extends `public/base.html`. `config.web.security_headers` adds the headers of such pages."""
    response = render(request, template, {"home": get_script_prefix(), **context}, status=status)
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


class Refusal(NamedTuple):
    """Why an act was refused, as a page shows it."""

    sentence: str
    status: int
    headers: Mapping[str, str]


class LoginRefused(Exception):
    """The visitor's login was refused: by the password or by the limits of logins."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal


@sensitive_variables("password")
def log_in(request: HttpRequest) -> Wallet:
    """
    Return the wallet whose name and password the form has in the fields `wallet` and `password`, for one act.

    Counted and limited as `POST /auth`; the act must call `wallets.operations.hold_password` in its transaction.
    A view that calls it runs in `Pool.PASSWORDS`.

    :raises LoginRefused: the name or the password is wrong, or too many logins failed
    """
    name, password = request.POST.get("wallet", "").strip(), request.POST.get("password", "")
    try:
        with throttles.login(kind="wallet", account=queries.account_of(name), address=client_address(request)):
            return operations.verify_password(name_or_id=name, password=password)
    except _NO_SUCH_LOGIN as error:
        # One sentence for all: the page must not tell which wallets exist.
        _note(request, error)
        raise LoginRefused(Refusal(WRONG_LOGIN, 403, {})) from None
    except RequestRefused as error:
        raise LoginRefused(refused(request, error)) from None


def refused(request: HttpRequest, error: RequestRefused) -> Refusal:
    """Return a refusal by the limits of the API, in its own words, and note its code for the log."""
    _note(request, error)
    return Refusal(f"{error.message}.", error.status_code, error.headers)


def refusal_of(request: HttpRequest, error: DomainError) -> Refusal:
    """Return the refusal of a domain error, in its own words and with its status, and note its code for the log."""
    code = _note(request, error)
    status = 403 if code is None or code.status == 401 else code.status
    return Refusal(str(error), status, getattr(error, "headers", {}))


def _note(request: HttpRequest, error: DomainError | RequestRefused) -> Any:
    """Store the code of an error for the access log, and return it."""
    code = error.code if isinstance(error, RequestRefused) else code_of(error)
    if code is not None:
        request.error_code = code.name  # type: ignore[attr-defined]
    return code


def secrets_in_form(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep every field of the view's form out of error reports."""
    hidden: Callable[..., HttpResponse] = sensitive_post_parameters()(view)
    return wraps(view)(hidden)
