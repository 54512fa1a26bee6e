"""
Images of wallets: read, encoded anew, and kept in the storage of `settings.STORAGES["default"]`.

A stored image never changes, and its name, which begins with the wallet's id, is never used again. An image is stored
before the transaction that refers to it and deleted after the one that replaces it: a crash in between leaves a file
that nothing refers to, never a reference without its file.
"""

import io
import logging
import os
import re
import threading
import uuid
import warnings
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from PIL import Image, ImageOps

from wallets import errors

log = logging.getLogger("coppice.images")

# 1 MiB: what clients send at most.
MAXIMUM_BYTES: Final = 1024 * 1024
# A decoded image takes 4 bytes a pixel, and turning it upright as many again.
MAXIMUM_PIXELS: Final = 16_000_000
# The longest sides of a stored image, in pixels: the first with which the file has at most MAXIMUM_BYTES.
_SIDES: Final = (2048, 1448, 1024, 724, 512, 256)
_SCAN: Final = b"\xff\xda"
_MAXIMUM_SCANS: Final = 100
_FORMATS: Final = ("JPEG", "PNG")
MEDIA_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png"}
NAME: Final = r"[0-9a-f]{32}-[0-9a-f]{32}\.(?:jpg|png)"

# Of damaged metadata, which is dropped.
warnings.filterwarnings("ignore", module=r"PIL\.")

# One at a time in each process, which bounds the memory that images take.
_one_image = threading.Lock()


class Picture(NamedTuple):
    """An image as it is stored; `suffix` is a key of `MEDIA_TYPES`."""

    content: bytes
    suffix: str


def reencoded(content: bytes) -> Picture:
    """
    Return a JPEG or PNG upright, at most 2048 pixels on each side, in 8 bits, and without metadata.

    The first frame of an animation is kept. A PNG stays one, so that transparency does.

    :raises wallets.errors.ImageTooLarge: it has more than 1 MiB
    :raises wallets.errors.NotAnImage: it is no JPEG or PNG, or damaged
    :raises wallets.errors.TooManyPixels: it has more than 16,000,000 pixels
    """
    if len(content) > MAXIMUM_BYTES:
        raise errors.ImageTooLarge
    with _one_image:
        try:
            return _reencoded(content)
        except errors.DomainError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise errors.TooManyPixels(MAXIMUM_PIXELS) from None
        except Exception:  # noqa: BLE001 - the decoders raise errors of any kind for damaged files
            raise errors.NotAnImage from None


def _reencoded(content: bytes) -> Picture:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as source:
        # The size is from the header: nothing is decoded yet.
        if source.width * source.height > MAXIMUM_PIXELS:
            raise errors.TooManyPixels(MAXIMUM_PIXELS)
        suffix = "png" if source.format == "PNG" else "jpg"
        if suffix == "jpg":
            # Each scan of a progressive JPEG is a pass over all pixels, and may be 50 bytes long.
            if content.count(_SCAN) > _MAXIMUM_SCANS:
                raise errors.NotAnImage
            # Decodes a large JPEG at a half, a quarter or an eighth of its size.
            source.draft(None, (_SIDES[0], _SIDES[0]))
        source.load()
        image = ImageOps.exif_transpose(source)
    image = _in_8_bits(image, may_be_transparent=suffix == "png")
    for side in _SIDES:
        image.thumbnail((side, side))
        # A new image: the old one's `info` holds comments and profiles, which the encoders write.
        plain = Image.new(image.mode, image.size)
        plain.paste(image)
        file = io.BytesIO()
        if suffix == "jpg":
            plain.save(file, "JPEG", quality=85, optimize=True)
        else:
            plain.save(file, "PNG")
        if file.tell() <= MAXIMUM_BYTES:
            break
    return Picture(file.getvalue(), suffix)


def _in_8_bits(image: Image.Image, *, may_be_transparent: bool) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey, which `convert` would cut off at 255.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if may_be_transparent and image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode == "L" and not image.has_transparency_data else image.convert("RGB")


def is_local() -> bool:
    """Return whether images are kept in the directory COPPICE_MEDIA, not in an S3 store."""
    return isinstance(default_storage, FileSystemStorage)


def store(picture: Picture, *, wallet_id: UUID) -> str:
    """
    Store a picture durably and return its name.

    :raises wallets.errors.ImageNotStored: the storage failed
    """
    name = f"{wallet_id.hex}-{uuid.uuid4().hex}.{picture.suffix}"
    _save(name, picture.content)
    return name


def restore(name: str, content: bytes) -> None:
    """
    Store a picture of a backup durably under its name, unless it is there already.

    :raises wallets.errors.ImageNotStored: the storage failed
    """
    if default_storage.exists(name):
        if default_storage.size(name) == len(content):
            return
        # An earlier restore was interrupted.
        default_storage.delete(name)
    _save(name, content)


def _save(name: str, content: bytes) -> None:
    try:
        default_storage.save(name, ContentFile(content))
        if is_local():
            path = default_storage.path(name)
            for written in (path, os.path.dirname(path)):
                flush(written)
    except Exception as error:
        # Those of the operating system, or of the client of an S3 store.
        log.warning("image_not_stored", extra={"error": type(error).__name__})
        if is_local():
            # What was written before the disk was full.
            delete(name)
        raise errors.ImageNotStored from error


def flush(path: str | Path) -> None:
    """Write a file or directory to the disk: it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def own_name(url: str | None, *, wallet_id: UUID) -> str | None:
    """
    Return the name in the URL of an image that was stored for this wallet, else None.

    A URL that a client set may lead to another wallet's image.
    """
    name = (url or "").rpartition("/")[2]
    return name if re.fullmatch(NAME, name) and name.startswith(wallet_id.hex) else None


def delete(name: str) -> None:
    """Delete a stored picture. A failure is logged: nothing refers to the picture."""
    try:
        default_storage.delete(name)
    except Exception as error:  # noqa: BLE001 - as in `store`
        log.warning("image_not_deleted", extra={"error": type(error).__name__})
