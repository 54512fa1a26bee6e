"""Signing in with an OpenID Connect provider: who comes in, with which role, and what is refused."""

import json
import time
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from config.admin import oidc, roles, second_factor
from config.admin.models import Identity, Session
from tests.concurrency.races import race
from tests.support.counts import forget_failures
from tests.support.desk_pages import text_of
from tests.support.oidc_provider import CLIENT, KEY, OTHER_KEY, SECRET, Provider, providing
from wallets import names
from wallets.models import OperatorAction

pytestmark = pytest.mark.django_db

BEGIN, CALLBACK, LOGIN = "/admin/oidc/", "/admin/oidc/callback/", "/admin/login/"
REFUSED = "The sign-in was refused. Begin again."


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def provider(server: Provider, settings: Any) -> Provider:
    """The provider as it should be, with nora in the group of operators."""
    port = server.port
    server.__init__(port)  # type: ignore[misc]
    server.claims["groups"] = ["tree-ops"]
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = server.issuer, CLIENT, SECRET
    settings.OIDC_GROUPS = {"tree-admins": "administrator", "tree-ops": "operator", "everyone": "viewer"}
    oidc.forget()
    forget_failures()
    roles.ensure()
    return server


def begun(client: Client, provider: Provider, **query: str) -> str:
    """Begin to sign in, and return the path to which the provider sends the browser back."""
    answer = client.get(BEGIN, query)
    assert answer.status_code == 302, text_of(answer)
    asked = urlsplit(answer["Location"])
    assert f"http://{asked.netloc}{asked.path}" == f"{provider.issuer}/authorize"
    back = provider.authorize({key: values[0] for key, values in parse_qs(asked.query).items()})
    return back.removeprefix("http://testserver")


def signed_in(client: Client, provider: Provider, **query: str) -> Any:
    return client.get(begun(client, provider, **query))


def nothing_changed(client: Client) -> None:
    assert (User.objects.count(), Identity.objects.count(), Session.objects.count()) == (0, 0, 0)
    assert client.get("/admin/").status_code == 302


def test_a_person_of_the_provider_signs_in_with_the_role_of_the_group(provider: Provider) -> None:
    provider.claims |= {"email": "nora@coppice.example"}
    client = Client()

    answer = signed_in(client, provider, next="/admin/wallets/wallet/")

    assert (answer.status_code, answer["Location"]) == (302, "/admin/wallets/wallet/")
    user = User.objects.get()
    assert (user.username, user.email, user.is_staff, user.is_superuser) == (
        "nora",
        "nora@coppice.example",
        True,
        False,
    )
    assert not user.has_usable_password()
    assert [group.name for group in user.groups.all()] == ["operator"]
    assert (user.identity.issuer, user.identity.subject) == (provider.issuer, "s-1")
    assert client.get("/admin/wallets/wallet/").status_code == 200
    acts = OperatorAction.objects.order_by("pk")
    assert [(act.verb, act.staff, act.after["by"]) for act in acts] == [
        ("created_person", user, "single sign-on"), ("changed_role", user, "single sign-on"),
    ]  # fmt: skip
    # Bounded like any other session.
    row = Session.objects.get()
    assert row.expires_at - row.created_at == timedelta(hours=12)
    assert answer.cookies["coppice_oidc"].value == ""


def test_what_is_asked_of_the_provider_binds_the_answer_to_this_browser(provider: Provider) -> None:
    client = Client()
    answer = client.get(BEGIN)

    asked = {key: values[0] for key, values in parse_qs(urlsplit(answer["Location"]).query).items()}
    cookie = answer.cookies["coppice_oidc"]
    assert set(asked) == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
        "code_challenge_method",
    }  # fmt: skip
    assert asked["redirect_uri"] == "http://testserver/admin/oidc/callback/"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (True, "Lax", BEGIN, 600)
    assert Session.objects.count() == 0
    again = parse_qs(urlsplit(client.get(BEGIN)["Location"]).query)
    assert again["state"] != [asked["state"]]


