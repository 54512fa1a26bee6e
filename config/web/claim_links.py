"""The address of a claim link, and files of many links: a table, and a sheet to print and cut."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final

import segno
from django.http import HttpRequest
from django.urls import get_script_prefix
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from config.api.renderers import milliseconds
from config.web.addresses import public_url
from transfers.action_tokens import NewLink

_COLUMNS: Final = 3
_ROWS: Final = 4
_MARGIN: Final = 10 * mm
_QR: Final = 40 * mm
_FONT: Final = "Helvetica"
# Tells O from 0, and I from l.
_CODE_FONT: Final = "Courier"
_LINES_OF_MESSAGE: Final = 3
_SIZE: Final = 8
# Of a line below a QR code.
_WIDTH: Final = (A4[0] - 2 * _MARGIN) / _COLUMNS - 4 * mm
# All masks give codes that can be read; to choose the best of the eight takes five times as long.
_MASK: Final = 2


def address_of(request: HttpRequest, code: str) -> str:
    """Return the link of a code below the public URL, with the code in the fragment, which browsers do not send."""
    return f"{page_address(request)}#{code}"


def page_address(request: HttpRequest) -> str:
    """Return the absolute URL of the page `/claim`."""
    return public_url(request, f"{get_script_prefix()}claim")


def table(links: Sequence[NewLink], *, page: str) -> bytes:
    """Return the links as CSV in UTF-8. `page` is the URL of the page `/claim`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["id", "action_token", "url", "token_count", "expires_at"])
    for link in links:
        writer.writerow([link.id, link.code, f"{page}#{link.code}", link.token_count, milliseconds(link.expires_at)])
    return text.getvalue().encode()


def sheet(links: Sequence[NewLink], *, page: str, sender: str, message: str) -> bytes:
    """Return the links as a PDF with twelve QR codes on each page (A4). `page` is the URL of the page `/claim`."""
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.setTitle("Claim links")
    width, height = (A4[0] - 2 * _MARGIN) / _COLUMNS, (A4[1] - 2 * _MARGIN) / _ROWS
    # Once for all links: to shorten a name and a message without blanks takes longer than to draw a code.
    wrapped, shortened = _wrapped(message), cache(_shortened)
    for index, link in enumerate(links):
        place = index % (_COLUMNS * _ROWS)
        if index and place == 0:
            canvas.showPage()
        left = _MARGIN + place % _COLUMNS * width
        top = A4[1] - _MARGIN - place // _COLUMNS * height
        canvas.setDash(1, 2)
        canvas.rect(left, top - height, width, height)
        canvas.setDash()
        _draw_code(canvas, f"{page}#{link.code}", left + (width - _QR) / 2, top - 3 * mm - _QR)
        words = _words(link, page=page, sender=sender, message=wrapped)
        shown = [(shortened(line, font), font) for line, font in words]
        _write(canvas, shown, left, top - 6 * mm - _QR, width)
    canvas.save()
    return content.getvalue()


def _words(link: NewLink, *, page: str, sender: str, message: Sequence[str]) -> list[tuple[str, str]]:
    """Return the lines below a QR code, each with its font."""
    trees = "1 tree" if link.token_count == 1 else f"{link.token_count:,} trees"
    lines = [f"{trees} from {sender}", *message, f"Claim by {_day(link.expires_at)} at", page]
    return [*((line, _FONT) for line in lines), (link.code, _CODE_FONT)]


def _wrapped(message: str) -> list[str]:
    lines = simpleSplit(_writable(message), _FONT, _SIZE, _WIDTH)
    return [*lines[: _LINES_OF_MESSAGE - 1], " ".join(lines[_LINES_OF_MESSAGE - 1 :])] if lines else []


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _draw_code(canvas: Canvas, text: str, left: float, bottom: float) -> None:
    code = segno.make(text, error="m", micro=False, mask=_MASK)
    rows = list(code.matrix_iter(border=4))
    module = _QR / len(rows)
    path = canvas.beginPath()
    for number, row in enumerate(rows):
        start = None
        for column, dark in enumerate([*row, 0]):
            if dark and start is None:
                start = column
            elif not dark and start is not None:
                path.rect(
                    left + start * module, bottom + _QR - (number + 1) * module, (column - start) * module, module
                )
                start = None
    canvas.drawPath(path, stroke=0, fill=1)


def _write(canvas: Canvas, lines: Sequence[tuple[str, str]], left: float, top: float, width: float) -> None:
    """Write each line in the middle."""
    for number, (line, font) in enumerate(lines):
        canvas.setFont(font, _SIZE)
        canvas.drawCentredString(left + width / 2, top - number * (_SIZE + 2), line)


def _shortened(line: str, font: str) -> str:
    """Return what of a line can be written and has the width."""
    shown = _writable(line)
    while stringWidth(shown, font, _SIZE) > _WIDTH:
        shown = shown.removesuffix("…")[:-1] + "…"
    return shown


def _writable(text: str) -> str:
    """Replace what the font does not have: it has the characters of Western Europe."""
    return " ".join(text.split()).encode("cp1252", "replace").decode("cp1252")
