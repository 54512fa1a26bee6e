"""Every recorded vector that is not an exchange: keys, sums, requests built from their inputs, files."""

import json

import pytest

from lockers.localnet import wire
from lockers.raida import authenticity, codes, encryption, errors, files, frames, grades, payloads
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord, FileKind
from lockers.raida.statuses import RAIDA_COUNT
from tests.localnet import requests
from tests.localnet.requests import CoinAn, read_request
from tests.raida import recorded

RANDOM12 = bytes(range(12))


def cases(prefix: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", recorded.named(prefix), ids=recorded.case_name)


def coin_of(inputs: dict) -> Coin:
    return Coin(inputs["denomination"], inputs["serial_number"])


def require_wire(vector: dict, *, challenge12: bytes = RANDOM12, **arguments: object) -> None:
    """The request built from these arguments is the recorded one, apart from fields that servers ignore."""
    request = frames.build_request(raida=vector["inputs"]["raida"], challenge12=challenge12, **arguments)
    expected = bytes.fromhex(vector["expected_hex"])

    assert request.encode() == recorded.as_ours(expected)
    assert request.size == len(expected)
    assert read_request(expected) == request
    assert recorded.refused_cuts(expected, read_request, wire.Refused) == len(expected)


def test_every_vector_belongs_to_a_test() -> None:
    prefixes = (
        "locker_keys ",
        "challenge ",
        "PUT 8/82 ",
        "PEEK 8/83 ",
        "DOWNLOAD ",
        "xor sum",
        "MAKE CHANGE ",
        "GET TICKET ",
        "FIND ",
        "FIX ",
        "pown ",
        ".bin format 9 ",
        "AES-128-CTR ",
        "parse coin list ",
        "go: ",
    )
    others = [vector["name"] for vector in recorded.VECTORS if "request_hex" not in vector["inputs"]]

    assert [name for name in others if not name.startswith(prefixes)] == []
    assert len(others) == 46


@cases("locker_keys ")
def test_locker_keys_are_those_of_other_clients(vector: dict) -> None:
    keys = codes.locker_keys(vector["inputs"]["transmit_code"])

    assert [key.hex() for key in keys] == vector["expected_hex"]


@cases("challenge ")
def test_a_challenge_ends_with_its_checksum(vector: dict) -> None:
    challenge = encryption.challenge(bytes.fromhex(vector["inputs"]["random12"]))

    assert challenge.hex() == vector["expected_hex"]
    assert encryption.is_challenge(challenge)


@cases("PUT 8/82 ")
def test_a_put_is_built_from_coins_and_code(vector: dict) -> None:
    inputs = vector["inputs"]
    coins = [coin_of(entry) for entry in inputs["coins"]]
    ans = [bytes.fromhex(an) for an in inputs["ans_for_this_raida"]]
    assert ans == [recorded.an(inputs["raida"], coin) for coin in coins]
    key = codes.locker_keys(inputs["transmit_code"])[inputs["raida"]]

    raida = inputs["raida"]

    payload = payloads.encode_put_to_each(coins, {raida: ans}, {raida: key})[raida]

    require_wire(vector, command=Command.PUT, payload=payload)


@cases("PEEK 8/83 ")
def test_a_peek_is_built_from_a_code(vector: dict) -> None:
    key = codes.locker_keys(vector["inputs"]["transmit_code"])[vector["inputs"]["raida"]]

    require_wire(vector, command=Command.PEEK, payload=payloads.encode_peek(key))


@cases("DOWNLOAD 8/8 ")
def test_a_download_is_built_from_a_code_and_a_seed(vector: dict) -> None:
    key = codes.locker_keys(vector["inputs"]["transmit_code"])[vector["inputs"]["raida"]]

    require_wire(vector, command=Command.DOWNLOAD, payload=key + bytes.fromhex(vector["inputs"]["seed"]))


@cases("xor sum")
def test_the_sum_of_numbers_is_their_xor(vector: dict) -> None:
    numbers = [bytes.fromhex(an) for an in vector["inputs"]["ans"]]

    assert authenticity.xor_sum(numbers).hex() == vector["expected_hex"]


@cases("DOWNLOAD new AN ")
def test_a_downloaded_coin_gets_the_number_made_from_the_seed(vector: dict) -> None:
    an = authenticity.download_an(coin=coin_of(vector["inputs"]), seed=bytes.fromhex(vector["inputs"]["seed"]))

    assert an.hex() == vector["expected_hex"]


@cases("FIX new AN ")
def test_a_fixed_coin_gets_the_number_made_from_the_generator(vector: dict) -> None:
    inputs = vector["inputs"]

    an = authenticity.fix_an(raida=inputs["raida"], coin=coin_of(inputs), pg=bytes.fromhex(inputs["pg"]))

    assert an.hex() == vector["expected_hex"]


@cases("MAKE CHANGE ")
def test_a_make_change_is_built_from_its_coin(vector: dict) -> None:
    inputs = vector["inputs"]
    coin = Coin(inputs["dn"], inputs["sn"])
    pans = tuple(bytes.fromhex(pan) for pan in inputs["pans"])
    broken = CoinAn(coin, bytes.fromhex(inputs["an"]))

    require_wire(
        vector,
        command=Command.MAKE_CHANGE,
        payload=requests.make_change(broken, inputs["starting_sn"], pans),
        nonce=bytes(range(8)),
        # This client names its coin in the header although nothing is encrypted with it.
        encryption=encryption.Encryption(0, coin.to_bytes()),
    )


FIXING = {"nonce": bytes.fromhex("0001020304051111")}


@cases("GET TICKET ")
def test_a_get_ticket_is_built_from_its_coins(vector: dict) -> None:
    coins = [coin_of(entry) for entry in vector["inputs"]["coins"]]
    records = tuple(CoinAn(coin, recorded.an(4, coin)) for coin in coins)

    require_wire(vector, command=Command.GET_TICKET, payload=requests.detect(records), **FIXING)


@cases("FIND ")
def test_a_find_is_built_from_its_coins(vector: dict) -> None:
    coins = [coin_of(entry) for entry in vector["inputs"]["coins"]]
    ans, pans = [recorded.an(4, coin) for coin in coins], [recorded.an(4, coin, "PAN") for coin in coins]

    payload = payloads.encode_records([coin.to_bytes() for coin in coins], ans, pans)

    require_wire(vector, command=Command.FIND, payload=payload, **FIXING)


@cases("FIX 2/80 ")
def test_a_fix_is_built_from_its_tickets(vector: dict) -> None:
    inputs = vector["inputs"]
    payload = payloads.encode_fix(
        coins=tuple(Coin(denomination, serial_number) for denomination, serial_number in inputs["coins"]),
        pg=bytes.fromhex(inputs["pg"]),
        tickets=tuple(0x01020300 + raida for raida in range(RAIDA_COUNT)),
    )

    require_wire(vector, command=Command.FIX, payload=payload, **FIXING)


@cases("pown ")
def test_a_pown_string_is_its_half_bytes(vector: dict) -> None:
    expected = vector["expected_hex"]

    encoded = grades.encode_pown(vector["inputs"]["pown"])

    assert encoded.hex() == expected["cloudcoin_py"] == expected["heal_protocol_py"]
    assert grades.decode_pown(encoded) == expected["decoded"]


@cases("AES-128-CTR ")
def test_the_cipher_is_that_of_other_clients(vector: dict) -> None:
    inputs = vector["inputs"]
    key, nonce, text = (bytes.fromhex(inputs[name]) for name in ("key", "nonce8", "plaintext"))

    assert encryption.crypt(text, key=key, nonce=nonce).hex() == vector["expected_hex"]
    assert encryption.crypt(bytes.fromhex(vector["expected_hex"]), key=key, nonce=nonce) == text


@cases("parse coin list ")
def test_a_coin_list_is_read(vector: dict) -> None:
    body = bytes.fromhex(vector["inputs"]["body"])

    coins = payloads.decode_coins(body.removesuffix(frames.TERMINATOR))

    assert [[coin.denomination, coin.serial_number] for coin in coins] == vector["expected_hex"]
    assert payloads.encode_coins(coins) == body.removesuffix(frames.TERMINATOR)


@cases(".bin format 9 ")
def test_a_bin_is_read_and_written_again(vector: dict) -> None:
    inputs, expected = vector["inputs"], bytes.fromhex(vector["expected_hex"])
    # The ANs of the files with PANs are only recorded in the same files without PANs.
    same = next(other for other in recorded.named(".bin format 9 dn=") if other["name"][14:] in vector["name"])
    coin = coin_of({**same["inputs"], **inputs})
    pans = tuple(recorded.an(raida, coin, "PAN") for raida in range(RAIDA_COUNT)) if "pan_rule" in inputs else None
    ans = tuple(recorded.an(raida, coin) for raida in range(RAIDA_COUNT))
    record = CoinRecord(coin, ans, pans, inputs["pown"])

    assert files.write_bin([record]) == expected
    assert files.read_file(expected) == files.CoinFile(FileKind.BIN, (record,))
    assert recorded.refused_cuts(expected, files.read_file, errors.CoinFileError) == len(expected)


def test_a_picture_with_coins_is_read_and_written_again() -> None:
    (vector,) = recorded.named("go: PNG chunk cLDc")
    inputs, expected = vector["inputs"], bytes.fromhex(vector["expected_hex"])
    coins = files.read_file(bytes.fromhex(inputs["payload"])).coins

    assert files.write_png(coins, picture=bytes.fromhex(inputs["png_template"])) == expected
    assert files.read_file(expected) == files.CoinFile(FileKind.PNG, coins)
    assert recorded.refused_cuts(expected, files.read_file, errors.CoinFileError) == len(expected)


GO_ANS = tuple(number.to_bytes(16, "big") for number in range(1, 26))
GO_POWN = "ppppfppppupppnppppeppppep"


@pytest.mark.parametrize("name", ["go: legacy .bin", "go: PNG with legacy .bin"])
def test_a_legacy_file_is_recognised(name: str) -> None:
    (vector,) = recorded.named(name)
    expected = bytes.fromhex(vector["expected_hex"])

    with pytest.raises(errors.LegacyCoin):
        files.read_file(expected)
    for cut in recorded.cuts(expected):
        with pytest.raises((errors.Unrecognised, errors.Damaged)):
            files.read_file(cut)


def test_a_stack_of_the_other_spelling_is_read() -> None:
    (vector,) = recorded.named("go: JSON stack")
    data = bytes.fromhex(vector["expected_hex"])
    assert json.loads(data) == vector["expected_json"]

    read = files.read_file(data)

    assert read == files.CoinFile(FileKind.STACK, (CoinRecord(Coin(0, 12345), GO_ANS, None, GO_POWN),), False)
    assert recorded.refused_cuts(data, files.read_file, errors.CoinFileError) == len(data)