def test_the_provider_answers_to_the_address_that_the_installation_names(provider: Provider, settings: Any) -> None:
    """A proxy may send the request under another one, which the provider would not know."""
    settings.PUBLIC_ORIGIN = "https://trees.example"

    asked = parse_qs(urlsplit(Client().get(BEGIN)["Location"]).query)

    assert asked["redirect_uri"] == ["https://trees.example/admin/oidc/callback/"]


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, "none")  # type: ignore[arg-type]


def with_the_public_key_as_a_secret(claims: dict[str, Any]) -> str:
    """A token that a program accepts which takes the algorithm from the token."""
    return jwt.encode(claims, SECRET.encode().ljust(32), "HS256", headers={"kid": "one"})


def with_the_signature_of_another_key(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, OTHER_KEY, "RS256", headers={"kid": "one"})


def with_a_key_of_its_own(claims: dict[str, Any]) -> str:
    key = {"jwk": jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_KEY.public_key(), as_dict=True)}
    return jwt.encode(claims, OTHER_KEY, "RS256", headers={"kid": "one", **key})


def changed_after_it_was_signed(claims: dict[str, Any]) -> str:
    head, _, signature = jwt.encode(claims, KEY, "RS256", headers={"kid": "one"}).split(".")
    body = urlsafe_b64encode(json.dumps({**claims, "groups": ["tree-admins"]}).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def of_an_unknown_key(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, OTHER_KEY, "RS256", headers={"kid": "two"})


@pytest.mark.parametrize(
    "sign",
    [
        unsigned, with_the_public_key_as_a_secret, with_the_signature_of_another_key, with_a_key_of_its_own,
        changed_after_it_was_signed, of_an_unknown_key, lambda _: "no token", lambda _: None,
    ],
    ids=["none", "hs256", "other-key", "own-key", "changed", "unknown-key", "no-token", "null"],
)  # fmt: skip
def test_a_token_that_the_provider_did_not_sign_is_refused(provider: Provider, sign: Callable[..., str]) -> None:
    provider.sign = sign
    client = Client()

    answer = signed_in(client, provider)

    assert answer.status_code == 403
    assert REFUSED in text_of(answer)
    nothing_changed(client)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"nonce": None}, {"nonce": 7}, {"aud": "another client"}, {"aud": []},
        {"aud": [CLIENT, "another client"]}, {"azp": "another client"}, {"iss": "http://127.0.0.1/realms/other"},
        {"exp": 1}, {"exp": None}, {"iat": None}, {"iat": 4_102_444_800}, {"sub": ""}, {"sub": None},
        {"nbf": 4_102_444_800}, {"sub": "a" * 256}, {"sub": "a\0b"}, {"sub": 5},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_for_another_purpose_is_refused(provider: Provider, claims: dict[str, Any]) -> None:
    def alter(found: dict[str, Any]) -> None:
        found.update(claims)
        for name in [name for name, value in claims.items() if value is None]:
            del found[name]

    provider.alter = alter
    client = Client()

    answer = signed_in(client, provider)

    assert (answer.status_code, REFUSED in text_of(answer)) == (403, True)
    nothing_changed(client)


def test_several_audiences_are_accepted_if_the_token_is_for_this_client(provider: Provider) -> None:
    provider.alter = lambda claims: claims.update(aud=[CLIENT, "another client"], azp=CLIENT)

    assert signed_in(Client(), provider).status_code == 302


def test_a_code_is_used_once_and_in_the_browser_that_began(provider: Provider) -> None:
    client, other = Client(), Client()
    path = begun(client, provider)

    stolen = other.get(path)
    begun(other, provider)
    injected = other.get(path)
    first = client.get(path)
    second = client.get(path)

    assert stolen.status_code == 400
    assert "This sign-in was not begun in this browser, or took too long." in text_of(stolen)
    assert (injected.status_code, REFUSED in text_of(injected)) == (403, True)
    assert (first.status_code, second.status_code) == (302, 400)
    assert User.objects.count() == 1


