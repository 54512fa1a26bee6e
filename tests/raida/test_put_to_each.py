"""One upload to 25 servers is, to each of them, the same bytes as an upload to it alone."""

import pytest

from lockers.raida import errors
from lockers.raida.coins import Coin
from lockers.raida.payloads import encode_put_to_each
from tests.localnet.requests import CoinAn, put

COINS = [Coin(0, 7), Coin(-8, 0), Coin(6, 2**32 - 1)]
ANS = {raida: [bytes([raida, index] * 8) for index in range(3)] for raida in (0, 3, 24)}
KEYS = {raida: bytes([raida] * 12) + b"\xff" * 4 for raida in ANS}


def test_it_is_what_each_alone_would_get() -> None:
    assert encode_put_to_each(COINS, ANS, KEYS) == {
        raida: put([CoinAn(coin, an) for coin, an in zip(COINS, ans, strict=True)], KEYS[raida])
        for raida, ans in ANS.items()
    }


def test_what_would_steal_or_lose_is_refused() -> None:
    with pytest.raises(errors.Unencodable):
        encode_put_to_each([*COINS[:2], COINS[0]], ANS, KEYS)
    with pytest.raises(errors.Unencodable):
        encode_put_to_each(COINS, ANS, {**KEYS, 3: bytes(16)})
    with pytest.raises(errors.Unencodable):
        encode_put_to_each(COINS[:2], ANS, KEYS)
    with pytest.raises(errors.Unencodable):
        encode_put_to_each([], {raida: [] for raida in ANS}, KEYS)
