"""Which texts may name a wallet, when two names are one, and what becomes of stored names that break the rules."""

import unicodedata
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from config.management.commands import doctor
from wallets import errors, names, operations, queries
from wallets.models import Wallet
from wallets.queries import WalletReference

ID = "3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5b"
HEX = ID.replace("-", "")
# Every way in which a parser of ours, PostgreSQL's or Python's reads an id, what NFKC makes one, and look-alikes.
SPELLINGS = [
    ID,
    ID.upper(),
    HEX,
    HEX.upper(),
    f"{{{ID}}}",
    f"{{{HEX}}}",
    f"urn:uuid:{ID}",
    f"URN:UUID:{ID}",
    f"uuid:{HEX}",
    f"({ID})",
    f"[{ID}]",
    "-".join(HEX[start : start + 4] for start in range(0, 32, 4)),
    "-".join(HEX),
    f"{HEX[:8]}-{HEX[8:]}",
    f"-{HEX}-",
    ID.replace("-", "\u2010"),
    ID.replace("-", "\u2013"),
    ID.replace("-", "\u2212"),
    "".join(chr(ord(character) + 0xFEE0) for character in HEX),
    # Python's `UUID` accepts the digits of every script.
    "".join(chr(0x0660 + int(character)) if character.isdecimal() else character for character in ID),
    "".join(chr(0x0966 + int(character)) if character.isdecimal() else character for character in HEX),
    # Printed like the hyphen, or put around an id by programs and people.
    *(ID.replace("-", character) for character in "\u02d7\u2043\u2796\u30fc\u00af_.:/~+"),
    *(f"{first}{ID}{last}" for first, last in ("<>", '""', "''", "\u3014\u3015", "\u2768\u2769", "\u201c\u201d", "#/")),
]
INVISIBLE = [
    "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180b", "\u200b", "\u200d", "\u202e", "\u2060",
    "\u2064", "\u2065", "\u206f", "\u2800", "\u3164", "\ufe00", "\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\ufffc",
    "\u303f", "\U0001bca0", "\U0001d159", "\U0001d173", "\U00013441", "\U00016fe4", "\U000e0001", "\U000e0041",
    "\U000e0100", "\U000e0fff",
]  # fmt: skip


def named(name: str, key: str | None = None) -> Wallet:
    """Store a wallet past the rules of names; its key keeps invisible characters unless `key` is given."""
    return Wallet.objects.create(name=name, name_key=key_with_invisible(name) if key is None else key)


