"""The rules of names alone, without a row: which characters are seen, which key a name has, and why it is refused."""

from uuid import UUID

import pytest

from wallets import errors, names
from wallets.names import MAXIMUM_LENGTH, MINIMUM_LENGTH

ID = "3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5b"
HEX = ID.replace("-", "")
INVISIBLE_KIND, UNWRITABLE_KIND, LENGTH_KIND = (
    errors.MisleadingWalletName,
    errors.InvalidWalletName,
    errors.WalletNameLength,
)


@pytest.mark.parametrize(
    ("character", "is_invisible"),
    [
        ("a", False), ("~", False), ("\x7f", False), ("\u00ac", False), ("\u00ad", True), ("\u00ae", False),
        ("\u034e", False), ("\u034f", True), ("\u0350", False), ("\u115e", False), ("\u115f", True), ("\u1160", True),
        ("\u1161", False), ("\u180b", True), ("\u180f", True), ("\u1810", False), ("\u200a", False), ("\u200b", True),
        ("\u200f", True), ("\u2010", False), ("\ufff8", True), ("\ufffc", True), ("\ufffd", False), ("\u2800", True),
        ("\u2801", False), ("\U000e0000", True), ("\U000e0fff", True), ("\U000e1000", False), ("\U0010ffff", False),
    ],
)  # fmt: skip
def test_which_characters_are_not_seen(character: str, is_invisible: bool) -> None:
    """The first and the last of ranges, and their neighbours; `test_names` walks through all of Unicode."""
    assert names.is_invisible(character) is is_invisible


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Alice", "alice"),
        ("ÅRE", "åre"),
        ("\u212aim", "kim"),
        ("ＡＬＩＣＥ", "alice"),
        ("straße", "strasse"),
        ("ﬁnca", "finca"),
        ("cafe\u0301", "café"),
        ("ali\u200bce", "alice"),
        ("\u2800ali\ufeffce\u00ad", "alice"),
        # Folding leaves a letter and an accent apart.
        ("\u01f0", "\u01f0"),
        # Before it is normalised the letter has nothing to fold.
        ("\u03d3", "\u03cd"),
        ("\u03a3\u038a\u03a3", "\u03c3\u03af\u03c3"),
        ("Iİ", "ii\u0307"),
    ],
)
def test_keys(name: str, key: str) -> None:
    assert names.name_key(name) == key


@pytest.mark.parametrize(
    ("name", "is_writable"),
    [
        ("alice", True),
        ("é-1/@_", True),
        ("", True),
        ("a b", False),
        ("a\tb", False),
        ("a\u00a0b", False),
        ("a\u2028b", False),
        ("a\u200eb", False),
        ("a\ue000b", False),
        ("a\ud800b", False),
        ("a\u0378b", False),
        ("b\u0301", True),
    ],
)
def test_what_may_be_written(name: str, is_writable: bool) -> None:
    assert names.is_writable(name) is is_writable


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (ID, UUID(ID)),
        (ID.upper(), UUID(ID)),
        (HEX, UUID(ID)),
        (f"{HEX[:8]}-{HEX[8:]}", UUID(ID)),
        (f"{HEX[:12]}-{HEX[12:]}", UUID(ID)),
        (f"{HEX[:16]}-{HEX[16:]}", UUID(ID)),
        (f"{HEX[:20]}-{HEX[20:]}", UUID(ID)),
        (f"{HEX[:4]}-{HEX[4:]}", None),
        (f"{ID[:8]}--{ID[9:]}", None),
        (f"{{{ID}}}", None),
        (f"urn:uuid:{ID}", None),
        (f"{ID} ", None),
        (f"{ID}\n", None),
        (f" {ID}", None),
        (HEX[:31], None),
        (f"{HEX}0", None),
        (f"{HEX[:31]}g", None),
        (f"{HEX[:31]}\uff11", None),
        ("", None),
    ],
)
def test_which_texts_are_ids(text: str, parsed: UUID | None) -> None:
    assert names.parse_uuid(text) == parsed


