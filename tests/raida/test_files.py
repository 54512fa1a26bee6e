import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable

import pytest

from lockers.raida import archives, errors, files
from lockers.raida.archives import Member
from lockers.raida.coins import Coin
from lockers.raida.files import CoinFile, CoinRecord, FileKind

ANS = tuple(bytes((index,)) * 16 for index in range(25))
PANS = tuple(bytes((0x80 + index,)) * 16 for index in range(25))
POWN = "pppppfnuedbpppppppppppppp"

ONE = CoinRecord(Coin(-8, 0), ANS, None, POWN)
TWO = CoinRecord(Coin(6, 0xFFFFFFFF), PANS)
PENDING = CoinRecord(Coin(0, 1), ANS, PANS)


def refusal(data: bytes) -> type[Exception]:
    # The caller says which.
    with pytest.raises(errors.CoinFileError) as caught:  # noqa: PT011
        files.read_file(data)
    return type(caught.value)


def altered(data: bytes, offset: int, value: int) -> bytes:
    changed = bytearray(data)
    assert changed[offset] != value, "nothing would be altered"
    changed[offset] = value
    return bytes(changed)


def stack(*entries: object) -> bytes:
    return json.dumps({"cloudcoin": entries}).encode()


def entry(**changes: object) -> dict[str, object]:
    return {"nn": 1, "sn": 12345, "an": [an.hex() for an in ANS], "pown": POWN, "ed": "7-2027", "aoid": []} | changes


def zipped(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


# .bin


def test_one_coin_has_its_pown_string_in_the_header() -> None:
    data = files.write_bin([ONE])

    assert len(data) == 439
    assert data[:16].hex() == "09010006000000010000000000000000"
    assert data[16:32].hex() == "aaaaafc0edbaaaaaaaaaaaaaa9999999"
    assert data[32:39].hex() == "0000f800000000"
    assert data[39 + 16 * 3 :][:16] == ANS[3]
    assert files.read_file(data) == CoinFile(FileKind.BIN, (ONE,))


def test_several_coins_have_the_motto_there() -> None:
    data = files.write_bin([ONE, TWO])

    assert len(data) == 32 + 2 * 407
    assert data[6:8] == b"\x00\x02"
    assert data[16:32] == b"Live Free Or Die"
    read = files.read_file(data)
    assert [(record.coin, record.ans, record.pown) for record in read.coins] == [
        (ONE.coin, ONE.ans, None),
        (TWO.coin, TWO.ans, None),
    ]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_proposed_numbers_follow_each_coin(count: int) -> None:
    records = tuple(CoinRecord(Coin(0, number), ANS, PANS, "u" * 25 if count == 1 else None) for number in range(count))

    data = files.write_bin(records)

    assert len(data) == 32 + 807 * count
    assert data[15] == 1
    assert files.read_file(data) == CoinFile(FileKind.BIN, records)


@pytest.mark.parametrize("records", [[ONE], [ONE, TWO], [PENDING]])
def test_padding_up_to_31_bytes_is_not_read(records: list[CoinRecord]) -> None:
    data = files.write_bin(records)

    for padding in range(32):
        assert files.read_file(data + b"\xa5" * padding) == files.read_file(data)
    assert refusal(data + b"\xa5" * 32) is errors.Damaged
    assert refusal(data[:-1]) is errors.Damaged


def test_a_coin_that_the_count_leaves_out_is_not_overlooked() -> None:
    assert refusal(altered(files.write_bin([ONE, TWO]), 7, 1)) is errors.Damaged


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, 8, errors.UnsupportedFormat),
        (0, 10, errors.UnsupportedFormat),
        (0, 11, errors.UnsupportedFormat),
        (0, 7, errors.Unrecognised),
        (0, 0, errors.Unrecognised),
        (3, 1, errors.Damaged),
        (5, 1, errors.Encrypted),
        (5, 4, errors.Encrypted),
        (6, 1, errors.Damaged),
        (7, 0, errors.Damaged),
        (15, 1, errors.Damaged),
        (32, 1, errors.Damaged),
        (33, 1, errors.Damaged),
        (34, 7, errors.Damaged),
        (34, 0x80, errors.Damaged),
    ],
)
def test_a_bin_that_says_something_else_is_refused(offset: int, value: int, error: type[Exception]) -> None:
    assert refusal(altered(files.write_bin([ONE]), offset, value)) is error


