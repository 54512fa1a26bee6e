"""
Coin files (the RAIDA protocol, sections 7.2 to 7.5): `.bin` of format 9, JSON `.stack`, PNG with a `cLDc` chunk, and
ZIP of these. Names are not used, only bytes.

Counts and checksums must agree, and a coin may be in a file once. The ANs in a file are secrets.
"""

import codecs
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, NoReturn

from lockers.raida import errors
from lockers.raida.archives import MAXIMUM_SIZE, is_archive, unpack
from lockers.raida.authenticity import AN_SIZE
from lockers.raida.coins import COIN_SIZE, HIGHEST_SERIAL_NUMBER, Coin
from lockers.raida.grades import POWN_SIZE, decode_pown, encode_pown, is_pown
from lockers.raida.letters import UNTRIED
from lockers.raida.statuses import RAIDA_COUNT

# A .bin counts its coins in 16 bits; the limit applies to all formats.
MAXIMUM_COINS: Final = 0xFFFF

_HEADER_SIZE: Final = 32
_ANS_SIZE: Final = RAIDA_COUNT * AN_SIZE

_FORMAT_LEGACY: Final = 0
_FORMAT_CURRENT: Final = 9
_FORMATS_KNOWN_BY_NAME: Final = {8: "8", 10: "A", 11: "B"}

_BIN_FRONT: Final = bytes((_FORMAT_CURRENT, 1, 0, 6))
_MOTTO: Final = b"Live Free Or Die"
_TASK_ID: Final = b"\x99\x99\x99"

# Older writers padded the last coin to a multiple of 32 with random bytes. More bytes than that could be coins, which
# would be lost.
_MAXIMUM_PADDING: Final = 31

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BYTE_ORDERS: Final[tuple[Literal["big", "little"], ...]] = ("big", "little")
_PNG_CHUNK: Final = b"cLDc"
_PNG_END: Final = b"IEND"
_PNG_LAST: Final = bytes.fromhex("0000000049454e44ae426082")
_JPEG_SIGNATURE: Final = b"\xff\xd8\xff"

_LEGACY_COIN_SIZE: Final = 3 + POWN_SIZE + _ANS_SIZE
_LEGACY_COIN_IDS: Final = (0, 1, 2)
_LEGACY_HIGHEST_SN: Final = 16_777_216

# A coin of a stack takes at least 875 bytes, for 25 numbers of 32 digits. A file with far more parts than coins of its
# length have is not parsed: its objects would take thirty times the memory of its text.
_STACK_BYTES_PER_OBJECT: Final = 200
_STACK_BYTES_PER_COMMA: Final = 20
_STACK_PARTS_OF_SMALL_ONES: Final = 1_000

