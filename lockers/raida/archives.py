"""ZIP archives of coin files (the RAIDA protocol, section 7.5). Names are not used, only bytes."""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from lockers.raida import errors

T = TypeVar("T")

# The largest .bin, with PANs, is 53 MB. The same coins as JSON are larger, but are not exchanged in practice.
MAXIMUM_SIZE: Final = 64 * 1024 * 1024

# An archive of single coins has a member for each; inflated it may be as large as one file.
MAXIMUM_MEMBERS: Final = 2_000

_ZIP_SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_ENTRY: Final = b"PK\x01\x02"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; its name is not interpreted."""

    name: str
    content: bytes = field(repr=False)


def is_archive(data: bytes) -> bool:
    """Whether the bytes begin like a ZIP."""
    return data.startswith(_ZIP_SIGNATURES)


def count_entries(data: bytes) -> int:
    """Return an upper bound of the members and folders of an archive without reading it, 0 for other bytes."""
    return data.count(_ZIP_ENTRY) if is_archive(data) else 0


def declared_size(data: bytes) -> int:
    """
    Return the inflated size that a ZIP declares. Nothing is inflated, and `unpack` inflates no more than that.

    :raises Damaged: it is cut
    :raises TooLarge: more than 2000 members
    """
    return _opened(data, lambda archive: sum(entry.file_size for entry in _entries(archive)))


def unpack(data: bytes) -> tuple[Member, ...]:
    """
    Return the files in a ZIP, without its folders. Nothing is written to disk, and no more is inflated than the
    limits allow, whatever size the archive declares.

    :raises Damaged: it is cut, or fails a checksum
    :raises Encrypted: a member has a password
    :raises UnsupportedFormat: a member is compressed other than by deflate
    :raises TooLarge: more than 2000 members, or inflated more than 64 MiB
    """
    return _opened(data, _read_members)


def _opened(data: bytes, read: Callable[[zipfile.ZipFile], T]) -> T:
    if data.count(_ZIP_ENTRY) > 2 * MAXIMUM_MEMBERS:
        # Checked before zipfile makes an object of each. Folders are entries too.
        raise errors.TooLarge("an archive has at most 2000 files")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return read(archive)
    except errors.CoinFileError:
        raise
    except Exception:  # noqa: BLE001 - zipfile raises many kinds of exceptions for damaged bytes
        raise errors.Damaged("the archive is damaged") from None


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAXIMUM_MEMBERS:
        raise errors.TooLarge("an archive has at most 2000 files")
    return entries


def _read_members(archive: zipfile.ZipFile) -> tuple[Member, ...]:
    entries = _entries(archive)
    # The declared sizes are an upper limit: no member may inflate to more.
    if sum(entry.file_size for entry in entries) > MAXIMUM_SIZE:
        raise errors.TooLarge("an archive unfolds to at most 64 MiB")
    members = []
    for entry in entries:
        if entry.flag_bits & 1:
            raise errors.Encrypted("the archive has a password: unpack it first")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise errors.UnsupportedFormat("the archive is compressed in an unusual way: unpack it first")
        with archive.open(entry) as stream:
            content = stream.read(entry.file_size + 1)
        if len(content) != entry.file_size:
            raise errors.Damaged("the archive is damaged")
        members.append(Member(entry.filename, content))
    return tuple(members)


def write_zip(members: Sequence[Member]) -> bytes:
    """Write a ZIP of files, the same bytes for the same members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            # A fixed date: the codec reads no clock.
            archive.writestr(zipfile.ZipInfo(member.name), member.content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