@pytest.mark.parametrize(("offset", "value"), [(1, 0), (1, 9), (4, 7), (8, 0xE3), (15, 2), (15, 0xFE)])
def test_bytes_of_the_header_that_are_for_others_are_ignored(offset: int, value: int) -> None:
    assert files.read_file(altered(files.write_bin([ONE]), offset, value)).coins == (ONE,)


def test_a_picture_of_the_kind_that_only_old_coins_came_in_is_explained() -> None:
    with pytest.raises(errors.UnsupportedFormat, match="upgraded"):
        files.read_file(b"\xff\xd8\xff\xe0" + bytes(600))


def test_a_stack_whose_numbers_have_brackets_is_encrypted() -> None:
    numbers = [an.hex() for an in ANS[:24]] + ["1ef01cb084a8e500(08d61e24)4a991f7d"]

    assert refusal(stack(entry(an=numbers))) is errors.Encrypted


def test_a_bin_that_names_a_coin_twice_is_refused() -> None:
    data = files.write_bin([ONE, TWO])

    assert refusal(data[:439] + data[32:439]) is errors.Damaged


@pytest.mark.parametrize("data", [b"", b"\x01", b"hello", b"\x00" * 31, b"\xff" * 500, b"\xef\xbb\xbf", b"[]"])
def test_other_bytes_are_not_recognised(data: bytes) -> None:
    assert refusal(data) is errors.Unrecognised


@pytest.mark.parametrize(
    "records",
    [
        [],
        [ONE, ONE],
        [ONE, PENDING],
    ],
)
def test_a_bin_that_cannot_be_is_not_written(records: list[CoinRecord]) -> None:
    with pytest.raises(errors.Unencodable):
        files.write_bin(records)


def test_a_bin_has_at_most_65535_coins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.MAXIMUM_COINS == 65_535
    monkeypatch.setattr(files, "MAXIMUM_COINS", 300)
    records = [CoinRecord(Coin(0, number), ANS) for number in range(301)]

    assert files.write_bin(records[2:])[6:8] == b"\x01\x2b"
    assert files.write_bin(records[1:])[6:8] == b"\x01\x2c"
    with pytest.raises(errors.Unencodable):
        files.write_bin(records)


@pytest.mark.parametrize(
    ("ans", "pans", "pown"),
    [
        (ANS[:24], None, None),
        ((*ANS[:24], bytes(15)), None, None),
        (ANS, PANS[:24], None),
        (ANS, None, "p" * 24),
        (ANS, None, "k" * 25),
    ],
)
def test_a_record_that_cannot_be_is_not_made(
    ans: tuple[bytes, ...], pans: tuple[bytes, ...] | None, pown: str | None
) -> None:
    with pytest.raises(errors.Unencodable):
        CoinRecord(Coin(0, 1), ans, pans, pown)


def test_no_number_shows_in_a_repr() -> None:
    assert "\\x05" not in repr(files.read_file(files.write_bin([PENDING])))
    assert "\\x05" not in repr(Member("a", ANS[5]))


# Legacy .bin


def legacy(*serial_numbers: int, pans: bool = False, coin_id: int = 1) -> bytes:
    header = b"\x00\x00" + coin_id.to_bytes(2, "big") + bytes(28)
    numbers = b"".join(ANS) + (b"".join(PANS) if pans else b"")
    return header + b"".join(number.to_bytes(3, "big") + b"\xaa" * 13 + numbers for number in serial_numbers)


@pytest.mark.parametrize("coin_id", [0, 1, 2])
@pytest.mark.parametrize("pans", [False, True])
def test_legacy_coins_are_recognised(pans: bool, coin_id: int) -> None:
    with pytest.raises(errors.LegacyCoin, match="upgraded"):
        files.read_file(legacy(1, 16_777_215, pans=pans, coin_id=coin_id))


