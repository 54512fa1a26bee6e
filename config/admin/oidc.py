"""
OpenID Connect: the authorization code flow with PKCE, state and nonce, against the one provider of COPPICE_OIDC_ISSUER.

Nothing here knows accounts or sessions: `begin` returns where to send the browser and what to remember, `finish`
returns what the provider says about the person. `config.admin.oidc_sign_in` has the pages.

Decided 2026-11-30: PyJWT for the tokens, and the standard library for requests. mozilla-django-oidc 5.0 finds accounts
by mail address, compares neither issuer nor audience, and has no discovery: all but its two views would be replaced.
django-allauth 65 brings 43,000 lines, tables, and accounts and sign-in pages beside those of the admin. Both bring
PyJWT, requests and what that needs.
"""

import hmac
import json
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.views.decorators.debug import sensitive_variables

from wallets import names

# Signatures with a key pair: a token signed with a secret that both sides know, or not signed, is refused.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# How far the clock of the provider may be off.
LEEWAY_SECONDS: Final = 60
TIMEOUT_SECONDS: Final = 5.0
_LARGEST_ANSWER: Final = 1_000_000
# How long the description of the provider and its keys are kept; keys are read again for one that is unknown.
_KEPT_SECONDS: Final = 3600.0
_KEYS_READ_AT_MOST_EVERY: Final = 30.0


class ProviderAway(Exception):
    """The provider does not answer, or not as the specification says; a name for the log, without its texts."""


class Refused(Exception):
    """The provider, or a check of what it sent, refuses the sign-in; a name for the log, without its texts."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the browser keeps between the two pages. A browser that has it can finish the attempt with a code."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Person:
    """What the provider says: who (unique at the issuer, and never used again), and the groups as they are now."""

    issuer: str
    subject: str
    name: str
    mail: str
    groups: frozenset[str]


@dataclass(slots=True)
class _Known:
    """The description and the keys of a provider, as this process read them last."""

    document: dict[str, Any]
    read_at: float
    keys: list[dict[str, Any]]
    keys_read_at: float = float("-inf")


_providers: dict[str, _Known] = {}


def forget() -> None:
    """Forget what was read of providers."""
    _providers.clear()


def begin(*, redirect_uri: str) -> tuple[str, Attempt]:
    """
    Return the URL to which to send the browser, and what it must bring back.

    :raises ProviderAway: the provider does not answer
    """
    attempt = Attempt(*(secrets.token_urlsafe(32) for _ in range(3)))
    challenge = urlsafe_b64encode(sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": settings.OIDC_CLIENT_ID,
        "redirect_uri": redirect_uri,
        "scope": settings.OIDC_SCOPES,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    endpoint = _endpoint("authorization_endpoint")
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}", attempt


@sensitive_variables()
def finish(attempt: Attempt, returned: Mapping[str, str], *, redirect_uri: str) -> Person:
    """
    Return who signed in; `returned` are the parameters with which the browser came back.

    :raises Refused: it is another attempt, the provider refused, or its token is not valid for this attempt
    :raises ProviderAway: the provider does not answer
    """
    if not hmac.compare_digest(returned.get("state", "").encode(), attempt.state.encode()):
        raise Refused("other_state")
    # RFC 9207: which provider it is that answers.
    if returned.get("iss", settings.OIDC_ISSUER) != settings.OIDC_ISSUER:
        raise Refused("other_issuer")
    if "error" in returned:
        raise Refused("refused_by_provider")
    if not returned.get("code"):
        raise Refused("no_code")
    tokens = _exchange(returned["code"], attempt.verifier, redirect_uri)
    claims = _verified(tokens.get("id_token"), nonce=attempt.nonce)
    return _person(claims, access_token=tokens.get("access_token"))


@sensitive_variables()
def _exchange(code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
    """Exchange the code for tokens. The provider accepts a code once."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
    methods = _document().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if "client_secret_basic" in methods:
        # RFC 6749, 2.3.1: both are form-encoded first.
        pair = f"{quote_plus(settings.OIDC_CLIENT_ID)}:{quote_plus(settings.OIDC_CLIENT_SECRET)}"
        return _json(_endpoint("token_endpoint"), form=form, authorization=f"Basic {b64encode(pair.encode()).decode()}")
    form |= {"client_id": settings.OIDC_CLIENT_ID, "client_secret": settings.OIDC_CLIENT_SECRET}
    return _json(_endpoint("token_endpoint"), form=form)


@sensitive_variables()
def _verified(token: object, *, nonce: str) -> dict[str, Any]:
    """Return the claims of an ID token, after the checks of OpenID Connect Core, 3.1.3.7."""
    if not isinstance(token, str):
        raise Refused("no_token")
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise Refused("algorithm")
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(header),
            algorithms=[header["alg"]],
            audience=settings.OIDC_CLIENT_ID,
            issuer=settings.OIDC_ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except jwt.PyJWTError as error:
        raise Refused(type(error).__name__) from error
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else settings.OIDC_CLIENT_ID) != settings.OIDC_CLIENT_ID:
        raise Refused("other_party")
    sent = claims.get("nonce")
    if not isinstance(sent, str) or not hmac.compare_digest(_bytes(sent), nonce.encode()):
        raise Refused("other_nonce")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255 or not names.is_storable(claims["sub"]):
        raise Refused("subject")
    return claims