def key_with_invisible(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def test_the_table_of_invisible_characters_is_that_of_unicode() -> None:
    table = {code for first, last in names._IGNORABLE for code in range(first, last + 1)}

    # The file states the total itself.
    assert len(table) == 4174
    assert list(names._IGNORABLE) == sorted(names._IGNORABLE)
    # Of format characters only those lack the property that are seen, and interlinear annotation.
    others = [code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf" and code not in table]
    kinds = {unicodedata.name(chr(code)).split()[0] for code in others}
    assert kinds == {"ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN", "INTERLINEAR"}


def test_just_the_characters_of_the_two_tables_are_invisible() -> None:
    table = {code for first, last in names._IGNORABLE for code in range(first, last + 1)}

    found = {code for code in range(0x110000) if names.is_invisible(chr(code))}

    assert found == table | set(map(ord, names._BLANK))


def test_a_name_is_as_long_as_its_characters_and_its_key_has_a_bound_of_its_own() -> None:
    # Normalisation makes eighteen characters of this one.
    wide = "\ufdfa"
    per_name = len(names.name_key(wide))
    most = names.MAXIMUM_KEY_LENGTH // per_name

    accepted = ["a" * 254, "a" * 3, "ä" * 254, "aa" + wide]
    refused = ["a" * 255, "aa", "ä" * 255, wide * (most + 1), "a" * (254 - most - 1) + wide * (most + 1)]

    assert per_name == 18
    assert [names.refusal(name) for name in accepted] == [None] * len(accepted)
    assert [type(names.refusal(name)) for name in refused] == [errors.WalletNameLength] * len(refused)
    # The key, not the name, is too long.
    assert names.refusal(wide * most) is None


def test_a_key_is_a_fixed_point_and_holds_nothing_invisible() -> None:
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character)[0] in "CZ" or names.is_invisible(character):
            continue
        key = names.name_key(character)
        assert key, hex(code)
        assert names.name_key(key) == key, hex(code)
        assert not any(map(names.is_invisible, key)), hex(code)


def test_every_default_ignorable_character_is_refused() -> None:
    for first, last in names._IGNORABLE:
        for code in range(first, last + 1):
            assert isinstance(names.refusal(f"ali{chr(code)}ce"), errors.MisleadingWalletName), hex(code)


@pytest.mark.parametrize("name", SPELLINGS)
def test_row_30_no_wallet_is_named_like_an_id(db: None, name: Any) -> None:
    with pytest.raises(errors.MisleadingWalletName, match="has the form of an id"):
        operations.create_wallet(name=name)

    assert not Wallet.objects.exists()


@pytest.mark.parametrize("name", [f"w{HEX}", f"{HEX}0", HEX[:31] + "g", HEX[:31], f"id:{HEX}", "+254712345678", "a/b"])
def test_row_30_what_only_resembles_an_id_may_be_a_name(db: None, name: Any) -> None:
    assert operations.create_wallet(name=name).name == name
    assert queries.wallet_by_name_or_id(name).name == name


@pytest.mark.parametrize("place", ["{}alice", "ali{}ce", "alice{}", "{0}{0}{0}"])
def test_row_30_no_name_holds_an_invisible_character(db: None, place: str) -> None:
    for character in INVISIBLE:
        with pytest.raises(errors.MisleadingWalletName, match=f"U\\+{ord(character):04X}"):
            operations.create_wallet(name=place.format(character))

    assert not Wallet.objects.exists()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\u0301"),
        ("q\u0323\u0307x", "q\u0307\u0323x"),
        ("ﬁnca", "FINCA"),
        ("ＡＬＩＣＥ", "alice"),
        ("straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("\u212a\u00e5re", "k\u212bre"),
        ("ﾊﾟﾝﾀ", "パンタ"),
        ("①②③", "123"),
    ],
)
def test_names_that_fold_to_the_same_form_are_one_name(db: None, one: str, other: str) -> None:
    wallet = operations.create_wallet(name=one)

    assert queries.wallet_by_name_or_id(other) == wallet
    with pytest.raises(errors.WalletNameTaken):
        operations.create_wallet(name=other)


def test_names_of_other_letters_are_other_names(db: None) -> None:
    wallets = {operations.create_wallet(name=name) for name in ("alice", "аlice", "tree1", "treel", "modern", "modem")}

    assert len(wallets) == 6


@pytest.mark.parametrize("character", INVISIBLE)
def test_a_client_that_writes_an_invisible_character_names_no_wallet(db: None, character: Any) -> None:
    operations.create_wallet(name="alice")

    with pytest.raises(errors.MisleadingWalletName):
        queries.wallet_by_name_or_id(f"ali{character}ce")


@pytest.mark.parametrize("text", [ID, HEX, ID.upper()])
def test_text_in_the_form_of_an_id_never_finds_a_name(db: None, text: Any) -> None:
    impostor = named(text)

    with pytest.raises(errors.WalletNotFound, match=f"Could not find wallet by id: {ID}"):
        queries.wallet_by_name_or_id(text)
    assert queries.wallet_by_name_or_id(str(impostor.pk)) == impostor
    assert queries.reference(text) == WalletReference(id=UUID(ID))


