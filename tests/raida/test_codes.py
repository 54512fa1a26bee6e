import hashlib
import math

import pytest

from lockers.raida import codes, errors


def test_a_code_is_hashed_as_it_is_typed_but_for_the_space_around_it() -> None:
    keys = codes.locker_keys("AAB-45PQ")

    assert codes.locker_keys("  AAB-45PQ\n") == keys
    for other in ("aab-45pq", "AAB45PQ", "AAB 45PQ", "AAB-45P"):
        assert not set(codes.locker_keys(other)) & set(keys)


def test_the_keys_of_a_code_are_25_different_locker_keys() -> None:
    keys = codes.locker_keys("AAB-45PQ")

    assert len(set(keys)) == 25
    assert all(len(key) == 16 and key.endswith(b"\xff\xff\xff\xff") for key in keys)


@pytest.mark.parametrize("code", ["", "   ", "\n", "ABC\x00DEF", "\u00a0", "ABC\ud800", "\ufffdABC"])
def test_a_text_that_is_no_code_is_refused(code: str) -> None:
    for reader in (codes.verbatim, codes.locker_keys, codes.candidates, codes.for_new_locker):
        with pytest.raises(errors.InvalidCode) as caught:
            reader(code)
        assert caught.value.args == ("a transmit code is text in UTF-8",)


@pytest.mark.parametrize("code", ["käse", "ka\u0308se", "ABC\tDEF", "ABC–1234", "\u0661", "пароль", "🔑", "x" * 1000])
def test_any_other_text_is_hashed_as_its_utf_8_bytes(code: str) -> None:
    digest = hashlib.md5(b"24" + code.encode()).digest()

    assert codes.locker_keys(f" {code}\n")[24] == digest[:12] + b"\xff" * 4
    assert codes.candidates(code) == (code,)


@pytest.mark.parametrize("code", ["käse", "ABC\tDEF", "ABC–1234"])
def test_a_new_locker_has_a_code_of_printable_ascii(code: str) -> None:
    with pytest.raises(errors.InvalidCode) as caught:
        codes.for_new_locker(code)
    assert caught.value.args == ("the code of a new locker is printable ASCII",)
    assert codes.for_new_locker(" AAB-45PQ ") == "AAB-45PQ"


GENERATED = "7XKM-Q2VA-HTR9-ZD4W"


@pytest.mark.parametrize(
    "typed",
    [
        "7xkm-q2va-htr9-zd4w",
        "7XKMQ2VAHTR9ZD4W",
        "7XKM Q2VA HTR9 ZD4W",
        "7XKM – Q2VA – HTR9 – ZD4W",
        "7XKM—Q2VA‑HTR9−ZD4W",
        "7XKM\u00a0Q2VA\u2009HTR9\u3000ZD4W",
        '"7XKM-Q2VA-HTR9-ZD4W"',
        "„7XKM-Q2VA-HTR9-ZD4W“",
        "«7xkm-q2va-htr9-zd4w».",
        "´7XKM-Q2VA-HTR9-ZD4W´",
        "7XKM-Q2VA-\u200bHTR9-ZD4W",
        "７ＸＫＭ－Ｑ２ＶＡ－ＨＴＲ９－ＺＤ４Ｗ",
    ],
)
def test_a_generated_code_as_people_type_it_is_tried_second(typed: str) -> None:
    assert codes.candidates(typed) == (typed, GENERATED)


@pytest.mark.parametrize(
    "typed",
    [
        GENERATED,
        GENERATED[:-1],
        GENERATED + "2",
        "0XKM-Q2VA-HTR9-ZD4W",
        "lxkm-q2va-htr9-zd4w",
        "7XKM-Q2VA-HTR9-ZDß",
        "7XKM-Q2VA-HTR9-ZDÄW",
        "aab-45pq",
        "a1b2c3d4e5f6789012345678901234567890abcdef1234567890abcdef123456",
    ],
)
def test_a_text_without_the_shape_of_a_generated_code_has_itself_as_the_only_candidate(typed: str) -> None:
    assert codes.candidates(typed) == (typed,)


def test_there_are_never_more_than_two_candidates() -> None:
    assert codes.candidates("7XKM-QV-2345678922") == ("7XKM-QV", "7XKM-QV-2345678922")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AAC-WS5I-F90000000E", ("AAC-WS5I", "AAC-WS5I-F90000000E")),
        (" aac-ws5i-f90000000e ", ("aac-ws5i", "aac-ws5i-f90000000e")),
        ("AAC-WS5I", ("AAC-WS5I",)),
        ("AAC-WS5I-F9000000E", ("AAC-WS5I-F9000000E",)),
        ("AAC-WS5I-F900000000E", ("AAC-WS5I-F900000000E",)),
        ("AAC-WS5I-G90000000E", ("AAC-WS5I-G90000000E",)),
        ("AAC-WS5I-X-F90000000E", ("AAC-WS5I-X-F90000000E",)),
        ("-WS5I-F90000000E", ("-WS5I-F90000000E",)),
        ("AAC--F90000000E", ("AAC--F90000000E",)),
        ("anything at all", ("anything at all",)),
    ],
)
def test_a_third_part_of_ten_hex_digits_is_tried_without_first(code: str, expected: tuple[str, ...]) -> None:
    assert codes.candidates(code) == expected


def test_a_new_code_has_75_bits_and_no_symbol_that_is_mistaken() -> None:
    code = codes.generate_code(bytes(range(32)))

    assert [len(part) for part in code.split("-")] == [4, 4, 4, 4]
    assert set(code) <= set(codes.ALPHABET + "-")
    assert not set(codes.ALPHABET) & set("OLI01")
    assert math.log2(len(codes.ALPHABET) ** codes.SYMBOLS) >= 75
    assert codes.candidates(code) == (code,)
    assert not codes.is_weak(code)


def test_the_same_bytes_make_the_same_code_and_others_another() -> None:
    made = {codes.generate_code(number.to_bytes(32, "big")) for number in range(1000)}

    assert len(made) == 1000
    assert codes.generate_code(bytes(32)) == "AAAA-AAAA-AAAA-AAAA"


@pytest.mark.parametrize("size", [0, 31])
def test_a_code_is_not_made_from_few_bytes(size: int) -> None:
    with pytest.raises(errors.Unencodable):
        codes.generate_code(bytes(size))


@pytest.mark.parametrize(
    ("code", "weak"),
    [
        ("AAB-45PQ", True),
        ("ABCDEFGHJ", True),
        ("ABCDEFGHJK", False),
        ("----------", True),
        ("AAAA-AAAA-AAAA-AAAA", True),
        ("ABCD-ABCD-ABCD-ABCD", True),
        ("ABCE-ABCD-ABCD-ABCD", False),
        ("correct horse battery", False),
    ],
)
def test_short_and_monotonous_codes_are_weak(code: str, weak: bool) -> None:
    assert codes.is_weak(code) is weak