def _bytes(text: str) -> bytes:
    # JSON can hold half of a surrogate pair.
    return text.encode("utf-8", "surrogatepass")


def _key(header: Mapping[str, Any]) -> jwt.PyJWK:
    """Return the provider's key for a token: that of its `kid`, or the only one that fits."""
    known = _known()
    found = _fitting(known.keys, header)
    if not found and time.monotonic() - known.keys_read_at > _KEYS_READ_AT_MOST_EVERY:
        keys = _json(_endpoint("jwks_uri")).get("keys")
        known.keys = [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
        known.keys_read_at = time.monotonic()
        found = _fitting(known.keys, header)
    if len(found) != 1:
        raise Refused("unknown_key")
    return jwt.PyJWK(found[0], algorithm=header["alg"])


def _fitting(keys: list[dict[str, Any]], header: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind = {"R": "RSA", "P": "RSA", "E": "OKP" if header["alg"] == "EdDSA" else "EC"}[header["alg"][0]]
    return [
        key
        for key in keys
        if key.get("kty") == kind
        and key.get("use", "sig") == "sig"
        and key.get("alg", header["alg"]) == header["alg"]
        and ("kid" not in header or key.get("kid") == header["kid"])
    ]


def _person(claims: dict[str, Any], *, access_token: object) -> Person:
    """Return the person. Some providers send groups and names at the endpoint `userinfo` alone."""
    if (
        settings.OIDC_GROUPS_CLAIM not in claims
        and "userinfo_endpoint" in _document()
        and isinstance(access_token, str)
    ):
        more = _json(_endpoint("userinfo_endpoint"), authorization=f"Bearer {access_token}")
        if more.get("sub") != claims["sub"]:
            raise Refused("other_subject")
        claims = {**more, **claims}
    groups = claims.get(settings.OIDC_GROUPS_CLAIM)
    groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    name = next((claims[key] for key in ("preferred_username", "email", "name") if _is_text(claims.get(key))), "")
    mail = claims["email"] if _is_mail(claims.get("email")) and claims.get("email_verified") is not False else ""
    return Person(
        issuer=settings.OIDC_ISSUER,
        subject=claims["sub"],
        name=name,
        mail=mail,
        groups=frozenset(each for each in groups if isinstance(each, str)),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_mail(value: object) -> bool:
    if not isinstance(value, str) or not names.is_storable(value):
        return False
    try:
        validate_email(value)
    except ValidationError:
        return False
    return True


# --- the provider -------------------------------------------------------------------------


def _known() -> _Known:
    known = _providers.get(settings.OIDC_ISSUER)
    if known is None or time.monotonic() - known.read_at > _KEPT_SECONDS:
        document = _json(f"{settings.OIDC_ISSUER.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != settings.OIDC_ISSUER:
            raise ProviderAway("other_issuer")
        known = _providers[settings.OIDC_ISSUER] = _Known(document, time.monotonic(), [])
    return known


def _document() -> dict[str, Any]:
    return _known().document


def _endpoint(name: str) -> str:
    """Return a URL of the provider; by HTTPS, unless the issuer itself is on this machine by HTTP."""
    url = _document().get(name)
    scheme = "https://" if settings.OIDC_ISSUER.startswith("https://") else "http"
    if not isinstance(url, str) or not url.startswith(scheme):
        raise ProviderAway(name)
    return url


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Make no other request: the answer is the error that it is."""


@sensitive_variables()
def _json(url: str, *, form: Mapping[str, str] | None = None, authorization: str = "") -> dict[str, Any]:
    """
    Make a request and return the object in the answer. No redirect is followed; proxies are those of the environment.

    :raises Refused: the answer is a 4xx
    :raises ProviderAway: there is no answer, or another one
    """
    headers = {"Accept": "application/json", **({"Authorization": authorization} if authorization else {})}
    # The issuer, or a URL that `_endpoint` checked.
    request = Request(url, None if form is None else urlencode(form).encode(), headers)  # noqa: S310
    try:
        with build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS) as response:
            read = response.read(_LARGEST_ANSWER + 1)
    except HTTPError as error:
        error.close()
        kind = Refused if 400 <= error.code < 500 else ProviderAway
        raise kind(f"status_{error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise ProviderAway(type(error).__name__) from error
    if len(read) > _LARGEST_ANSWER:
        raise ProviderAway("too_long")
    try:
        found = json.loads(read)
    except ValueError as error:
        raise ProviderAway("no_json") from error
    if not isinstance(found, dict):
        raise ProviderAway("no_object")
    return found