@pytest.mark.parametrize("data", [legacy(), legacy(1)[:-1], legacy(1) + b"\x00"])
def test_legacy_coins_in_part_are_damaged(data: bytes) -> None:
    assert refusal(data) is errors.Damaged


@pytest.mark.parametrize("data", [legacy(1, coin_id=3), altered(legacy(1), 1, 1)])
def test_other_bytes_that_begin_with_zero_are_not_recognised(data: bytes) -> None:
    assert refusal(data) is errors.Unrecognised


# .stack


@pytest.mark.parametrize("records", [(ONE,), (ONE, TWO), (PENDING,)])
def test_a_stack_is_read_as_it_was_written(records: tuple[CoinRecord, ...]) -> None:
    read = files.read_file(files.write_stack(records))

    assert read.kind is FileKind.STACK
    assert read.names_denominations
    assert [(record.coin, record.ans, record.pans) for record in read.coins] == [
        (record.coin, record.ans, record.pans) for record in records
    ]
    assert [record.pown for record in read.coins] == [record.pown or "u" * 25 for record in records]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sn": "12345"},
        {"nn": "1"},
        {"an": None, "ans": [an.hex().upper() for an in ANS]},
        {"pown": None, "pownstring": POWN},
        {"pan": [], "ed": "9-2027"},
        {"pan": [""] * 25},
        {"pans": [None] * 25},
    ],
)
@pytest.mark.parametrize("before", [b"", b"\n\t ", b"\xef\xbb\xbf"])
def test_a_stack_of_either_spelling_is_read(changes: dict[str, object], before: bytes) -> None:
    read = files.read_file(before + stack(entry(**changes)))

    assert read == CoinFile(FileKind.STACK, (CoinRecord(Coin(0, 12345), ANS, None, POWN),), names_denominations=False)


@pytest.mark.parametrize("pown", ["", "ppp", 7, None, "x" * 25])
def test_a_pown_string_that_is_none_is_left_out(pown: object) -> None:
    assert files.read_file(stack(entry(pown=pown))).coins[0].pown is None


@pytest.mark.parametrize(
    ("sn", "extra", "fits"),
    [
        (0, {}, False),
        (1, {}, True),
        (16_777_216, {}, True),
        (16_777_217, {}, False),
        (0, {"dn": 0}, True),
        (0xFFFFFFFF, {"dn": 6}, True),
        (0x100000000, {"dn": 6}, False),
        (-1, {"dn": 6}, False),
        (1, {"dn": "-8"}, True),
        (1, {"dn": -9}, False),
        (1, {"dn": 7}, False),
        (1, {"dn": None}, False),
        (1, {"dn": 1.0}, False),
        (None, {}, False),
        (True, {}, False),
        (1.0, {}, False),
        ("1.0", {}, False),
        ("٣", {}, False),
        ("9" * 5000, {}, False),
        (10**30, {}, False),
    ],
)
def test_a_serial_number_has_its_range(sn: object, extra: dict[str, object], fits: bool) -> None:
    data = stack(entry(sn=sn, **extra))

    if fits:
        (record,) = files.read_file(data).coins
        assert record.coin == Coin(int(extra.get("dn", 0)), sn)
    else:
        assert refusal(data) is errors.Damaged


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}}",
        b'{"cloudcoin": [' + b"[" * 100_000,
        b'{"cloudcoin": "\xff"}',
        b'{"cloudcoin": ' + b"9" * 5000 + b"}",
        b'{"cloudcoin": [], "cloudcoin": []}',
        stack(7),
        stack(entry(an=None)),
        stack(entry(an=[an.hex() for an in ANS[:24]])),
        stack(entry(an=[an.hex() for an in ANS] * 2)),
        stack(entry(an=["0" * 31] * 25)),
        stack(entry(an=["g" * 32] * 25)),
        stack(entry(an=[7] * 25)),
        stack(entry(pan=["0" * 31] * 25)),
        stack(entry(), entry(sn="12345")),
    ],
)
def test_a_stack_that_is_damaged_is_refused(data: bytes) -> None:
    assert refusal(data) is errors.Damaged