@pytest.mark.parametrize(
    ("name", "is_like_id"),
    [
        (ID, True),
        (HEX, True),
        (HEX.upper(), True),
        (f"{{{ID}}}", True),
        (f"({ID})", True),
        (f"[{HEX}]", True),
        (f"urn:uuid:{ID}", True),
        (f"URN:UUID:{ID}", True),
        (f"uuid:{HEX}", True),
        ("-".join(HEX), True),
        (f"-{HEX}-", True),
        (ID.replace("-", "\u2010"), True),
        (ID.replace("-", "\u2212"), True),
        ("".join(chr(ord(character) + 0xFEE0) for character in HEX), True),
        (HEX[:31], False),
        (f"{HEX}0", False),
        (f"{HEX[:31]}g", False),
        (f"w{HEX}", False),
        (f"{HEX}w", False),
        (f"id:{HEX}", False),
        ("x" * 32, False),
        ("", False),
    ],
)
def test_which_names_look_like_ids(name: str, is_like_id: bool) -> None:
    assert names.is_like_id(name) is is_like_id


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("abc", None, ""),
        ("!-~", None, ""),
        ("+254712345678", None, ""),
        ("é" * MINIMUM_LENGTH, None, ""),
        ("é" * MAXIMUM_LENGTH, None, ""),
        ("x" * MAXIMUM_LENGTH, None, ""),
        (f"w{HEX}", None, ""),
        # 18 characters each in the key.
        ("\ufdfa" * 56, None, ""),
        ("\ufdfa" * 56 + "x" * 16, None, ""),
        ("\ufdfa" * 56 + "x" * 17, LENGTH_KIND, '"wallet" length must be less than or equal to 254 characters long'),
        ("\ufdfa" * 57, LENGTH_KIND, '"wallet" length must be less than or equal to 254 characters long'),
        ("", LENGTH_KIND, '"wallet" length must be at least 3 characters long'),
        ("ab", LENGTH_KIND, '"wallet" length must be at least 3 characters long'),
        ("éé", LENGTH_KIND, '"wallet" length must be at least 3 characters long'),
        ("é" * 255, LENGTH_KIND, '"wallet" length must be less than or equal to 254 characters long'),
        ("x" * 255, LENGTH_KIND, '"wallet" length must be less than or equal to 254 characters long'),
        ("a b", UNWRITABLE_KIND, "invalid wallet name:a b"),
        ("abc\n", UNWRITABLE_KIND, "invalid wallet name:abc\n"),
        (" ", UNWRITABLE_KIND, "invalid wallet name: "),
        ("ali\u200bce\u3164", INVISIBLE_KIND, "invalid wallet name:ali\u200bce\u3164 holds the invisible U+200B"),
        ("a\u00ad", INVISIBLE_KIND, "invalid wallet name:a\u00ad holds the invisible U+00AD"),
        ("a \U000e0001", INVISIBLE_KIND, "invalid wallet name:a \U000e0001 holds the invisible U+E0001"),
        (HEX, INVISIBLE_KIND, f"invalid wallet name:{HEX} has the form of an id"),
    ],
)
def test_why_a_name_is_refused(name: str, kind: type[Exception] | None, sentence: str) -> None:
    refusal = names.refusal(name)

    assert (None if refusal is None else (type(refusal), str(refusal))) == (None if kind is None else (kind, sentence))


@pytest.mark.parametrize(
    ("name", "is_storable"),
    [("", True), ("alice", True), ("a b\u200b\n\x01", True), ("a\0b", False), ("a\ud800b", False), ("\udfff", False)],
)
def test_what_postgresql_stores(name: str, is_storable: bool) -> None:
    assert names.is_storable(name) is is_storable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alice é~", "alice\\u{0020}é~"),
        ("a\u200bb", "a\\u{200B}b"),
        ("a\U000e0001b", "a\\u{E0001}b"),
        ("a\nb", "a\\u{000A}b"),
        ("\u2800", "\\u{2800}"),
        ("", ""),
    ],
)
def test_how_a_name_is_shown(name: str, shown: str) -> None:
    assert names.shown(name) == shown
