import pytest

from lockers.raida import errors
from lockers.raida.coins import HIGHEST_SERIAL_NUMBER, UNITS_PER_COIN, Coin, format_amount, parse_amount


@pytest.mark.parametrize(
    ("denomination", "byte", "value"),
    [(-8, 0xF8, 1), (-7, 0xF9, 10), (-1, 0xFF, 10**7), (0, 0x00, 10**8), (3, 0x03, 10**11), (6, 0x06, 10**14)],
)
def test_a_coin_is_its_denomination_and_number(denomination: int, byte: int, value: int) -> None:
    coin = Coin(denomination, 0x01020304)

    assert coin.to_bytes() == bytes((byte, 1, 2, 3, 4))
    assert Coin.from_bytes(bytes((byte, 1, 2, 3, 4))) == coin
    assert coin.value == value


def test_every_first_byte_is_a_denomination_or_refused() -> None:
    for byte in range(256):
        data = bytes((byte, 0, 0, 0, 0))
        if byte <= 6 or byte >= 0xF8:
            assert Coin.from_bytes(data).to_bytes() == data
        else:
            with pytest.raises(errors.BadCoin):
                Coin.from_bytes(data)


@pytest.mark.parametrize("data", [b"", bytes(4), bytes(6)])
def test_a_coin_of_another_size_is_refused(data: bytes) -> None:
    with pytest.raises(errors.BadLength):
        Coin.from_bytes(data)


@pytest.mark.parametrize(("denomination", "number"), [(-9, 1), (7, 1), (0, -1), (0, HIGHEST_SERIAL_NUMBER + 1)])
def test_a_coin_that_cannot_be_is_not_made(denomination: int, number: int) -> None:
    with pytest.raises(errors.Unencodable):
        Coin(denomination, number)


def test_coins_are_ordered_by_denomination_then_number() -> None:
    coins = [Coin(1, 1), Coin(-8, HIGHEST_SERIAL_NUMBER), Coin(0, 0), Coin(-8, 0)]

    assert sorted(coins) == [Coin(-8, 0), Coin(-8, HIGHEST_SERIAL_NUMBER), Coin(0, 0), Coin(1, 1)]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("20", 20 * UNITS_PER_COIN),
        ("0.00000001", 1),
        ("1.5", 150_000_000),
        ("123456789.12345678", 12_345_678_912_345_678),
    ],
)
def test_an_amount_is_exact_both_ways(text: str, units: int) -> None:
    assert parse_amount(text) == units
    assert format_amount(units) == text


def test_a_negative_amount_is_shown_with_its_sign() -> None:
    assert format_amount(-1) == "-0.00000001"
    assert format_amount(-3 * UNITS_PER_COIN) == "-3"


@pytest.mark.parametrize(
    "text", ["", ".5", "1.", "1.123456789", "-1", "+1", "1e3", " 1", "1\n", "1,5", "٣", "9" * 26, "nan"]
)
def test_a_text_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidAmount):
        parse_amount(text)


def test_a_refusal_says_what_is_wrong() -> None:
    denomination, number = "^a denomination is -8 to 6$", "^a serial number is an unsigned 32-bit number$"
    for low_or_high in (-9, 7):
        with pytest.raises(errors.Unencodable, match=denomination):
            Coin(low_or_high, 0)
    for small_or_large in (-1, 2**32):
        with pytest.raises(errors.Unencodable, match=number):
            Coin(0, small_or_large)
    with pytest.raises(errors.BadLength, match=r"^a coin is five bytes$"):
        Coin.from_bytes(bytes(4))
    with pytest.raises(errors.BadCoin, match=denomination):
        Coin.from_bytes(b"\x07" + bytes(4))
    with pytest.raises(errors.InvalidAmount, match=r"^an amount is digits with at most eight decimals$"):
        parse_amount("1.000000001")