_UTF_16_FRONTS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{\0", b"\0{")
# A string in double quotes, which is kept; in single quotes; without quotes; a comma before a closing bracket.
_LOOSE: Final = re.compile(
    r"""
    "(?:[^"\\]|\\.)*+"
    | '(?P<single>[^'"\\]*+)'
    | (?P<bare>[A-Za-z0-9_.+-]{1,64}+)
    | (?P<comma>,)(?=\s*[\]}])
    """,
    re.VERBOSE,
)
_HEX_NUMBER = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,10}", re.ASCII)


class FileKind(Enum):
    """The format of a coin file."""

    BIN = "bin"
    STACK = "stack"
    PNG = "png"
    ZIP = "zip"


@dataclass(frozen=True, slots=True)
class CoinRecord:
    """
    A coin with its 25 ANs, server 0 first, and the 25 PANs proposed for it, if a change was unfinished.

    `pown` is the last pown string, None if it is unknown.

    :raises Unencodable: not 25 numbers of 16 bytes, or no pown string
    """

    coin: Coin
    ans: tuple[bytes, ...] = field(repr=False)
    pans: tuple[bytes, ...] | None = field(default=None, repr=False)
    pown: str | None = None

    def __post_init__(self) -> None:
        for numbers in (self.ans, self.pans):
            if numbers is not None and (
                len(numbers) != RAIDA_COUNT or any(len(number) != AN_SIZE for number in numbers)
            ):
                raise errors.Unencodable("a coin has 25 numbers of 16 bytes")
        if self.pown is not None and not is_pown(self.pown):
            raise errors.Unencodable("a pown string is 25 of its letters")


@dataclass(frozen=True, slots=True)
class CoinFile:
    """
    The coins of a file, in its order.

    `names_denominations` is False for a stack whose coins name none: each is then read as one of value 1. Coins of the
    previous network look the same, and no server knows them.
    """

    kind: FileKind
    coins: tuple[CoinRecord, ...]
    names_denominations: bool = True


def read_file(data: bytes) -> CoinFile:
    """
    Read the coins in a file of any kind. An archive is refused as a whole if one of its members is not readable; to
    read its members one by one, `unpack` it.

    :raises Unrecognised: it begins like no coin file, or has no coins
    :raises Damaged: it is cut, contradicts itself, fails its checksum or names a coin twice
    :raises LegacyCoin: its coins are of the previous network
    :raises Encrypted: it is encrypted by its owner
    :raises UnsupportedFormat: its format is known by name only (8, A, B, JPEG)
    :raises TooLarge: it holds more bytes, members or coins than the limits above
    """
    if len(data) > MAXIMUM_SIZE:
        raise errors.TooLarge("a coin file has at most 64 MiB")
    if is_archive(data):
        return _merge(FileKind.ZIP, [_read_member(member.content) for member in unpack(data)])
    return _read_member(data)


def _read_member(data: bytes) -> CoinFile:
    if data.startswith(_PNG_SIGNATURE):
        return _merge(FileKind.PNG, [_read_plain(chunk) for chunk in _coin_chunks(data)])
    return _read_plain(data)


def _read_plain(data: bytes) -> CoinFile:
    # Checked first, as the number of a format may be white space: nine is a tab, ten a newline.
    text = _in_utf8(data)
    if text.lstrip().startswith(b"{"):
        return _read_stack(text)
    number = data[0] if data else None
    if number == _FORMAT_CURRENT:
        return _read_bin(data)
    if number == _FORMAT_LEGACY:
        _refuse_legacy_bin(data)
    if number in _FORMATS_KNOWN_BY_NAME:
        raise errors.UnsupportedFormat(f"coin files of format {_FORMATS_KNOWN_BY_NAME[number]} are not supported")
    if data.startswith(_JPEG_SIGNATURE):
        raise errors.UnsupportedFormat(
            "pictures of this kind carry coins of the network before this one only, which have to be upgraded first"
        )
    raise errors.Unrecognised("this is not a coin file")


def _merge(kind: FileKind, parts: Sequence[CoinFile]) -> CoinFile:
    coins = tuple(record for part in parts for record in part.coins)
    if not coins:
        raise errors.Unrecognised("this file carries no coins")
    _require_distinct(coins)
    return CoinFile(kind, coins, all(part.names_denominations for part in parts))


def _require_distinct(coins: Sequence[CoinRecord]) -> None:
    if len(coins) > MAXIMUM_COINS:
        raise errors.TooLarge("a coin file has at most 65535 coins")
    if len({record.coin for record in coins}) != len(coins):
        raise errors.Damaged("the file names a coin twice")


def _numbers(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[start : start + AN_SIZE] for start in range(0, _ANS_SIZE, AN_SIZE))


# .bin


def _read_bin(data: bytes) -> CoinFile:
    if len(data) < _HEADER_SIZE:
        raise errors.Damaged("the file is shorter than its header")
    # The second byte and most of the state are reserved, and ignored.
    if data[2:4] != _BIN_FRONT[2:]:
        raise errors.Damaged("the header is not one of these coins")
    if data[5] != 0:
        raise errors.Encrypted("the file is encrypted: decrypt it with the program that wrote it")
    count, has_pans = int.from_bytes(data[6:8], "big"), data[15] & 1
    if count == 0:
        raise errors.Damaged("the file says that it has no coins")
    size = 2 + COIN_SIZE + _ANS_SIZE * (1 + has_pans)
    padding = len(data) - _HEADER_SIZE - count * size
    if not 0 <= padding <= _MAXIMUM_PADDING:
        raise errors.Damaged("the file has another length than its header says")
    pown = decode_pown(data[16 : 16 + POWN_SIZE]) if count == 1 else None
    starts = range(_HEADER_SIZE, _HEADER_SIZE + count * size, size)
    coins = tuple(_read_record(data[start : start + size], pown) for start in starts)
    _require_distinct(coins)
    return CoinFile(FileKind.BIN, coins)


def _read_record(data: bytes, pown: str | None) -> CoinRecord:
    if data[:2] != b"\x00\x00":
        raise errors.Damaged("a coin names another split or shard")
    try:
        coin = Coin.from_bytes(data[2 : 2 + COIN_SIZE])
    except errors.BadCoin:
        raise errors.Damaged("a coin has no denomination of value") from None
    ans_start = 2 + COIN_SIZE
    pans_start = ans_start + _ANS_SIZE
    pans = _numbers(data[pans_start:]) if len(data) > pans_start else None
    return CoinRecord(coin, _numbers(data[ans_start:pans_start]), pans, pown)


def write_bin(records: Sequence[CoinRecord]) -> bytes:
    """
    Write a `.bin` of format 9, not encrypted. It holds a pown string only if there is one coin.

    :raises Unencodable: no coins, more than 65535, one twice, or only some with PANs
    """
    _require_writable(records)
    states = {record.pans is not None for record in records}
    if len(states) > 1:
        raise errors.Unencodable("a .bin has PANs for all its coins or for none")
    front = _BIN_FRONT + bytes(2) + len(records).to_bytes(2, "big") + bytes(7) + bytes(states)
    name = _MOTTO if len(records) > 1 else encode_pown(_pown(records[0])) + _TASK_ID
    return front + name + b"".join(_write_record(record) for record in records)


def _write_record(record: CoinRecord) -> bytes:
    return b"".join((bytes(2), record.coin.to_bytes(), *record.ans, *(record.pans or ())))


def _pown(record: CoinRecord) -> str:
    return record.pown or UNTRIED * RAIDA_COUNT


def _require_writable(records: Sequence[CoinRecord]) -> None:
    if not 1 <= len(records) <= MAXIMUM_COINS:
        raise errors.Unencodable("a coin file has 1 to 65535 coins")
    if len({record.coin for record in records}) != len(records):
        raise errors.Unencodable("a coin is in a file once")


def _refuse_legacy_bin(data: bytes) -> NoReturn:
    if len(data) < _HEADER_SIZE or data[1] != 0 or int.from_bytes(data[2:4], "big") not in _LEGACY_COIN_IDS:
        raise errors.Unrecognised("this is not a coin file")
    rest = len(data) - _HEADER_SIZE
    # The header does not say whether there are PANs: the length does.
    if not rest or (rest % _LEGACY_COIN_SIZE and rest % (_LEGACY_COIN_SIZE + _ANS_SIZE)):
        raise errors.Damaged("the file is not a whole number of legacy coins")
    raise errors.LegacyCoin


# .stack


def _read_stack(data: bytes) -> CoinFile:
    if not _has_the_parts_of_a_stack(data):
        raise errors.Damaged("the stack has far more parts than coins have")
    document = _parsed(data)
    entries = document.get("cloudcoin") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise errors.Unrecognised("this is JSON, but no stack of coins")
    if not entries:
        raise errors.Unrecognised("this file carries no coins")
    if len(entries) > MAXIMUM_COINS:
        raise errors.TooLarge("a coin file has at most 65535 coins")
    read = [_read_entry(entry) for entry in entries]
    coins = tuple(record for record, _ in read)
    _require_distinct(coins)
    return CoinFile(FileKind.STACK, coins, all(names_denomination for _, names_denomination in read))


def _in_utf8(data: bytes) -> bytes:
    """Convert text in UTF-8 or UTF-16 to UTF-8 without a byte order mark; return other bytes unchanged."""
    if data.startswith(_UTF_16_FRONTS):
        try:
            return data.decode(json.detect_encoding(data)).removeprefix("\ufeff").encode()
        except UnicodeError:
            raise errors.Damaged("the file is not text in UTF-16, as it begins") from None
    return data.removeprefix(codecs.BOM_UTF8)


def _parsed(data: bytes) -> object:
    """
    Parse a stack, as JSON or in the looser form that the format's documentation permits.

    In that form keys and values may be without quotes or in single ones, and a trailing comma is allowed.
    """
    try:
        return json.loads(data, object_pairs_hook=_object)
    except RecursionError:
        raise errors.Damaged("the file is not JSON") from None
    except ValueError:
        pass
    try:
        return json.loads(_LOOSE.sub(_strict, data.decode()), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise errors.Damaged("the file is not JSON") from None


def _strict(found: re.Match[str]) -> str:
    single, bare, comma = found["single"], found["bare"], found["comma"]
    if single is not None:
        return json.dumps(single)
    if bare is not None:
        return bare if bare in {"null", "true", "false"} else json.dumps(bare)
    return "" if comma else found[0]


def _has_the_parts_of_a_stack(data: bytes) -> bool:
    most_objects = len(data) // _STACK_BYTES_PER_OBJECT + _STACK_PARTS_OF_SMALL_ONES
    most_commas = len(data) // _STACK_BYTES_PER_COMMA + _STACK_PARTS_OF_SMALL_ONES
    return max(data.count(b"{"), data.count(b"[")) <= most_objects and data.count(b",") <= most_commas


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Writers differ in the case of the keys.
    found = {key.lower(): value for key, value in pairs}
    if len(found) != len(pairs):
        raise errors.Damaged("the stack says a thing twice")
    return found


def _read_entry(entry: object) -> tuple[CoinRecord, bool]:
    if not isinstance(entry, dict):
        raise errors.Damaged("a coin of the stack is not an object")
    denomination = _whole_number(entry.get("dn"))
    serial_number = _whole_number(entry.get("sn"))
    if serial_number is None:
        raise errors.Damaged("a coin of the stack has no serial number")
    names_denomination = "dn" in entry
    lowest, highest = (0, HIGHEST_SERIAL_NUMBER) if names_denomination else (1, _LEGACY_HIGHEST_SN)
    if not lowest <= serial_number <= highest:
        raise errors.Damaged("a coin of the stack has an impossible serial number")
    if names_denomination and denomination is None:
        raise errors.Damaged("a coin of the stack has an impossible denomination")
    try:
        coin = Coin(denomination or 0, serial_number)
    except errors.Unencodable:
        raise errors.Damaged("a coin of the stack has an impossible denomination") from None
    numbers = entry.get("an") or entry.get("ans")
    ans = _hex_numbers(numbers)
    if ans is None and "(" in str(numbers):
        raise errors.Encrypted(
            "the stack is encrypted, as brackets in its numbers show: decrypt it where it was written"
        )
    if ans is None:
        raise errors.Damaged("a coin of the stack has not 25 authenticity numbers")
    proposed = entry.get("pan") or entry.get("pans")
    if isinstance(proposed, list) and not any(proposed):
        # Some writers write 25 empty strings.
        proposed = None
    pans = _hex_numbers(proposed)
    if pans is None and proposed:
        raise errors.Damaged("a coin of the stack has not 25 proposed numbers")
    pown = entry.get("pown") or entry.get("pownstring")
    known = isinstance(pown, str) and is_pown(pown)
    return CoinRecord(coin, ans, pans, pown if known else None), names_denomination


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _hex_numbers(value: object) -> tuple[bytes, ...] | None:
    if not isinstance(value, list) or len(value) != RAIDA_COUNT:
        return None
    if not all(isinstance(number, str) and _HEX_NUMBER.fullmatch(number) for number in value):
        return None
    return tuple(bytes.fromhex(number) for number in value)


def write_stack(records: Sequence[CoinRecord]) -> bytes:
    """
    Write a JSON `.stack`. Its coins have a member "dn" with the denomination, which the old form lacks.

    :raises Unencodable: no coins, more than 65535, or one twice
    """
    _require_writable(records)
    return json.dumps({"cloudcoin": [_write_entry(record) for record in records]}).encode("ascii")


def _write_entry(record: CoinRecord) -> dict[str, object]:
    entry: dict[str, object] = {
        "nn": 1,
        "dn": record.coin.denomination,
        "sn": record.coin.serial_number,
        "an": [number.hex() for number in record.ans],
        "pown": _pown(record),
        "aoid": [],
    }
    if record.pans is not None:
        entry["pan"] = [number.hex() for number in record.pans]
    return entry


# PNG


def _coin_chunks(data: bytes) -> list[bytes]:
    chunks = []
    start = len(_PNG_SIGNATURE)
    cut_kind, ended = b"", False
    while start < len(data):
        kind = data[start + 4 : start + 8]
        length, is_sound = _chunk_length(data, start)
        if length is None:
            # Bytes after the end of the picture need not be chunks.
            cut_kind = kind
            break
        end = start + 8 + length
        if kind == _PNG_CHUNK:
            if not is_sound:
                raise errors.Damaged("the coins in the picture fail their checksum")
            chunks.append(data[start + 8 : end])
        ended = ended or kind == _PNG_END
        start = end + 4
    # A known writer leaves a second, cut chunk head after the coins' chunk, so that the chunks do not lead to the end
    # of the picture although it is complete.
    if not (ended or data.endswith(_PNG_LAST)) or (cut_kind == _PNG_CHUNK and not chunks):
        raise errors.Damaged("the picture is cut")
    return chunks


def _chunk_length(data: bytes, start: int) -> tuple[int | None, bool]:
    """
    Return the length of the chunk's content, None if it is cut, and whether its checksum is right.

    PNG is big-endian. Public coin pictures exist whose lengths are little-endian: that is accepted if the checksum
    agrees.
    """
    fits = None
    for order in _BYTE_ORDERS:
        length = int.from_bytes(data[start : start + 4], order)
        end = start + 8 + length
        if len(data) >= end + 4:
            checksum = zlib.crc32(memoryview(data)[start + 4 : end])
            if any(checksum == int.from_bytes(data[end : end + 4], each) for each in _BYTE_ORDERS):
                return length, True
            if order == "big":
                fits = length
    return fits, False


def write_png(records: Sequence[CoinRecord], *, picture: bytes | None = None) -> bytes:
    """
    Write a PNG with the coins as a `.bin` in a chunk after the header of `picture` (default: a plain one).

    :raises Unencodable: as `write_bin`, or `picture` is not a PNG
    """
    picture = _plain_picture() if picture is None else picture
    header_end = len(_PNG_SIGNATURE) + 25
    if not picture.startswith(_PNG_SIGNATURE) or picture[12:16] != b"IHDR" or len(picture) < header_end:
        raise errors.Unencodable("the picture is not a PNG")
    return picture[:header_end] + _chunk(_PNG_CHUNK, write_bin(records)) + picture[header_end:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _plain_picture() -> bytes:
    """A green square of 64 pixels."""
    side = 64
    header = side.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    row = b"\x00" + bytes((0x2F, 0x6B, 0x4F)) * side
    return b"".join(
        (_PNG_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(row * side, 9)), _chunk(_PNG_END, b""))
    )
