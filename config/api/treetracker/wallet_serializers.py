"""Request and response bodies of wallets and tokens; fields are in the order of the public service."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict

from config.api.errors import Invalid
from config.api.json_schemas import Named, Nullable, Sometimes
from config.api.openapi import LATER_PAGE, Form
from config.api.page_schemas import page
from config.api.pagination import Later, Order, Page, Sorting
from config.api.validation import Field, Flag, Guid, Moment, Shape, Text
from trusts.controlled_wallets import WalletOrder, WalletScope, WalletSelection
from wallets import names, passwords
from wallets.models import LONGEST_ABOUT, Wallet


@dataclass(frozen=True)
class Password(Text):
    """A password. Its length is that of the composed form: some clients send an accent as a separate character."""

    maximum: int | None = passwords.MAXIMUM_LENGTH

    def read(self, path: str, value: Any) -> str:
        super().read(path, passwords.composed(value) if isinstance(value, str) else value)
        return str(value)


@dataclass(frozen=True)
class Description(Text):
    """A text of limited length; an empty one and null delete it."""

    may_be_empty: bool = True

    def read(self, path: str, value: Any) -> str:
        return "" if value is None or value == "" else super().read(path, value)

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "string", "minLength": self.minimum, "maxLength": self.maximum},
                {"type": "string", "maxLength": 0},
                {"type": "null"},
            ]
        }


CREDENTIALS: Final = Shape({"wallet": Text(), "password": Password()})
NEW_WALLET: Final = Shape({"wallet": Text(), "about": Text(maximum=LONGEST_ABOUT, required=False)})


@dataclass(frozen=True)
class NameOfV2(Text):
    """The name of a new wallet at v2, which permits few characters."""

    minimum: int = names.MINIMUM_LENGTH
    maximum: int | None = names.MAXIMUM_LENGTH

    def read(self, path: str, value: Any) -> str:
        name = super().read(path, value)
        if not _NAME_OF_V2.fullmatch(name):
            raise Invalid(f"{path} can only contain numbers, letters and the - . @ symbols")
        return name


_NAME_OF_V2: Final = re.compile(r"[A-Za-z0-9.@-]+")
NEW_WALLET_OF_V2: Final = Shape({**NEW_WALLET.fields, "wallet": NameOfV2()})
WALLET_CHANGES: Final = Shape(
    {
        "display_name": Description(minimum=2, maximum=30, required=False),
        "about": Description(minimum=5, maximum=250, required=False),
    }
)


@dataclass(frozen=True)
class OldestOrNewest(Text):
    """The name of the only field by which v1.10.25 sorts wallets."""

    choices: Sequence[str] | None = ("created_at",)
    required: bool = False

    def read(self, path: str, value: Any) -> str:
        if value != "created_at":
            raise Invalid(f'"{path}" must be [created_at]')
        return "created_at"


WALLET_FILTERS: Final[Mapping[str, Field]] = {
    "name": Text(required=False),
    "created_at_start_date": Moment(required=False),
    "created_at_end_date": Moment(required=False),
    "scope": Text(choices=[each.value for each in WalletScope], required=False),
}
# With the one of v1.10.25 that v2 refuses.
WALLET_FILTERS_OF_V1: Final[Mapping[str, Field]] = {**WALLET_FILTERS, "order_by": OldestOrNewest()}
LATER_WALLETS: Final = Later(
    1000,
    sorting=Sorting(["created_at", "name"]),
    answer=["total", "query", "wallets"],
    unfit="{} can only be non-negative integer",
)
WALLETS_QUERY: Final[Mapping[str, Field]] = {
    **LATER_PAGE,
    **WALLET_FILTERS_OF_V1,
    **Sorting(["created_at", "name"]).fields,
}
IMAGES: Final[Mapping[str, Literal["logo_url", "cover_url"]]] = {"logo_image": "logo_url", "cover_image": "cover_url"}


@dataclass(frozen=True)
class TrimmedText(Text):
    """A text without the white space around it."""

    def read(self, path: str, value: Any) -> str:
        return super().read(path, value.strip() if isinstance(value, str) else value)


# As at the service's later version, whose form cannot delete a text. `add_to_web_map` has no effect here.
WALLET_FORM: Final = Shape(
    {
        "display_name": TrimmedText(minimum=2, maximum=30, required=False),
        "about": Text(minimum=5, maximum=250, required=False),
        "add_to_web_map": Flag(from_text=True, required=False),
    }
)


def read_wallet_form(form: QueryDict) -> tuple[dict[str, str], dict[Literal["logo_url", "cover_url"], bytes]]:
    """Return the texts and the images of the form of `PATCH /wallets/{id}`, by the names of the wallet's fields."""
    fields: dict[str, Any] = {name: values[0] if len(values) == 1 else values for name, values in form.lists()}
    sent = {name: fields.pop(name) for name in IMAGES if name in fields}
    texts = WALLET_FORM.read_body(fields)
    texts.pop("add_to_web_map", None)
    for name, file in sent.items():
        if not isinstance(file, UploadedFile):
            raise Invalid(f'"{name}" must be one file')
    return texts, {IMAGES[name]: file.read() for name, file in sent.items()}


