"""Images in an S3 store: what is sent to it, and where its settings come from."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage
from pydantic import ValidationError

from config.dev.embedded import ROOT
from config.environment import Environment
from config.settings import s3
from wallets import errors, images

PICTURE = images.Picture(b"a picture", "png")


class Store(BaseHTTPRequestHandler):
    """A store of objects that answers as S3 does: 404 for what it does not have."""

    objects: ClassVar[dict[str, tuple[bytes, dict[str, str]]]] = {}
    status: ClassVar[int] = 200

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.status == 200:
            self.objects[self.path] = content, dict(self.headers.items())
        self._answer(self.status)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path in self.objects else 404)

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def store(settings: Any) -> Iterator[type[Store]]:
    Store.objects, Store.status = {}, 200
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.STORAGES = settings.STORAGES | {
        "default": s3.store(
            bucket="pictures",
            endpoint=f"http://127.0.0.1:{server.server_port}",
            region="eu-central-1",
            access_key="an access key",
            secret_key="a secret",
        )
    }
    yield Store
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_image_is_put_into_the_bucket_for_ever_and_deleted(store: type[Store]) -> None:
    wallet_id = uuid4()

    name = images.store(PICTURE, wallet_id=wallet_id)

    assert re.fullmatch(images.NAME, name)
    assert list(store.objects) == [f"/pictures/{name}"]
    content, headers = store.objects[f"/pictures/{name}"]
    assert b"a picture" in content
    assert headers["Content-Type"] == "image/png"
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "Credential=an access key/" in headers["Authorization"]
    assert images.own_name(default_storage.url(name), wallet_id=wallet_id) == name
    images.delete(name)
    assert store.objects == {}


def test_a_store_that_refuses_is_an_error_that_the_caller_hears_of(store: type[Store]) -> None:
    store.status = 403
    with pytest.raises(errors.ImageNotStored):
        images.store(PICTURE, wallet_id=uuid4())
    assert store.objects == {}


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"media_s3_bucket": "pictures"}, "needs COPPICE_MEDIA_URL"),
        ({"media_url": "images.example.org"}, "must look like https://images.example.org"),
        ({"media_url": "https://images.example.org/?q"}, "must look like https://images.example.org"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(variables: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Environment(**variables)


def test_a_store_has_the_url_that_is_set() -> None:
    assert Environment(media_url="https://images.example.org/x/", media_s3_bucket="p").media_url[-2:] == "/x"
    assert Environment(media="").media is None


def test_the_container_keeps_images_in_its_volume() -> None:
    compose = (ROOT / "docker/compose.yml").read_text()
    directory = re.search(r"COPPICE_MEDIA: (\S+)", compose)

    assert directory is not None
    assert f'volumes: ["media:{directory[1]}"]' in compose
    assert f"install -d -o coppice {directory[1]}" in (ROOT / "docker/Dockerfile").read_text()
    assert re.search(r"^volumes:\n(  \w+:\n)*  media:\n", compose, re.MULTILINE)
    unit = (ROOT / "docker/systemd/coppice-web.service").read_text()
    assert f" COPPICE_MEDIA={directory[1]}\n" in unit
    assert "StateDirectory=coppice/media\n" in unit