def test_a_replayed_code_is_refused_even_with_its_cookie(provider: Provider) -> None:
    client, thief = Client(), Client()
    path = begun(client, provider)
    thief.cookies["coppice_oidc"] = client.cookies["coppice_oidc"].value
    assert client.get(path).status_code == 302

    replayed = thief.get(path)

    assert (replayed.status_code, REFUSED in text_of(replayed)) == (403, True)
    assert thief.get("/admin/").status_code == 302
    assert Session.objects.count() == 1


def test_an_attempt_expires(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    path = begun(client, provider)
    later = time.time() + 601
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)

    assert client.get(path).status_code == 400


@pytest.mark.parametrize("query", ["", "?state=x", "?code=x", "?error=access_denied", "?state=x&code=y&iss=other"])
def test_a_return_that_was_not_begun_is_refused(provider: Provider, query: str) -> None:
    assert Client().get(CALLBACK + query).status_code == 400
    client = Client()
    begun(client, provider)
    assert client.get(CALLBACK + query).status_code == 403
    nothing_changed(client)
    assert "token" not in provider.requests


def test_what_the_provider_refuses_is_said(provider: Provider) -> None:
    provider.refuses = "access_denied"

    answer = signed_in(Client(), provider)

    assert (answer.status_code, REFUSED in text_of(answer)) == (403, True)
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("groups", [None, [], ["strangers"], "strangers", {"tree-ops": 1}, 7])
def test_without_a_group_that_has_a_role_no_account_is_made(provider: Provider, groups: Any) -> None:
    provider.claims["groups"] = groups
    client = Client()

    answer = signed_in(client, provider)

    assert answer.status_code == 403
    assert "None of your groups has a role here. Ask an administrator." in text_of(answer)
    nothing_changed(client)


def test_the_highest_role_of_the_groups_counts(provider: Provider) -> None:
    provider.claims["groups"] = ["everyone", "tree-admins", "tree-ops", "others"]

    signed_in(Client(), provider)

    assert [group.name for group in User.objects.get().groups.all()] == ["administrator"]


def test_a_group_that_was_lost_ends_the_role_and_the_sessions(provider: Provider) -> None:
    client = Client()
    signed_in(client, provider)
    provider.claims["groups"] = ["everyone"]
    lower = Client()

    assert signed_in(lower, provider).status_code == 302
    # A session of the earlier role has ended.
    assert client.get("/admin/").status_code == 302
    assert [group.name for group in User.objects.get().groups.all()] == ["viewer"]

    provider.claims["groups"] = []
    refused = signed_in(Client(), provider)

    assert refused.status_code == 403
    assert "None of your groups has a role here any more." in text_of(refused)
    assert lower.get("/admin/").status_code == 302
    user = User.objects.get()
    assert (user.groups.count(), Session.objects.count()) == (0, 0)
    last = OperatorAction.objects.latest("pk")
    assert (last.verb, last.after["role"], last.after["sessions_ended"]) == ("changed_role", "none", 1)


def test_the_same_sign_in_again_changes_nothing_and_is_the_same_account(provider: Provider) -> None:
    signed_in(Client(), provider)
    acts = OperatorAction.objects.count()
    provider.claims["preferred_username"] = "renamed"

    assert signed_in(Client(), provider).status_code == 302
    assert (User.objects.get().username, OperatorAction.objects.count(), Session.objects.count()) == ("nora", acts, 2)


def test_no_account_is_taken_over_by_name_or_mail(provider: Provider) -> None:
    local = User.objects.create_superuser("Nora", "nora@coppice.example", "a long password")
    provider.claims |= {"email": "nora@coppice.example", "email_verified": True}

    assert signed_in(Client(), provider).status_code == 302

    other = User.objects.exclude(pk=local.pk).get()
    assert (other.username, other.is_superuser, other.identity.subject) == ("nora-2", False, "s-1")
    assert not Identity.objects.filter(user=local).exists()


def test_a_name_that_differs_in_width_or_unseen_characters_is_taken(provider: Provider) -> None:
    User.objects.create_user("nora")
    User.objects.create_user("nora-2")
    provider.claims["preferred_username"] = "\uff2eor\u3164a"

    assert signed_in(Client(), provider).status_code == 302

    name = User.objects.get(identity__subject="s-1").username
    assert names.name_key(name) == "nora-3"


@pytest.mark.parametrize(
    "mail", ["n\0@coppice.example", "\ud800@coppice.example", "nora", "a@b.example\nBcc: x@y.example"]
)
def test_an_address_that_is_none_is_not_kept(provider: Provider, mail: str) -> None:
    provider.claims["email"] = mail

    assert signed_in(Client(), provider).status_code == 302
    assert User.objects.get().email == ""


@pytest.mark.parametrize("changes", [{"sub": "s-\ud800"}, {"sub": "s-\0"}, {"nonce": "\ud800"}])
def test_a_claim_that_cannot_be_stored_is_refused(provider: Provider, changes: dict[str, Any]) -> None:
    provider.alter = lambda claims: claims.update(changes)
    client = Client()

    answer = signed_in(client, provider)

    assert (answer.status_code, REFUSED in text_of(answer)) == (403, True)
    nothing_changed(client)


def test_a_subject_of_another_issuer_is_another_person(provider: Provider, settings: Any) -> None:
    signed_in(Client(), provider)
    Identity.objects.update(issuer="https://elsewhere.example")

    signed_in(Client(), provider)

    assert sorted(User.objects.values_list("username", flat=True)) == ["nora", "nora-2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_active": False}, "Your account is deactivated."),
        ({"is_staff": False}, "Your account is deactivated."),
        ({"is_superuser": True}, "Superusers sign in with a password."),
    ],
)
def test_an_account_that_was_deactivated_stays_out(provider: Provider, change: dict[str, bool], words: str) -> None:
    signed_in(Client(), provider)
    User.objects.update(**change)
    Session.objects.all().delete()
    client = Client()

    answer = signed_in(client, provider)

    assert (answer.status_code, words in text_of(answer)) == (403, True)
    assert Session.objects.count() == 0


def test_a_person_of_the_provider_has_no_password(provider: Provider) -> None:
    signed_in(Client(), provider)
    user = User.objects.get()
    user.set_password("a long password")
    user.save()

    root = Client()
    root.force_login(User.objects.create_superuser("root", password="a long password"))
    assert root.get(f"/admin/acts/set-person-password/{user.pk}/").status_code == 409
    assert "they sign in with the provider" in text_of(root.get(f"/admin/auth/user/{user.pk}/change/"))

    refused = Client().post(LOGIN, {"username": "nora", "password": "a long password"})

    assert refused.status_code == 200
    assert "Please enter the correct username and password" in text_of(refused)


@pytest.mark.parametrize("is_only", [False, True])
def test_the_provider_alone_but_for_superusers(provider: Provider, settings: Any, is_only: bool) -> None:
    settings.OIDC_ONLY = is_only
    User.objects.create_user("otto", password="a long password", is_staff=True)
    User.objects.create_superuser("root", password="a long password")

    statuses = {
        name: Client().post(LOGIN, {"username": name, "password": "a long password"}).status_code
        for name in ("otto", "root")
    }

    assert statuses == {"otto": 200 if is_only else 302, "root": 302}
    page = text_of(Client().get(LOGIN))
    assert "Sign in with single sign-on" in page
    assert ("Only superusers sign in with a password" in page) == is_only


def test_the_provider_asks_for_the_factors_that_it_requires(provider: Provider, settings: Any) -> None:
    settings.SECOND_FACTOR_ROLES = ["operator"]
    client = Client()
    signed_in(client, provider)
    assert second_factor.is_obligatory(User.objects.get())

    assert client.get("/admin/").status_code == 200

    # A session with a password still has to.
    local = User.objects.create_user("otto", password="a long password", is_staff=True)
    local.groups.set(Group.objects.filter(name="operator"))
    client.post(LOGIN, {"username": "otto", "password": "a long password"})
    assert client.get("/admin/").status_code == 302


def test_groups_of_userinfo_count_if_it_is_about_the_same_person(provider: Provider) -> None:
    del provider.claims["groups"]
    provider.userinfo = {"sub": "s-2", "groups": ["tree-admins"]}
    refused = signed_in(Client(), provider)
    provider.userinfo = {"sub": "s-1", "groups": ["tree-admins"]}

    assert (refused.status_code, signed_in(Client(), provider).status_code) == (403, 302)
    assert [group.name for group in User.objects.get().groups.all()] == ["administrator"]


def test_new_keys_of_the_provider_are_read(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed_in(Client(), provider).status_code == 302
    provider.keys = {"two": OTHER_KEY}
    provider.sign = of_an_unknown_key

    # Not more often than that: anybody may send tokens.
    assert signed_in(Client(), provider).status_code == 403
    monkeypatch.setattr(oidc, "_KEYS_READ_AT_MOST_EVERY", 0.0)
    assert signed_in(Client(), provider).status_code == 302
    assert provider.requests.count("openid-configuration") == 1


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_client_shows_its_secret_as_the_provider_wants(provider: Provider, method: str) -> None:
    provider.document = {"token_endpoint_auth_methods_supported": [method]}

    assert signed_in(Client(), provider).status_code == 302


@pytest.mark.parametrize(
    "change",
    [
        {"broken": 500}, {"document": {"issuer": "http://127.0.0.1/other"}}, {"broken": 302},
        {"document": {"authorization_endpoint": "javascript:alert(1)"}}, {"document": {"authorization_endpoint": None}},
    ],
)  # fmt: skip
def test_a_provider_that_is_away_or_another_is_said(provider: Provider, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(provider, name, value)

    answer = Client().get(BEGIN)

    assert answer.status_code == 503
    assert "The sign-in service does not answer as it should." in text_of(answer)


def test_without_a_provider_there_is_no_such_page(settings: Any) -> None:
    assert settings.OIDC_ISSUER == ""
    assert [Client().get(path).status_code for path in (BEGIN, CALLBACK)] == [404, 404]
    assert "Sign in with" not in text_of(Client().get(LOGIN))


@pytest.mark.django_db(transaction=True)
def test_two_first_sign_ins_at_once_make_one_account(provider: Provider) -> None:
    other = {"sub": "s-2", "preferred_username": "Nora", "groups": ["tree-ops"]}
    paths = []
    for claims in (provider.claims, provider.claims, other):
        provider.claims, client = claims, Client()
        paths.append((client, begun(client, provider), claims))
    codes = {parse_qs(urlsplit(path).query)["code"][0]: claims for _, path, claims in paths}
    provider.claims_of = codes

    answers = race([lambda client=client, path=path: client.get(path) for client, path, _ in paths])

    assert [answer.status_code for answer in answers] == [302] * 3
    assert sorted(Identity.objects.values_list("subject", flat=True)) == ["s-1", "s-2"]
    assert sorted(name.lower() for name in User.objects.values_list("username", flat=True)) == ["nora", "nora-2"]
    assert OperatorAction.objects.filter(verb="created_person").count() == 2


@pytest.mark.parametrize("url", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_the_next_page_is_one_of_this_site(provider: Provider, url: str) -> None:
    assert signed_in(Client(), provider, next=url)["Location"] == "/admin/"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "nora <b>"}, "nora-b"),
        ({"preferred_username": "", "email": "n@coppice.example"}, "n@coppice.example"),
        ({"preferred_username": "💥"}, "person"),
        ({"preferred_username": ["a"], "name": "Nora Oak"}, "Nora-Oak"),
        ({"preferred_username": "n" * 300}, "n" * 100),
        # One character that compatibility composition makes eighteen.
        ({"preferred_username": "\ufdfa" * 90}, unicodedata.normalize("NFKC", "\ufdfa" * 90).replace(" ", "-")[:100]),
        ({"preferred_username": "\ud800nora"}, "nora"),
    ],
)
def test_names_are_those_that_accounts_may_have(provider: Provider, claims: dict[str, Any], name: str) -> None:
    provider.claims |= claims

    assert signed_in(Client(), provider).status_code == 302
    assert User.objects.get().username == name
    assert timezone.now() - User.objects.get().date_joined < timedelta(minutes=5)
