"""Request bodies of imports."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from config.api.cloudcoin.fields import NAME, TAG
from config.api.errors import Invalid
from config.api.validation import ListOf, Shape, Text

# Mail and the `base64` command break lines after 64 or 76 characters.
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]+")
# The output of `FileReader.readAsDataURL` in a browser.
_DATA_URI: Final = re.compile(r"\Adata:[^,]{0,200};base64,", re.IGNORECASE)
IMPORT: Final = Shape(
    {
        "name": NAME,
        "items": ListOf(
            Shape(
                {
                    "type": Text(choices=("inline",), required=False),
                    "name": Text(maximum=255, required=False),
                    "data": Text(),
                }
            ),
            minimum=1,
            maximum=1000,
        ),
        "tag": TAG,
    }
)
IMPORT_FORM: Final = Shape({"name": NAME, "tag": TAG})


def inline_files(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    """
    Decode the items of an import: base64, with or without line breaks, or `data:` URIs (RFC 2397).

    :raises Invalid: an item is not base64
    """
    uploads = []
    for index, item in enumerate(items):
        text = _WHITE_SPACE.sub("", item["data"])
        try:
            content = base64.b64decode(_DATA_URI.sub("", text, count=1), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f'"items[{index}].data" must be base64') from None
        uploads.append((item.get("name", f"items[{index}]"), content))
    return uploads