def spelled(text: str, keys: str) -> str:
    """Spell the keys of a stack differently."""
    spellings: dict[str, Callable[[str], str]] = {
        "upper case": lambda key: f'"{key.upper()}"',
        "capitals": lambda key: f'"{key.capitalize()}"',
        "no quotes": lambda key: key,
        "single quotes": lambda key: f"'{key}'",
        "as written": lambda key: f'"{key}"',
    }
    return re.sub(r'"(\w+)":', lambda found: spellings[keys](found[1]) + ":", text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be, mark"])
@pytest.mark.parametrize("keys", ["upper case", "capitals", "no quotes", "single quotes", "as written"])
@pytest.mark.parametrize("values", ["as written", "no quotes", "comma behind the last"])
def test_a_stack_is_read_however_it_is_spelled(encoding: str, keys: str, values: str) -> None:
    text = spelled(stack(entry(pan=[pan.hex() for pan in PANS]), entry(sn=2, aoid=[""])).decode(), keys)
    if values == "no quotes":
        text = re.sub(
            r': "([\w-]+)"|(?<=[\[ ])"(\w{32})"', lambda found: f": {found[1]}" if found[1] else found[2], text
        )
        assert '": "' not in text
        assert f"{ANS[1].hex()}, {ANS[2].hex()}" in text
    if values == "comma behind the last":
        text = text.replace("]", ", ]").replace("[, ]", "[]").replace("}", ",\n}")
    data = ("\ufeff" + text).encode("utf-16-be") if encoding == "utf-16-be, mark" else text.encode(encoding)

    read = files.read_file(data)

    assert read.kind is FileKind.STACK
    assert read.coins == (CoinRecord(Coin(0, 12345), ANS, PANS, POWN), CoinRecord(Coin(0, 2), ANS, None, POWN))


@pytest.mark.parametrize(
    "data",
    [
        b'{"cloudcoin": [], "CLOUDCOIN": []}',
        b"{cloudcoin: [}",
        b"{cloudcoin: 'a\"b'}",
        b"{'cloudcoin: []}",
        b'{cloudcoin: ["\xff"]}',
        b"\xff\xfe{\x00\x00",
        b"\xff\xfe\x00\xd8{\x00",
        b"{" * 900,
    ],
)
def test_a_loose_text_that_says_nothing_certain_is_damaged(data: bytes) -> None:
    assert refusal(data) is errors.Damaged


@pytest.mark.parametrize("data", [b"{}", b'{"cloudcoin": {}}', b'{"cloudcoin": []}'])
def test_json_without_coins_is_not_recognised(data: bytes) -> None:
    assert refusal(data) is errors.Unrecognised


def test_a_stack_has_at_most_65535_coins() -> None:
    coins = [b"%40d" % number for number in range(65_536)]

    assert refusal(b'{"cloudcoin":[' + b",".join(coins[1:]) + b"]}") is errors.Damaged
    assert refusal(b'{"cloudcoin":[' + b",".join(coins) + b"]}") is errors.TooLarge


@pytest.mark.parametrize("part", [b"{},", b"[],", b'"a",'])
def test_a_stack_of_far_more_parts_than_coins_have_is_not_parsed(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take gigabytes, and an archive of it is small."""
    monkeypatch.setattr(files.json, "loads", pytest.fail)

    assert refusal(b'{"cloudcoin":[' + part * 10_000 + b"0]}") is errors.Damaged


# PNG


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


PICTURE = files.write_png([ONE])
BARE = PICTURE.replace(chunk(b"cLDc", files.write_bin([ONE])), b"")


def test_a_picture_carries_coins_behind_its_header() -> None:
    assert PICTURE[33:].startswith(chunk(b"cLDc", files.write_bin([ONE])))
    assert files.read_file(PICTURE) == CoinFile(FileKind.PNG, (ONE,))
    assert files.write_png([ONE], picture=BARE) == PICTURE


def with_low_bytes_first(picture: bytes, *, checksums: bool, coins_only: bool) -> bytes:
    """Write the lengths of a picture's chunks in little-endian order, optionally the checksums too."""
    turned, start = bytearray(picture), 8
    while start < len(picture):
        end = start + 8 + int.from_bytes(picture[start : start + 4], "big")
        if not coins_only or picture[start + 4 : start + 8] == b"cLDc":
            turned[start : start + 4] = reversed(picture[start : start + 4])
            if checksums:
                turned[end : end + 4] = reversed(picture[end : end + 4])
        start = end + 4
    assert bytes(turned) != picture
    return bytes(turned)


@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("coins_only", [False, True])
def test_a_picture_may_have_its_numbers_low_byte_first(checksums: bool, coins_only: bool) -> None:
    picture = with_low_bytes_first(files.write_png([ONE]), checksums=checksums, coins_only=coins_only)

    assert files.read_file(picture) == CoinFile(FileKind.PNG, (ONE,))
    assert refusal(altered(picture, picture.index(b"cLDc") + 100, 0xEE)) is errors.Damaged


def test_coins_are_found_in_any_chunk_of_a_picture() -> None:
    content = chunk(b"cLDc", files.write_stack([TWO]))
    before_end = BARE[:-12] + content + BARE[-12:]

    for picture in (before_end, BARE + content, BARE + content + b"more"):
        (record,) = files.read_file(picture).coins
        assert (record.coin, record.ans) == (TWO.coin, TWO.ans)


def test_all_chunks_of_a_picture_count() -> None:
    more = PICTURE + chunk(b"cLDc", files.write_bin([PENDING]))

    assert [record.coin for record in files.read_file(more).coins] == [ONE.coin, PENDING.coin]
    assert refusal(PICTURE + chunk(b"cLDc", files.write_bin([ONE]))) is errors.Damaged


def test_a_picture_without_coins_is_not_recognised() -> None:
    assert refusal(BARE) is errors.Unrecognised


def test_coins_that_fail_their_checksum_are_damaged() -> None:
    start = PICTURE.index(b"cLDc")

    for offset in (start + 4, start + 100, start + 4 + 439, start + 4 + 442):
        assert refusal(altered(PICTURE, offset, PICTURE[offset] ^ 1)) is errors.Damaged


def test_a_broken_head_behind_whole_coins_does_not_hide_them() -> None:
    broken = (1_000).to_bytes(4, "big") + b"cLDc"

    assert files.read_file(PICTURE[:-12] + broken + PICTURE[-12:]).coins == (ONE,)
    assert refusal(BARE[:-12] + broken + BARE[-12:]) is errors.Damaged
    assert refusal(BARE + broken) is errors.Damaged


def test_a_picture_is_not_read_inside_a_picture() -> None:
    assert refusal(BARE + chunk(b"cLDc", PICTURE)) is errors.Unrecognised


@pytest.mark.parametrize("picture", [b"", b"GIF89a", BARE[:32], BARE[:12] + b"IDAT" + BARE[16:]])
def test_coins_are_not_written_into_what_is_no_picture(picture: bytes) -> None:
    with pytest.raises(errors.Unencodable):
        files.write_png([ONE], picture=picture)


# ZIP


def test_an_archive_is_the_sum_of_its_files() -> None:
    data = zipped(("a.bin", files.write_bin([ONE])), ("folder/", b""), ("folder/b.png", files.write_png([PENDING])))

    assert archives.is_archive(data)
    assert [member.name for member in archives.unpack(data)] == ["a.bin", "folder/b.png"]
    read = files.read_file(data)
    assert read.kind is FileKind.ZIP
    assert [record.coin for record in read.coins] == [ONE.coin, PENDING.coin]
    assert read.names_denominations
    assert not files.read_file(zipped(("a", files.write_bin([ONE])), ("b", stack(entry())))).names_denominations


def test_an_archive_is_read_as_it_was_written() -> None:
    members = (Member("a.bin", files.write_bin([ONE])), Member("b.stack", files.write_stack([TWO])))

    data = archives.write_zip(members)

    assert archives.unpack(data) == members
    assert archives.write_zip(members) == data


def test_an_archive_with_something_else_in_it_is_refused_and_says_why() -> None:
    assert refusal(zipped(("a.bin", files.write_bin([ONE])), ("readme.txt", b"hello"))) is errors.Unrecognised
    assert refusal(zipped(("a.bin", files.write_bin([ONE])), ("b.bin", files.write_bin([ONE])))) is errors.Damaged
    assert refusal(zipped(("old.bin", legacy(1)))) is errors.LegacyCoin
    assert refusal(zipped(("inner.zip", zipped(("a.bin", files.write_bin([ONE])))))) is errors.Unrecognised
    assert refusal(zipped()) is errors.Unrecognised


def test_an_archive_cut_anywhere_is_damaged() -> None:
    data = zipped(("a.bin", files.write_bin([ONE])))

    for size in range(4, len(data)):
        assert refusal(data[:size]) is errors.Damaged


def test_an_archive_altered_anywhere_is_read_alike_or_refused() -> None:
    data = zipped(("a.bin", files.write_bin([ONE])))

    for offset in range(len(data)):
        for bit in (1, 0x80):
            try:
                read = files.read_file(altered(data, offset, data[offset] ^ bit))
            except errors.CoinFileError:
                continue
            assert read.coins == (ONE,)


def test_an_archive_of_very_many_entries_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.zipfile, "ZipFile", pytest.fail)

    assert refusal(b"PK\x03\x04" + b"PK\x01\x02" * 4_001) is errors.TooLarge


def test_an_archive_has_at_most_2000_files() -> None:
    members = [(f"{number}.bin", b"") for number in range(2_001)]

    assert len(archives.unpack(zipped(*members[1:], compression=zipfile.ZIP_STORED))) == 2_000
    assert refusal(zipped(*members, compression=zipfile.ZIP_STORED)) is errors.TooLarge


def test_an_archive_does_not_unfold_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAXIMUM_SIZE", 100_000)

    assert [len(member.content) for member in archives.unpack(zipped(("a", bytes(40_000)), ("b", bytes(60_000))))] == [
        40_000,
        60_000,
    ]
    assert refusal(zipped(("a", bytes(40_000)), ("b", bytes(60_001)))) is errors.TooLarge
    assert refusal(zipped(("bomb", bytes(10_000_000)))) is errors.TooLarge


def test_an_archive_with_false_sizes_is_not_unpacked_beyond_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archives, "MAXIMUM_SIZE", 100_000)
    data = zipped(("bomb", bytes(1_000_000)))
    small = data.replace((1_000_000).to_bytes(4, "little"), (50).to_bytes(4, "little"))
    assert small != data

    assert refusal(small) is errors.Damaged


def test_a_file_beyond_the_limit_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    data = files.write_bin([ONE])
    monkeypatch.setattr(files, "MAXIMUM_SIZE", len(data))

    assert files.read_file(data).coins == (ONE,)
    assert refusal(data + b"\x00") is errors.TooLarge


def test_coins_of_an_archive_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAXIMUM_COINS", 1)

    assert refusal(zipped(("a.bin", files.write_bin([ONE])), ("b.bin", files.write_bin([TWO])))) is errors.TooLarge


def test_an_archive_with_a_password_is_refused() -> None:
    data = zipped(("a.bin", files.write_bin([ONE])))
    locked = altered(altered(data, 6, 1), data.index(b"PK\x01\x02") + 8, 1)

    assert refusal(locked) is errors.Encrypted


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_an_unusual_compression_is_refused(compression: int) -> None:
    data = zipped(("a.bin", files.write_bin([ONE])), compression=compression)

    assert refusal(data) is errors.UnsupportedFormat


def test_bytes_that_are_no_archive_do_not_unpack() -> None:
    with pytest.raises(errors.Damaged):
        archives.unpack(b"hello")
