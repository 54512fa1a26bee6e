"""Terminal output in other encodings than UTF-8. Every command imports this module, so it imports little."""

import codecs
import io
from typing import Final, TextIO

# Replacements for the non-ASCII characters that commands print.
_IN_ASCII: Final = {"✓": "ok", "✗": "!!", "…": "...", "→": "->", "–": "-", "—": "-", "×": "x", "µ": "u", "·": "-"}
_HANDLER: Final = "coppice.ascii"


def replace_unencodable(*streams: TextIO) -> None:
    """
    Print replacements for characters that the encoding of a stream lacks, instead of failing.

    A stream with another encoding than UTF-8 (`LC_ALL=C` with `PYTHONUTF8=0`, `PYTHONIOENCODING`) shows `ok` for `✓`,
    and `?` for a character without a replacement.
    """
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(character, "?") for character in unknown), error.end
