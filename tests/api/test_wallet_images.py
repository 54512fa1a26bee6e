"""`PATCH /wallets/{id}` as a form: texts and images, how images are stored and served, and what replaces them."""

import contextlib
import io
import os
import struct
import threading
import uuid
import zlib
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, connection, transaction
from PIL import Image, ImageCms, PngImagePlugin

from config.api import idempotency, limits
from tests.api.caller import Caller, answer, refusal
from tests.concurrency.races import PATIENCE_SECONDS, race, wait_until_waiting
from transfers import bulk
from trusts import operations as trusts
from wallets import errors, images
from wallets import operations as wallets
from wallets.models import ApiKey, Wallet

BOUNDARY = "frame"
NOT_AN_IMAGE = refusal(422, "Only image files are supported.")


@pytest.fixture(autouse=True)
def directory(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def address(settings: Any) -> str:
    settings.MEDIA_ADDRESS = "https://example.org/coppice/media"
    return "https://example.org/coppice/media"


@pytest.fixture
def sapling(alice: Caller) -> Wallet:
    """A wallet that alice manages."""
    return trusts.open_managed_wallet(actor=alice.wallet, name="sapling")


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def square(color: Any = (200, 30, 30), size: Any = (8, 8), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


PNG = encoded(square())


def form(*parts: tuple[str, Any]) -> bytes:
    """Write a multipart form. A part of bytes is a file."""
    written = []
    for name, value in parts:
        is_file = isinstance(value, bytes)
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"' + ('; filename="x.png"' * is_file)
        kind = "\r\nContent-Type: text/html" if is_file else ""
        written.append(f"{head}{kind}\r\n\r\n".encode() + (value if is_file else value.encode()) + b"\r\n")
    return b"".join([*written, f"--{BOUNDARY}--\r\n".encode()])


def send(caller: Caller, wallet: Wallet, *parts: tuple[str, Any], **headers: str) -> Any:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return caller.send("PATCH", f"/wallets/{wallet.pk}", form(*parts), **{"content-type": kind, **headers})


def stored(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*"))


def everything(directory: Path) -> Any:
    return list(Wallet.objects.order_by("pk").values()), stored(directory)


def fetched(caller: Caller, url: str) -> tuple[Any, bytes]:
    response = caller.client.get("/media/" + url.rpartition("/")[2])
    return response, b"".join(response) if response.streaming else response.content


def test_a_form_changes_texts_and_images_and_json_stays(
    alice: Caller, sapling: Wallet, directory: Path, address: str
) -> None:
    response = send(
        alice, sapling, ("about", "     "), ("display_name", "  New One "), ("add_to_web_map", "true"),
        ("cover_image", PNG), ("logo_image", encoded(square(), "JPEG")),
    )  # fmt: skip

    status, body = answer(response)
    sapling.refresh_from_db()
    assert status == 200
    assert (body["about"], body["display_name"]) == ("     ", "New One")
    assert (body["logo_url"], body["cover_url"]) == (sapling.logo_url, sapling.cover_url)
    logo, cover = str(sapling.logo_url), str(sapling.cover_url)
    assert logo.startswith(f"{address}/{sapling.pk.hex}-")
    assert cover.startswith(f"{address}/{sapling.pk.hex}-")
    assert (logo[-4:], cover[-4:]) == (".jpg", ".png")
    assert stored(directory) == sorted(url.rpartition("/")[2] for url in (logo, cover))
    listed = {each["name"]: each["logo_url"] for each in answer(alice.get("/wallets?limit=10"))[1]["wallets"]}
    assert listed == {"alice": None, "sapling": logo}

    assert answer(alice.patch(f"/wallets/{sapling.pk}", {"about": "in JSON"}))[1]["about"] == "in JSON"
    assert answer(send(alice, sapling))[1]["logo_url"] == logo
    assert answer(send(alice, sapling, ("add_to_web_map", "false")))[1]["about"] == "in JSON"


def test_without_a_public_url_the_url_of_an_image_is_that_of_the_request(
    alice: Caller, sapling: Wallet, settings: Any
) -> None:
    settings.MEDIA_ADDRESS = ""
    _, body = answer(send(alice, sapling, ("logo_image", PNG)))
    assert body["logo_url"].startswith(f"http://testserver/media/{sapling.pk.hex}-")


def test_an_image_is_served_to_anybody_for_ever_and_cannot_do_anything(
    alice: Caller, sapling: Wallet, address: str
) -> None:
    for content, kind in ((PNG, "image/png"), (encoded(square(), "JPEG"), "image/jpeg")):
        _, body = answer(send(alice, sapling, ("logo_image", content)))
        response, served = fetched(alice, body["logo_url"])
        assert response.status_code == 200
        assert response["Content-Type"] == kind
        assert response["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert int(response["Content-Length"]) == len(served)
        assert "Set-Cookie" not in response
        with Image.open(io.BytesIO(served)) as image:
            assert (image.size, f"image/{str(image.format).lower()}") == ((8, 8), kind)

    name = body["logo_url"].rpartition("/")[2]
    for path in (f"/media/{name[:-5]}0.png", f"/media/../{name}", "/media/", "/media/..%2f..%2fsettings.png"):
        assert alice.client.get(path).status_code == 404, path
    assert alice.client.post(f"/media/{name}").status_code == 404


# --- what is refused -----------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def many_scans() -> bytes:
    whole = encoded(square(size=(64, 64)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * 101 + whole[-2:]


TOO_MANY = refusal(422, "An image must have less than or equal to 16000000 pixels")
REFUSED = {
    "text": (b"hello", NOT_AN_IMAGE),
    "nothing": (b"", NOT_AN_IMAGE),
    "gif": (encoded(square(), "GIF"), NOT_AN_IMAGE),
    "webp": (encoded(square(), "WEBP"), NOT_AN_IMAGE),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert()</script></svg>', NOT_AN_IMAGE),
    "half a png": (encoded(Image.effect_noise((64, 64), 50))[:1500], NOT_AN_IMAGE),
    "half a jpeg": (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900], NOT_AN_IMAGE),
    "head of a png": (PNG[:20], NOT_AN_IMAGE),
    "head of a jpeg": (b"\xff\xd8\xff\xe0", NOT_AN_IMAGE),
    "damaged": (PNG.replace(b"IDAT", b"IDAX"), NOT_AN_IMAGE),
    "no pixels": (png_of(0, 0), NOT_AN_IMAGE),
    "17 megapixels": (png_of(4250, 4000), TOO_MANY),
    "120 megapixels": (png_of(12_000, 10_000), TOO_MANY),
    "four gigapixels": (png_of(65_000, 65_000), TOO_MANY),
    "scans": (many_scans(), NOT_AN_IMAGE),
    "too long": (PNG + b"x" * (images.MAXIMUM_BYTES + 1 - len(PNG)), refusal(413, "File too large")),
    "empty text": (("about", ""), refusal(422, '"about" is not allowed to be empty')),
    "blank name": (("display_name", "  "), refusal(422, '"display_name" is not allowed to be empty')),
    "short name": (
        ("display_name", " x "),
        refusal(422, '"display_name" length must be at least 2 characters long'),
    ),
    "long name": (
        ("display_name", "x" * 31),
        refusal(422, '"display_name" length must be less than or equal to 30 characters long'),
    ),
    "short text": (("about", "four"), refusal(422, '"about" length must be at least 5 characters long')),
    "long text": (
        ("about", "x" * 251),
        refusal(422, '"about" length must be less than or equal to 250 characters long'),
    ),
    "no flag": (("add_to_web_map", "1"), refusal(422, '"add_to_web_map" must be a boolean')),
    "unknown text": (("name", "x"), refusal(422, '"name" is not allowed')),
    "unknown file": (("image", PNG), refusal(422, '"image" is not allowed')),
    "file as text": (("about", PNG), refusal(422, '"about" must be a string')),
    "text as file": (("cover_image", "x"), refusal(422, '"cover_image" must be one file')),
    "second file": (("logo_image", PNG), refusal(422, '"logo_image" must be one file')),
    "NUL": (("about", "12345\0"), refusal(422, '"about" must not hold a NUL character')),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_stored_is_refused_and_changes_nothing(
    alice: Caller, sapling: Wallet, directory: Path, case: str
) -> None:
    before = everything(directory)
    wrong, expected = REFUSED[case]
    part = ("cover_image", wrong) if isinstance(wrong, bytes) else wrong

    response = send(alice, sapling, ("logo_image", PNG), part)

    assert answer(response) == expected
    assert everything(directory) == before


def test_a_form_that_is_none_is_refused(alice: Caller, sapling: Wallet, directory: Path) -> None:
    before = everything(directory)
    path = f"/wallets/{sapling.pk}"
    whole = form(("about", "planted in spring"))

    for body, kind, status in (
        (whole, "multipart/form-data", 400),
        (whole, "text/plain", 415),
        (b"x" * (4 * 1024 * 1024 + 1), f"multipart/form-data; boundary={BOUNDARY}", 413),
    ):
        assert alice.send("PATCH", path, body, **{"content-type": kind}).status_code == status
        assert everything(directory) == before
    # The other endpoints take JSON alone.
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    assert alice.send("POST", "/wallets", whole, **{"content-type": kind}).status_code == 415


def test_only_who_controls_the_wallet_now_changes_it(
    alice: Caller, bob: Caller, sapling: Wallet, directory: Path
) -> None:
    no = refusal(403, "You do not have permission to update this wallet")
    before = everything(directory)
    for content in (PNG, b"hello"):
        assert answer(send(bob, sapling, ("logo_image", content))) == no
    assert answer(send(bob, sapling, ("about", "felled in autumn"))) == no
    assert everything(directory) == before


def test_control_that_ends_while_the_image_is_stored_refuses_it_and_leaves_no_file(
    alice: Caller, sapling: Wallet, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = images.store

    def slow(*arguments: Any, **keywords: Any) -> str:
        name = store(*arguments, **keywords)
        trusts.dismiss_manager(actor=sapling, wallet_id=sapling.pk, manager="alice")
        return name

    monkeypatch.setattr(images, "store", slow)
    assert send(alice, sapling, ("logo_image", PNG)).status_code == 403
    assert stored(directory) == []
    sapling.refresh_from_db()
    assert sapling.logo_url is None


def test_an_image_of_a_request_that_is_rolled_back_is_deleted(
    transactional_db: None,
    alice: Caller,
    sapling: Wallet,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    describe = trusts.describe_wallet

    def overtaken(**keywords: Any) -> None:
        """Refer to an image while another request with the same key is committed."""
        kept = race([lambda: wallets.store_response(
            wallet_id=alice.wallet.pk, key="k-1", fingerprint=b"f" * 32, status=200, body=b"x"
        )])  # fmt: skip
        assert kept == [True]
        assert len(stored(directory)) == 1
        describe(**keywords)

    monkeypatch.setattr(trusts, "describe_wallet", overtaken)
    response = send(alice, sapling, ("logo_image", PNG), **{"idempotency-key": "k-1"})

    assert response.status_code == 409
    sapling.refresh_from_db()
    assert sapling.logo_url is None
    assert stored(directory) == []


@pytest.mark.parametrize("lost", [OperationalError, InterfaceError])
def test_an_image_stays_if_it_is_unknown_whether_a_wallet_refers_to_it(
    alice: Caller, sapling: Wallet, directory: Path, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    describe = trusts.describe_wallet

    def cut(**keywords: Any) -> None:
        describe(**keywords)
        raise lost("the connection was cut while it committed")

    monkeypatch.setattr(trusts, "describe_wallet", cut)

    assert send(alice, sapling, ("logo_image", PNG)).status_code == 503
    sapling.refresh_from_db()
    assert sapling.logo_url is not None
    assert [images.own_name(sapling.logo_url, wallet_id=sapling.pk)] == stored(directory)


def test_an_image_of_a_request_that_another_with_its_key_has_answered_is_deleted(
    transactional_db: None, alice: Caller, sapling: Wallet, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = images.store

    def overtaken(*arguments: Any, **keywords: Any) -> str:
        """Store an image; meanwhile the same request is committed by another process."""
        race([lambda: wallets.store_response(
            wallet_id=alice.wallet.pk, key="k-1", fingerprint=b"f" * 32, status=200,
            body=idempotency._seal(b'{"first":1}', f"{alice.wallet.pk}\nk-1"),
        )])  # fmt: skip
        return store(*arguments, **keywords)

    monkeypatch.setattr(images, "store", overtaken)
    monkeypatch.setattr(idempotency, "fingerprint", lambda request: b"f" * 32)
    response = send(alice, sapling, ("logo_image", PNG), **{"idempotency-key": "k-1"})

    assert (response.status_code, response.content) == (200, b'{"first":1}')
    assert response["Idempotency-Replayed"] == "true"
    assert everything(directory)[1] == []


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k-1"}], ids=["without a key", "with a key"])
def test_no_transaction_is_open_while_an_image_is_stored(
    transactional_db: None,
    alice: Caller,
    sapling: Wallet,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
) -> None:
    store, seen = images.store, []

    def watched(*arguments: Any, **keywords: Any) -> str:
        seen.append(connection.in_atomic_block)
        return store(*arguments, **keywords)

    monkeypatch.setattr(images, "store", watched)
    parts = ("about", "planted in spring"), ("logo_image", PNG), ("cover_image", PNG)
    first, again = (send(alice, sapling, *parts, **headers) for _ in range(2))

    assert seen == [False, False] * (1 if headers else 2)
    assert (first.status_code, again.status_code) == (200, 200)
    sapling.refresh_from_db()
    assert sapling.about == "planted in spring"
    assert {str(url).rpartition("/")[2] for url in (sapling.logo_url, sapling.cover_url)} == set(stored(directory))
    assert (first.content == again.content) is bool(headers)


def test_wallets_of_one_api_key_leave_a_thread_for_those_of_others(
    alice: Caller, bob: Caller, sapling: Wallet, directory: Path
) -> None:
    bob.api_key = wallets.create_api_key(name="another partner")[1]
    key = ApiKey.objects.get(name="another partner").pk
    with limits.images_of(sapling.pk, api_key_id=key), limits.images_of(uuid.uuid4(), api_key_id=key):
        response = send(bob, bob.wallet, ("logo_image", PNG))
        assert answer(response) == refusal(429, "Other images with this API key are being stored, try again")
        assert response["Retry-After"] == "1"
        assert everything(directory)[1] == []
        assert send(alice, sapling, ("logo_image", PNG)).status_code == 200
    assert send(bob, bob.wallet, ("logo_image", PNG)).status_code == 200
    assert not limits._images_by_key


def test_a_second_request_of_a_wallet_with_images_is_refused_while_the_first_is_processed(
    alice: Caller, bob: Caller, sapling: Wallet, directory: Path
) -> None:
    with limits.images_of(alice.wallet.pk, api_key_id=None):
        response = send(alice, sapling, ("logo_image", PNG))
        assert answer(response) == refusal(429, "Another image of this wallet is being stored, try again")
        assert response["Retry-After"] == "1"
        assert everything(directory)[1] == []
        assert send(alice, sapling, ("about", "planted in spring")).status_code == 200
        assert send(bob, bob.wallet, ("logo_image", PNG)).status_code == 200
    assert send(alice, sapling, ("logo_image", PNG)).status_code == 200
    assert send(alice, sapling, ("logo_image", PNG)).status_code == 200


# --- how images are stored -----------------------------------------------------------------------


def decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(images.reencoded(content).content))
    image.load()
    return image


def test_an_image_is_upright_and_without_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010E] = "where I live"
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "where I live")

    for content in (
        encoded(wide, "JPEG", exif=exif, comment="where I live", icc_profile=profile),
        encoded(wide, "PNG", exif=exif, pnginfo=text, icc_profile=profile),
    ):
        kept = images.reencoded(content + b"<script>alert()</script>").content
        image = decoded(content)
        assert image.size == (20, 40)
        assert not image.getexif()
        assert not {"exif", "comment", "Comment", "icc_profile"} & set(image.info)
        for trace in (b"where I live", b"<script>", b"ICC", b"Exif"):
            assert trace not in kept


@pytest.mark.parametrize(
    ("content", "mode", "pixel"),
    [
        (encoded(square((0, 255, 255, 0), mode="CMYK"), "JPEG"), "RGB", (255, 0, 0)),
        (encoded(square(100, mode="L"), "JPEG"), "L", 100),
        (encoded(square(0x8000, mode="I;16")), "L", 128),
        (encoded(square(200, mode="L")), "L", 200),
        (encoded(square((200, 30, 30, 77), mode="RGBA")), "RGBA", (200, 30, 30, 77)),
        (encoded(square((90, 128), mode="LA")), "RGBA", (90, 90, 90, 128)),
        (encoded(square().quantize(4)), "RGB", (200, 30, 30)),
        (encoded(square().quantize(4), transparency=0), "RGBA", (200, 30, 30, 0)),
        (encoded(square(1, mode="1")), "RGB", (255, 255, 255)),
        (encoded(square(), save_all=True, append_images=[square((0, 0, 255))]), "RGB", (200, 30, 30)),
    ],
    ids=["CMYK", "grey JPEG", "16 bits", "grey", "transparent", "grey, transparent", "palette", "palette, transparent",
         "bits", "animated"],
)  # fmt: skip
def test_an_image_of_any_kind_looks_the_same_in_8_bits(content: bytes, mode: str, pixel: Any) -> None:
    image = decoded(content)

    assert image.mode == mode
    assert getattr(image, "n_frames", 1) == 1
    found, wanted = (value if isinstance(value, tuple) else (value,) for value in (image.getpixel((4, 4)), pixel))
    assert all(abs(one - other) <= 3 for one, other in zip(found, wanted, strict=True)), found


def test_a_large_image_is_made_smaller_in_pixels_and_bytes() -> None:
    assert decoded(encoded(square(size=(4000, 4000)))).size == (2048, 2048)
    assert decoded(encoded(square(size=(5000, 100)), "JPEG")).size == (2048, 41)
    noise = Image.effect_noise((1000, 1000), 100)
    kept = images.reencoded(encoded(noise, "JPEG"))
    assert len(kept.content) <= images.MAXIMUM_BYTES
    kept = images.reencoded(encoded(Image.merge("RGB", [Image.effect_noise((580, 580), 100)] * 3)))
    assert len(kept.content) <= images.MAXIMUM_BYTES


def test_files_of_any_bytes_are_an_image_or_refused() -> None:
    """Each prefix of a file, and the file with each of its first bytes changed."""
    for whole in (PNG, encoded(square(), "JPEG", progressive=True)):
        for at in range(len(whole)):
            for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
                with contextlib.suppress(errors.NotAnImage, errors.TooManyPixels):
                    assert images.reencoded(content).suffix in images.MEDIA_TYPES


@pytest.mark.django_db(transaction=True)
def test_an_image_is_on_the_disk_before_a_wallet_refers_to_it(
    alice: Caller, sapling: Wallet, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        sapling.refresh_from_db()
        flushed.append((os.readlink(f"/proc/self/fd/{descriptor}"), sapling.logo_url))

    monkeypatch.setattr(os, "fsync", noted)
    _, body = answer(send(alice, sapling, ("logo_image", PNG)))

    path = directory / body["logo_url"].rpartition("/")[2]
    assert flushed == [(str(path), None), (str(directory), None)]


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k-1"}], ids=["without a key", "with a key"])
def test_a_form_counts_as_one_request(
    alice: Caller, sapling: Wallet, address: str, settings: Any, headers: dict[str, str]
) -> None:
    settings.REQUESTS_PER_MINUTE = 5

    response = send(alice, sapling, ("logo_image", PNG), **headers)

    assert response.status_code == 200
    assert response.headers["RateLimit"].startswith('"wallet";r=4;t=')


# --- what replaces an image ----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_replaced_image_is_deleted_after_the_commit(
    alice: Caller, sapling: Wallet, directory: Path, address: str
) -> None:
    first = answer(send(alice, sapling, ("logo_image", PNG), ("cover_image", PNG)))[1]
    second = answer(send(alice, sapling, ("logo_image", PNG), **{"idempotency-key": "logo"}))[1]
    again = answer(send(alice, sapling, ("logo_image", PNG), **{"idempotency-key": "logo"}))[1]

    assert again == second
    assert second["cover_url"] == first["cover_url"]
    assert second["logo_url"] != first["logo_url"]
    assert stored(directory) == sorted(second[name].rpartition("/")[2] for name in ("logo_url", "cover_url"))
    assert fetched(alice, first["logo_url"])[0].status_code == 404

    with transaction.atomic():
        trusts.describe_wallet(actor=alice.wallet, wallet_id=sapling.pk, logo_url="https://example.org/1.png")
        transaction.set_rollback(True)
    assert len(stored(directory)) == 2
    assert fetched(alice, second["logo_url"])[0].status_code == 200


@pytest.mark.django_db(transaction=True)
def test_images_of_other_wallets_stay_whatever_url_a_wallet_has(
    alice: Caller, bob: Caller, sapling: Wallet, directory: Path, address: str
) -> None:
    victim = answer(send(alice, alice.wallet, ("logo_image", PNG)))[1]["logo_url"]
    bulk.create_batch(actor=bob.wallet, rows=[bulk.Row(2, "thief", None, logo_url=victim)])
    thief = Wallet.objects.get(name="thief")

    assert send(bob, thief, ("logo_image", PNG)).status_code == 200

    assert victim.rpartition("/")[2] in stored(directory)
    assert len(stored(directory)) == 2


@pytest.mark.django_db(transaction=True)
def test_of_images_sent_at_once_the_last_stays_and_no_other(
    alice: Caller, sapling: Wallet, directory: Path, address: str
) -> None:
    statuses: list[int] = []

    def change() -> None:
        try:
            while (status := send(alice, sapling, ("logo_image", PNG)).status_code) == 429:
                pass
            statuses.append(status)
        finally:
            connection.close()

    threads = [threading.Thread(target=change) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 6
    sapling.refresh_from_db()
    assert stored(directory) == [str(sapling.logo_url).rpartition("/")[2]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_lock", [True, False], ids=["", "control"])
def test_a_change_that_waits_for_another_deletes_the_image_of_that_one(
    sapling: Wallet, directory: Path, address: str, has_lock: bool
) -> None:
    """Without the lock the second change has read the wallet before the first, whose file then stays."""
    names = [images.store(images.reencoded(PNG), wallet_id=sapling.pk) for _ in range(2)]

    def strip(execute: Any, sql: str, *arguments: Any) -> Any:
        return execute(sql if has_lock else sql.replace("FOR NO KEY UPDATE", ""), *arguments)

    changed, waits = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            wallets.change_wallet(wallet_id=sapling.pk, logo_url=f"{address}/{names[0]}")
            changed.set()
            assert waits.wait(PATIENCE_SECONDS)

    def second() -> None:
        assert changed.wait(PATIENCE_SECONDS)
        with transaction.atomic(), connection.execute_wrapper(strip):
            wallets.change_wallet(wallet_id=sapling.pk, logo_url=f"{address}/{names[1]}")

    def watch() -> None:
        assert changed.wait(PATIENCE_SECONDS)
        wait_until_waiting(1)
        waits.set()

    assert race([first, second, watch]) == [None] * 3
    assert Wallet.objects.get(pk=sapling.pk).logo_url == f"{address}/{names[1]}"
    assert stored(directory) == (names[1:] if has_lock else sorted(names))


@pytest.mark.parametrize("part", ["logo_image", "cover_image"])
def test_a_storage_that_fails_is_503_and_changes_nothing(
    alice: Caller, sapling: Wallet, directory: Path, part: str
) -> None:
    directory.write_text("a file where the directory should be")

    response = send(alice, sapling, ("about", "planted in spring"), (part, PNG))

    assert answer(response) == refusal(503, "The image could not be stored, try again")
    assert response["Retry-After"] == "5"
    sapling.refresh_from_db()
    assert (sapling.about, sapling.logo_url, sapling.cover_url) == ("", None, None)


def test_a_storage_that_does_not_delete_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise PermissionError(name)

    monkeypatch.setattr(default_storage, "delete", fail)
    images.delete("x.png")