def test_an_id_is_no_name_for_a_trusted_caller_either(db: None) -> None:
    wallet = operations.create_wallet(name="alice")

    assert queries.wallet_by_name("Alice") == wallet
    for text in (str(wallet.pk), wallet.pk.hex):
        assert queries.wallet_by_name_or_id(text) == wallet
        with pytest.raises(errors.MisleadingWalletName, match="has the form of an id"):
            queries.wallet_by_name(text)


@pytest.mark.parametrize("text", [each for each in SPELLINGS if names.parse_uuid(each) is None])
def test_no_other_spelling_of_an_id_finds_a_name_in_the_form_of_one(db: None, text: Any) -> None:
    named(ID)
    named(HEX)

    with pytest.raises(errors.MisleadingWalletName):
        queries.wallet_by_name_or_id(text)


def test_stored_names_stay_reachable_and_doctor_lists_them(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    alice = operations.create_wallet(name="alice")
    like_id = named(ID)
    braces = named(f"{{{ID}}}")
    alone = named("hangul\u3164filler", names.name_key("hangul\u3164filler"))
    shadow = named("ali\u3164ce")
    twins = [named("twin\u2800"), named("twin\ufe0f")]
    blank = named("\u3164" * 3)
    unchanged = named("木の財布")

    # By name where only one wallet can be meant ...
    assert queries.wallet_by_name_or_id("hangul\u3164filler") == alone
    assert queries.wallet_by_name_or_id("HANGULfiller") == alone
    assert queries.wallet_by_name_or_id(f"{{{ID}}}") == braces
    assert queries.wallet_by_name_or_id("alice") == alice
    assert queries.wallet_by_name_or_id("木の財布") == unchanged
    # ... else by id alone.
    for wallet in (like_id, shadow, *twins, blank):
        with pytest.raises((errors.WalletNotFound, errors.InvalidWalletName)):
            queries.wallet_by_name_or_id(wallet.name)
    for wallet in (alice, like_id, braces, alone, shadow, *twins, blank, unchanged):
        assert queries.wallet_by_name_or_id(str(wallet.pk)) == wallet
    # The name that is seen is taken.
    with pytest.raises(errors.WalletNameTaken):
        operations.create_wallet(name="hangulfiller")
    assert {odd.wallet_id: odd.is_reached_by_name for odd in queries.odd_names()} == {
        like_id.pk: False,
        braces.pk: True,
        alone.pk: True,
        shadow.pk: False,
        twins[0].pk: False,
        twins[1].pk: False,
        blank.pk: False,
    }
    said = doctor.wallet_names()
    assert said.startswith("7 stored names do not conform to the present rule; ")
    assert f"{ID} has the form of an id; reached by its id only: {like_id.pk}" in said
    assert f"ali\\u{{3164}}ce looks like the name of another wallet; reached by its id only: {shadow.pk}" in said
    assert f"hangul\\u{{3164}}filler holds an invisible character; reached by its name or its id: {alone.pk}" in said


def test_doctor_finds_nothing_where_all_names_follow_the_rules(db: None) -> None:
    operations.create_wallet(name="Straße")
    operations.create_wallet(name="alice")

    assert doctor.wallet_names() == "all stored names conform to the present rule"


@pytest.mark.parametrize("name", [ID, HEX, "ali\u3164ce", "ali\u2800ce"])
def test_row_30_the_command_refuses_such_names(db: None, name: Any) -> None:
    with pytest.raises(CommandError, match="invalid wallet name"):
        call_command("create_wallet", name, "--no-password")

    assert not Wallet.objects.exists()


def test_tokens_are_issued_by_command_to_the_wallet_of_the_id(db: None) -> None:
    bob = operations.create_wallet(name="bob")
    impostor = named(str(bob.pk))

    call_command("issue_tokens", "--wallet", str(bob.pk), "--count", "3", stdout=StringIO())

    assert (bob.tokens.count(), impostor.tokens.count()) == (3, 0)
    with pytest.raises(CommandError, match="Could not find wallet by id"):
        call_command("issue_tokens", "--wallet", str(uuid4()), "--count", "3")
