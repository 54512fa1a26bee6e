"""Records of coins, and the bytes of each request that the client builds."""

from lockers.raida import payloads
from lockers.raida.coins import Coin
from lockers.raida.payloads import SerialsOperation
from tests.localnet import requests
from tests.localnet.requests import CoinAn, CoinAnPan, CoinPan


def number(byte: int) -> bytes:
    return bytes((byte,)) * 16


KEY = bytes(range(12)) + b"\xff" * 4
COINS = tuple(Coin(denomination, 100 + denomination) for denomination in range(-8, 7))
AN_RECORDS = tuple(CoinAn(coin, number(index)) for index, coin in enumerate(COINS))
PAN_RECORDS = tuple(CoinPan(coin, number(index)) for index, coin in enumerate(COINS))
AN_PAN_RECORDS = tuple(CoinAnPan(coin, number(index), number(0xF0 + index)) for index, coin in enumerate(COINS))
TICKETS = tuple(range(25))

# Each request that the client builds, and its bytes.
REQUESTS: dict[str, tuple[bytes, str]] = {
    "detect": (requests.detect(AN_RECORDS[:2]), f"f80000005c {'00' * 16} f90000005d {'01' * 16}"),
    "get ticket": (requests.detect(AN_RECORDS[8:9]), f"0000000064 {'08' * 16}"),
    "pown": (
        requests.pown(AN_PAN_RECORDS[:2]),
        f"f80000005c {'00' * 16} {'f0' * 16} f90000005d {'01' * 16} {'f1' * 16}",
    ),
    "fix": (
        payloads.encode_fix(COINS[13:], number(1), TICKETS),
        f"0500000069 060000006a {'01' * 16}" + "".join(f"{ticket:08x}" for ticket in TICKETS),
    ),
    "create coins": (
        payloads.encode_create_coins(COINS[13:], number(0xAD)),
        f"eeeeeeee {'ad' * 16} 0500000069 060000006a",
    ),
    "peek": (payloads.encode_peek(KEY), "000102030405060708090a0b ffffffff"),
    "echo": (payloads.encode_empty(), ""),
    "get available sns": (
        payloads.encode_get_available_sns(0xFFFFFFFE, SerialsOperation.JOIN, -8),
        "fffffffe 02 f8",
    ),
    "break": (
        requests.change(7, AN_RECORDS[9], PAN_RECORDS[:10]),
        f"00000007 0100000065 {'09' * 16}"
        + "".join(f"{coin.to_bytes().hex()} {bytes([index] * 16).hex()}" for index, coin in enumerate(COINS[:10])),
    ),
    "join": (
        requests.change(7, PAN_RECORDS[9], AN_RECORDS[:10]),
        f"00000007 0100000065 {'09' * 16}"
        + "".join(f"{coin.to_bytes().hex()} {bytes([index] * 16).hex()}" for index, coin in enumerate(COINS[:10])),
    ),
}