TOKEN_FILTERS: Final = {"wallet": Text(required=False)}
LATER_TOKENS: Final = Later(2000)
WALLET_PATH: Final = {"wallet_id": Guid()}
TOKEN_PATH: Final = {"token_id": Guid()}

CREDENTIALS_BODY: Final = Named(
    "Credentials",
    "A wallet and its password.",
    CREDENTIALS,
    words={
        "wallet": "The name or the id of the wallet.",
        "password": f"Its password, of up to {passwords.MAXIMUM_LENGTH} characters in Unicode's composed form (NFC).",
    },
)
BEARER: Final = Named(
    "BearerToken",
    "What identifies a wallet in other requests.",
    {
        "token": "eyJhbGciOiJvcGFxdWUiLCJ0eXAiOiJKV1QifQ"
        ".eyJpZCI6ImNkMDA0ZGNjLTc5NzQtNGMzNS04NzE5LWNmOGY0ZTE4ZDFkZiIsIm5hbWUiOiJhbGljZSJ9"
        ".kx3Zr0iV2oY7cF5wq8mJ1sT4uB6nD9eLhGpAaQyRzXE8wq8mJ1sT4u"
    },
    words={"token": "The bearer token. It is valid until it expires, is revoked, or the password changes."},
)
_WALLET_WORDS: Final = {
    "id": "The id of the wallet.",
    "name": "Its name, unique without regard to case.",
    "about": "A text about it; null if there is none.",
    "logo_url": "The URL of its logo; null if there is none.",
    "created_at": "When it was created, in UTC with milliseconds.",
    "tokens_in_wallet": "The number of tokens in it.",
    "tokens_available": "How many of these can be sent: all but those that pending transfers and claim links reserve.",
    "tokens_pending": "How many of these pending transfers and claim links reserve.",
}
_MORE_WORDS: Final = {
    "cover_url": "The URL of its cover image; null if there is none.",
    "display_name": "The name that people are shown; null if there is none.",
}
WALLET_EXAMPLE: Final = {
    "id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
    "name": "alice",
    "about": Nullable("planted in spring"),
    "logo_url": Nullable("https://example.org/alice.png"),
    "created_at": "2024-01-01T00:01:00.000Z",
    "tokens_in_wallet": 100,
    "tokens_available": 98,
    "tokens_pending": 2,
}
# Of a single wallet, and of lists at v2.
MORE_EXAMPLE: Final = {
    "cover_url": Nullable("https://example.org/trees.png"),
    "display_name": Nullable("Alice"),
}
# `wallet` repeats the name, for clients of the service's later version.
WALLET: Final = Named(
    "Wallet",
    "A wallet: a holder of tokens.",
    {**WALLET_EXAMPLE, **MORE_EXAMPLE, "wallet": "alice"},
    words={**_WALLET_WORDS, **_MORE_WORDS, "wallet": "The same as `name`."},
)
LISTED_WALLET: Final = Named(
    "ListedWallet",
    "A wallet in a list.",
    {**WALLET_EXAMPLE, **{name: Sometimes(value) for name, value in MORE_EXAMPLE.items()}},
    words={**_WALLET_WORDS, **{name: f"{text[:-1]}. Below `/wallet/v2` alone." for name, text in _MORE_WORDS.items()}},
)
WALLET_PAGE: Final = page("WalletPage", {"wallets": [LISTED_WALLET]}, has_total=True, has_query=True)
NEW_WALLET_BODY: Final = Named(
    "NewWallet",
    "A wallet to be created.",
    NEW_WALLET,
    words={
        "wallet": "Its name: 3 to 254 characters without white space, unique without regard to case. It does not"
        " have the form of an id.",
        "about": "A text about it.",
    },
)
CREATED_WALLET: Final = Named(
    "CreatedWallet",
    "A wallet that was created.",
    {
        "id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
        "wallet": "sapling",
        "about": Nullable("planted in spring"),
    },
    words={
        "id": "The id of the wallet.",
        "wallet": "Its name.",
        "about": "The text about it; null if none was sent.",
    },
)
WALLET_CHANGES_BODY: Final = Named(
    "WalletChanges",
    "Texts of a wallet to be changed. A text that is not sent stays.",
    WALLET_CHANGES,
    words={
        "display_name": "The name that people are shown. Null and an empty text delete it.",
        "about": "A text about the wallet. Null and an empty text delete it.",
    },
)
WALLET_FORM_BODY: Final = Form(
    fields=Named(
        "WalletForm",
        "Texts and images of a wallet to be changed. What is not sent stays.",
        WALLET_FORM,
        words={
            "display_name": "The name that people are shown.",
            "about": "A text about the wallet.",
            "add_to_web_map": "Has no effect.",
        },
    ),
    files={
        "logo_image": "The logo: JPEG or PNG of up to 1 MiB and 16,000,000 pixels.",
        "cover_image": "The cover image: JPEG or PNG of up to 1 MiB and 16,000,000 pixels.",
    },
)
TOKEN_LINKS: Final = Named(
    "TokenLinks",
    "Where more about a token is found.",
    {"capture": "/webmap/tree?uuid=f55ee0fe-383e-4e91-89f1-c179c3611730"},
    words={"capture": "The path of the tree on the web map of the public service."},
)
TOKEN: Final = Named(
    "Token",
    "A token: one planted tree.",
    {
        "id": "0acf8c3d-3008-4b55-877b-241d984721d2",
        "capture_id": "f55ee0fe-383e-4e91-89f1-c179c3611730",
        "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
        "transfer_pending": False,
        "transfer_pending_id": Nullable("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"),
        "created_at": "2024-02-01T00:00:01.000Z",
        "updated_at": "2024-02-01T00:00:01.000Z",
        "claim": False,
        "links": TOKEN_LINKS,
    },
    words={
        "id": "The id of the token.",
        "capture_id": "The id of the record of the planting, at the service that issued the token.",
        "wallet_id": "The id of the wallet that holds it.",
        "transfer_pending": "Whether a pending transfer or a claim link reserves it.",
        "transfer_pending_id": "The id of that transfer or claim link; null if there is none.",
        "created_at": "When it was issued, in UTC with milliseconds.",
        "updated_at": "When it last changed its wallet or its reservation, in UTC with milliseconds.",
        "claim": "Always false.",
        "links": TOKEN_LINKS,
    },
)
TOKEN_PAGE: Final = page("TokenPage", {"tokens": [TOKEN]})


def from_json(json: str) -> Any:
    """Return JSON text from PostgreSQL as a value that is rendered unchanged."""
    return orjson.Fragment(json)


def created_wallet(created: Wallet) -> dict[str, Any]:
    """Return the body of the answer to `POST /wallets`. v1 has the name alone."""
    return {"id": created.pk, "wallet": created.name, "about": created.about or None}


def selected_wallets(page: Page) -> dict[str, Any]:
    """Return the arguments of `counters.wallets_page` that say which wallets a requested page is about."""
    order = page.order or (Order("created_at", True) if "order_by" in page.values else None)
    values = page.values
    return {
        "selection": WalletSelection(
            order=WalletOrder.OWN_LAST if order is None else WalletOrder(order.by or "created_at"),
            is_descending=order is not None and order.is_descending,
            scope=WalletScope(values.get("scope", WalletScope.ALL)),
            has_name="name" in values,
            has_start="created_at_start_date" in values,
            has_end="created_at_end_date" in values,
        ),
        "values": {
            "name": values.get("name", ""),
            "start": values.get("created_at_start_date"),
            "end": values.get("created_at_end_date"),
        },
        "has_total": page.shows_total,
    }
