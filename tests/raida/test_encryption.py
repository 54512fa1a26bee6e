import pytest

from lockers.raida import authenticity, encryption, errors
from lockers.raida.coins import Coin
from lockers.raida.encryption import PLAIN, Encryption

KEY = bytes(range(0xA0, 0xB0))
NONCE = bytes(range(8))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 1000])
def test_a_text_of_any_size_is_encrypted_without_padding_and_comes_back(size: int) -> None:
    text = bytes(size)

    secret = encryption.crypt(text, key=KEY, nonce=NONCE)

    assert len(secret) == size
    assert size == 0 or secret != text
    assert encryption.crypt(secret, key=KEY, nonce=NONCE) == text


def test_the_counter_is_one_number_of_128_bits_from_zero() -> None:
    stream = encryption.crypt(bytes(48), key=KEY, nonce=b"\xff" * 8)

    for block in range(3):
        counter = b"\xff" * 8 + block.to_bytes(8, "big")
        cipher = encryption.Cipher(encryption.algorithms.AES(KEY), encryption.modes.ECB()).encryptor()
        assert cipher.update(counter) == stream[16 * block : 16 * block + 16]


@pytest.mark.parametrize(("key", "nonce"), [(KEY[1:], NONCE), (KEY + b"0", NONCE), (KEY, NONCE[1:]), (KEY, bytes(16))])
def test_keys_and_nonces_have_one_size(key: bytes, nonce: bytes) -> None:
    with pytest.raises(errors.Unencodable):
        encryption.crypt(b"text", key=key, nonce=nonce)


def test_without_encryption_nothing_changes() -> None:
    assert PLAIN.apply(b"text", nonce=NONCE) == b"text"
    assert PLAIN.sign(KEY) == KEY


def test_a_key_is_named_by_its_coin_or_by_its_beginning() -> None:
    assert encryption.with_coin(Coin(-3, 258), KEY) == Encryption(1, bytes.fromhex("fd00000102"), KEY)
    assert encryption.with_locker_key(KEY) == Encryption(2, KEY[:5], KEY)


@pytest.mark.parametrize(
    ("kind", "reference", "key"),
    [
        (3, bytes(5), KEY),
        (-1, bytes(5), KEY),
        (1, bytes(4), KEY),
        (1, bytes(6), KEY),
        (1, bytes(5), b""),
        (2, bytes(5), KEY[1:]),
        (0, bytes(5), KEY),
    ],
)
def test_an_encryption_that_cannot_be_is_not_made(kind: int, reference: bytes, key: bytes) -> None:
    with pytest.raises(errors.Unencodable):
        Encryption(kind, reference, key)


def test_no_key_shows_in_a_repr() -> None:
    assert repr(encryption.with_locker_key(KEY)) == "Encryption(kind=2)"


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_challenge_is_made_of_twelve_bytes(size: int) -> None:
    with pytest.raises(errors.Unencodable):
        encryption.challenge(bytes(size))


def test_a_wrong_checksum_or_size_is_no_challenge() -> None:
    right = encryption.challenge(bytes(range(12)))

    assert encryption.is_challenge(right)
    for index in range(16):
        wrong = bytearray(right)
        wrong[index] ^= 1
        assert not encryption.is_challenge(bytes(wrong))
    assert not encryption.is_challenge(right[:15])
    assert not encryption.is_challenge(right + b"\x00")


def test_a_number_that_reads_as_a_locker_key_is_no_safe_pan() -> None:
    locker_key = bytes(12) + b"\xff" * 4

    assert authenticity.is_locker_key(locker_key)
    assert not authenticity.is_safe_pan(locker_key)
    assert authenticity.is_safe_pan(bytes(12) + b"\xff\xff\xff\xfe")
    assert not authenticity.is_locker_key(bytes(12) + b"\xff\xff\xff\xfe")
    for size in (15, 17):
        assert not authenticity.is_locker_key(b"\xff" * size)
        assert not authenticity.is_safe_pan(bytes(size))


def test_a_sum_of_nothing_is_zero_and_of_two_alike_too() -> None:
    assert authenticity.xor_sum([]) == bytes(16)
    assert authenticity.xor_sum([KEY, KEY]) == bytes(16)
    assert authenticity.xor_sum([KEY, bytes(16)]) == KEY
    assert authenticity.xor(b"\x0f" * 16, b"\xff" * 16) == b"\xf0" * 16


@pytest.mark.parametrize(("left", "right"), [(bytes(15), bytes(16)), (bytes(16), bytes(17))])
def test_numbers_of_another_size_have_no_sum(left: bytes, right: bytes) -> None:
    with pytest.raises(errors.Unencodable):
        authenticity.xor(left, right)


def test_created_coins_get_the_numbers_the_recorded_put_was_made_with() -> None:
    created = [Coin(0, 1100), Coin(0, 1101), Coin(1, 2100), Coin(3, 3100), Coin(-3, 4100)]

    ans = [authenticity.created_an(raida=0, coin=coin, created=created) for coin in created[:3]]

    assert authenticity.xor_sum(ans).hex() == "56562f61bf910f04a5dac31379e57ddb"


def test_fewer_than_four_coins_are_not_created() -> None:
    created = [Coin(0, 1), Coin(0, 2), Coin(0, 3)]

    with pytest.raises(errors.Unencodable):
        authenticity.created_an(raida=0, coin=created[0], created=created)
