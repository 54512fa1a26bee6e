"""The settings of an S3 store for images of wallets."""

from typing import Any, Final

# A stored image never changes (`wallets.images`).
CACHING: Final = "public, max-age=31536000, immutable"
_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 5


def store(*, bucket: str, endpoint: str, region: str, access_key: str, secret_key: str) -> dict[str, Any]:
    """Return the entry of STORAGES for an S3 store (django-storages). Without a key, boto3 finds credentials itself."""
    # Only here: importing it takes half a second.
    from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415

    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": bucket,
            "endpoint_url": endpoint or None,
            "region_name": region or None,
            "access_key": access_key or None,
            "secret_key": secret_key or None,
            "file_overwrite": False,
            "querystring_auth": False,
            "object_parameters": {"CacheControl": CACHING},
            "client_config": Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path"} if endpoint else None,
            ),
        },
    }
