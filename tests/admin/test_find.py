"""The search of all pages of the admin."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.admin import find, roles
from config.admin.links import page_url
from config.admin.templatetags import formats
from lockers.raida import codes
from tests.support.admin_lists import LISTS
from transfers import action_tokens
from transfers.models import ActionToken, Transfer, TransferTerms
from trusts.models import Trust
from wallets import operations as wallets
from wallets import restricted_keys
from wallets.models import ApiKey, BearerToken, Event, Token, Wallet
from webhooks.models import WebhookDelivery

FIND = reverse("admin:find")


def search(desk: Client, term: str, **more: Any) -> Any:
    return desk.get(FIND, {"q": term, **more})


def groups(response: Any) -> dict[str, tuple[str, list[str]]]:
    """Return for each kind of the results its number and the URLs of its rows."""
    assert response.status_code == 200, response.get("Location")
    return {group.title: (group.number, [url for url, _ in group.lines]) for group in response.context["found"].groups}


def ids_of(ledger: SimpleNamespace) -> dict[str, tuple[object, str]]:
    """Return an id of each kind that partners name, and the page that it opens."""
    token = Token.objects.first()
    link = ActionToken.objects.get(pk=action_tokens.offer_bundles(actor=ledger.alice, sender=None, size=1)[0].id)
    bearer = BearerToken.objects.first()
    event = Event.objects.exclude(payload__transferId=None).first()
    assert token is not None
    assert bearer is not None
    assert event is not None
    rows = [
        ledger.alice, link, Trust.objects.get(pk=ledger.trust.id), ledger.running, ledger.locker, ledger.key, bearer,
        ledger.webhook, ledger.delivery, ledger.payment_request, ledger.coins[0],
    ]  # fmt: skip
    return {row._meta.label_lower: (row.pk, page_url(type(row), row.pk)) for row in rows} | {
        "transfer": (ledger.transfers["pending"].id, page_url(Transfer, ledger.transfers["pending"].id)),
        "token": (token.pk, page_url(Token, token.pk)),
        "capture": (token.capture_id, page_url(Token, token.pk)),
        "receipt": (ledger.running.receipt_id, page_url(type(ledger.running), ledger.running.pk)),
        "event": (event.pk, page_url(Transfer, event.payload["transferId"])),
        "event of a delivery": (
            ledger.delivery.message_id, page_url(WebhookDelivery, ledger.delivery.pk)
        ),
    }  # fmt: skip


def test_every_id_opens_its_page_and_its_first_digits_do(desk: Client, ledger: SimpleNamespace) -> None:
    for number, (kind, (identity, page)) in enumerate(ids_of(ledger).items()):
        text = str(identity)
        shown = formats.short(text)
        others = (text.upper(), text.replace("-", ""), text[:8], text[:13], text[:-1])
        for typed in (text, shown, shown.rstrip("…"), *(others if number == 0 else ())):
            response = search(desk, typed)
            assert (response.status_code, response.get("Location")) == (302, page), (kind, typed)


def test_seven_digits_are_no_id(desk: Client, ledger: SimpleNamespace) -> None:
    assert groups(search(desk, str(ledger.alice.pk)[:7])) == {}
    assert groups(search(desk, "0" * 8)) == groups(search(desk, str(uuid4()))) == {}


def test_the_box_of_every_page_sends_the_term_in_no_url(desk: Client, ledger: SimpleNamespace) -> None:
    for url in (
        reverse("admin:index"),
        reverse("admin:sessions"),
        *(reverse(f"admin:{name}_changelist") for name in LISTS),
    ):
        page = desk.get(url).content.decode()
        assert page.count(f'<form class="find-box" method="post" action="{FIND}"') == 1, url

    response = desk.post(FIND, {"q": " alice "})

    assert (response.status_code, response["Location"]) == (302, f"{FIND}?q=alice")


def test_a_form_without_its_token_is_refused(ledger: SimpleNamespace, desk: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = desk.cookies

    assert strict.post(FIND, {"q": "alice"}).status_code == 403


def test_names_are_found_by_any_part(desk: Client, ledger: SimpleNamespace) -> None:
    made = {
        name: page_url(Wallet, wallets.create_wallet(name=name).pk)
        for name in ("Forest-Nord", "nordwald", "wald_100%", "森林の財布", "MÜNCHEN-west", "back\\slash")
    }

    def found(term: str) -> set[str]:
        response = search(desk, term, all=1)
        urls = groups(response).get("wallets", ("", []))[1]
        return {name for name, url in made.items() if url in urls}

    assert found("nord") == {"Forest-Nord", "nordwald"}
    assert found("OrD") == {"Forest-Nord", "nordwald"}
    assert found("wald") == {"nordwald", "wald_100%"}
    assert found("wa") == {"nordwald", "wald_100%"}
    assert found("林の") == {"森林の財布"}
    assert found("münchen") == found("ｍünchen") == {"MÜNCHEN-west"}
    # No pattern of LIKE or of a regular expression.
    assert found("%") == found("_") == found("d_1") == {"wald_100%"}
    assert found("n.rd") == found("(") == found("d%1") == set()
    assert found("\\") == {"back\\slash"}
    # Too little of a key, of which only the beginning is stored.
    assert groups(search(desk, "x.")) == {}
    assert found("\u200b") == set()


def test_an_exact_name_opens_and_the_others_are_one_click_away(desk: Client, ledger: SimpleNamespace) -> None:
    wallets.create_wallet(name="alice-springs")
    wallets.create_wallet(name="malice")

    response = search(desk, "Alice")
    assert (response.status_code, response["Location"]) == (302, page_url(Wallet, ledger.alice.pk))
    assert (
        f'There are <a href="{FIND}?q=Alice&amp;all=1">other results</a>.'
        in desk.get(response["Location"]).content.decode()
    )

    number, urls = groups(search(desk, "alice", all=1))["wallets"]
    assert number == "3"
    names = [Wallet.objects.get(pk=UUID(url.split("/")[-3])).name for url in urls]
    assert names == ["alice", "alice-springs", "malice"]


def test_an_id_that_is_also_a_reference_opens_neither_row(desk: Client, ledger: SimpleNamespace) -> None:
    row = Transfer.objects.get(pk=ledger.transfers["completed"].id)
    TransferTerms.objects.create(
        transfer=row, originator=row.originator, source=row.source, destination=row.destination,
        reference=str(ledger.bob.pk), unique_reference=False,
    )  # fmt: skip

    found = groups(search(desk, str(ledger.bob.pk)))

    assert found["wallets"] == ("1", [page_url(Wallet, ledger.bob.pk)])
    assert found["transfers"] == ("1", [page_url(Transfer, row.pk)])


def test_display_names_tags_references_and_keys_are_found(desk: Client, ledger: SimpleNamespace) -> None:
    Wallet.objects.filter(pk=ledger.bob.pk).update(display_name="Bob's [Nursery] e.V.")
    row = Transfer.objects.get(pk=ledger.transfers["completed"].id)
    TransferTerms.objects.create(
        transfer=row, originator=row.originator, source=row.source, destination=row.destination,
        reference="invoice 7/2026", unique_reference=False,
    )  # fmt: skip
    identity = uuid4()
    other = Transfer.objects.get(pk=ledger.transfers["pending"].id)
    TransferTerms.objects.create(
        transfer=other, originator=other.originator, source=other.source, destination=other.destination,
        reference=str(identity), unique_reference=False,
    )  # fmt: skip
    type(ledger.payment_request).objects.filter(pk=ledger.payment_request.pk).update(reference="order 12")
    bearer = BearerToken.objects.get(wallet=ledger.alice)

    for term, page in {
        "[nursery]": page_url(Wallet, ledger.bob.pk),
        "invoice 7/2026": page_url(Transfer, row.pk),
        str(identity): page_url(Transfer, other.pk),
        "order 12": page_url(type(ledger.payment_request), ledger.payment_request.pk),
        "for bob": page_url(type(ledger.locker), ledger.locker.pk),
        "spring": page_url(type(ledger.running), ledger.running.pk),
        "partner": page_url(ApiKey, ledger.key.pk),
        ledger.key.prefix: page_url(ApiKey, ledger.key.pk),
        bearer.prefix: page_url(BearerToken, bearer.pk),
    }.items():
        response = search(desk, term)
        assert (response.status_code, response.get("Location")) == (302, page), term


def test_many_results_are_counted_and_the_list_has_all(desk: Client, ledger: SimpleNamespace) -> None:
    rows = [Wallet(name=f"plot-{number}", name_key=f"plot-{number}") for number in range(find.COUNTED + 1)]
    Wallet.objects.bulk_create(rows[:7])

    few = search(desk, "plot")
    assert groups(few)["wallets"][0] == "7"
    assert len(groups(few)["wallets"][1]) == find.SHOWN
    url = f"{reverse('admin:wallets_wallet_changelist')}?q=plot"
    assert f'<a href="{url}">All wallets (7)</a>' in few.content.decode()
    assert desk.get(url).context["cl"].result_count == 7

    Wallet.objects.bulk_create(rows[7:])
    assert groups(search(desk, "plot"))["wallets"][0] == f"more than {find.COUNTED}"


def test_nobody_sees_what_they_may_not_view(ledger: SimpleNamespace) -> None:
    person = User.objects.create_user("vera", password="a long password", is_staff=True)
    viewer = Client()
    viewer.force_login(person)
    for identity, _ in ids_of(ledger).values():
        assert groups(search(viewer, str(identity))) == {}
    assert groups(search(viewer, "alice")) == {}

    person.user_permissions.add(Permission.objects.get(codename="view_wallet"))
    assert set(groups(search(viewer, "alice", all=1))) == {"wallets"}
    # An event of a transfer leads to the wallet of one who may not view transfers.
    event = Event.objects.exclude(payload__transferId=None).first()
    assert event is not None
    assert search(viewer, str(event.pk))["Location"] == page_url(Wallet, event.wallet_id)
    assert groups(search(viewer, str(ledger.trust.id))) == {}
    assert Trust.objects.filter(pk=ledger.trust.id).exists()

    roles.ensure()
    person.user_permissions.clear()
    person.groups.set([Group.objects.get(name=roles.VIEWER)])
    for kind, (identity, page) in ids_of(ledger).items():
        assert search(viewer, str(identity)).get("Location") == page, kind
    # Accounts are for administrators.
    assert set(groups(search(viewer, "olivia", all=1))) == {"actions"}


def secrets_of(ledger: SimpleNamespace) -> dict[str, str]:
    _, key = wallets.create_api_key(name="another")
    _, short = wallets.create_api_key(name="short", key="only-lower-case-letters")
    bearer = wallets.authenticate(name_or_id="alice", password="correct horse")
    code = codes.generate_code(b"\7" * codes.RANDOM_SIZE)
    link, cancelled = (action_tokens.offer_bundles(actor=ledger.alice, sender=None, size=1)[0] for _ in range(2))
    action_tokens.cancel(actor=ledger.alice, action_token_id=cancelled.id)
    restricted = restricted_keys.new_key()
    return {
        "an API key": key, "a short API key": short, "a bearer token": bearer, "a header": f"Bearer {bearer}",
        "a transmit code": code, "in lower case": code.lower(), "without dashes": code.replace("-", ""),
        "a claim code": link.code, "that of a cancelled link": cancelled.code,
        "a claim link": f"https://example.org/claim#{link.code}",
        "a webhook's": "whsec_" + "a" * 44,
        "a restricted key": restricted, "a restricted key in a header": f"Bearer {restricted}",
    }  # fmt: skip


def test_secrets_are_neither_searched_nor_repeated(desk: Client, ledger: SimpleNamespace) -> None:
    for kind, secret in secrets_of(ledger).items():
        with CaptureQueriesContext(connection) as captured:
            response = desk.post(FIND, {"q": secret})
        assert response.status_code == 200, kind
        assert response.context.get("secret"), kind
        assert response["Cache-Control"].startswith("max-age=0"), kind
        assert secret not in response.content.decode(), kind
        assert not [each for each in captured if secret in each["sql"]], kind


def test_what_may_be_a_secret_is_answered_in_place(desk: Client, ledger: SimpleNamespace) -> None:
    name = "GreenProject2026North-East"
    wallet = wallets.create_wallet(name=name)
    for term in (name, "ABC-1234"):
        response = desk.post(FIND, {"q": term})
        if term == name:
            assert (response.status_code, response["Location"]) == (302, page_url(Wallet, wallet.pk))
        else:
            assert groups(response) == {}
            assert term not in response.content.decode()
    wallets.create_wallet(name="ABC-12345")
    wallets.create_wallet(name="ABC-12346")
    response = desk.post(FIND, {"q": "ABC-1234"})
    assert groups(response)["wallets"][0] == "2"
    assert "q=ABC" not in response.content.decode()


@pytest.mark.parametrize("term", ["", " ", "\0", "a\0b", "\ud800", "x" * 256, "'; DROP TABLE", "%(x)s %s", "…", "((("])
def test_no_term_fails(desk: Client, ledger: SimpleNamespace, term: str) -> None:
    for response in (
        desk.post(FIND, {"q": term.encode("utf-8", "surrogatepass")}),
        desk.get(f"{FIND}?q={''.join(f'%{byte:02x}' for byte in term.encode('utf-8', 'surrogatepass'))}"),
    ):
        assert response.status_code in {200, 302}


def test_a_search_that_takes_too_long_says_so(
    desk: Client, ledger: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from config.admin.wallets import WalletPage  # noqa: PLC0415

    def slow(*args: Any, **named: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        return []

    monkeypatch.setattr(WalletPage, "hits", slow)
    monkeypatch.setattr(find, "_KIND_SECONDS", 0.05)

    response = search(desk, "partner")

    assert response.status_code == 200
    assert "The search took too long for: wallets." in response.content.decode()
    assert set(groups(response)) == {"API keys"}


def test_the_owner_of_a_database_may_create_the_extension(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT trusted FROM pg_available_extension_versions WHERE name = 'pg_trgm' AND installed")
        assert cursor.fetchall() == [(True,)]
