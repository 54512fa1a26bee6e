"""Images of wallets that are kept on the file system."""

from typing import Final

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse

from config.settings.s3 import CACHING
from wallets.images import MEDIA_TYPES

# Nothing in a file that a browser opens by itself is executed.
POLICY: Final = "default-src 'none'; sandbox"


def image(request: HttpRequest, name: str) -> HttpResponse | FileResponse:
    """Serve an image from the directory of COPPICE_MEDIA to any client. An image in an S3 store is not served here."""
    if request.method not in {"GET", "HEAD"} or not settings.MEDIA_IS_LOCAL:
        raise Http404
    try:
        file = default_storage.open(name)
    except OSError:
        raise Http404 from None
    return FileResponse(
        file,
        content_type=MEDIA_TYPES[name.rpartition(".")[2]],
        headers={
            "Cache-Control": CACHING,
            "Content-Security-Policy": POLICY,
            # Pages of other origins show them.
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )
