"""The clients behind a store, with the AWS SDK's own settings and credentials, and how patient they are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workers.errors import AccessError, InputError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_CONNECT = timedelta(seconds=5)
_PATIENCE: ClientConfig = {"connect_timeout": _CONNECT, "timeout": timedelta(seconds=60)}
_RETRIES: RetryConfig = {"max_retries": 6, "retry_timeout": timedelta(seconds=30)}
#: Training waits for ranged reads. A server that falls silent is asked again soon; one that is only slow may
#: take its time.
_READING: ClientConfig = {
    "connect_timeout": _CONNECT,
    "read_timeout": timedelta(seconds=10),  # without a byte
    "timeout": timedelta(minutes=10),
}


def clients(uri: str) -> tuple[ObjectStore, ObjectStore]:
    """A client for the store of a `file://` or `s3://` URI, and one for ranged reads.

    Raises:
        InputError: the URI has another scheme or names nothing.
        AccessError: there are no usable AWS settings.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc or len(parts.path) < 2:
            raise InputError("not an absolute path", where=uri, fix="write file:///absolute/folder")
        from obstore.store import LocalStore

        local = LocalStore()
        return local, local
    if parts.scheme == "s3":
        if not parts.netloc:
            raise InputError("no bucket named", where=uri, fix="write s3://bucket/prefix")
        return _s3(parts.netloc)
    fix = "use file:///absolute/folder or s3://bucket/prefix"
    raise InputError("unknown kind of address", where=uri or "(empty)", fix=fix)


def _s3(bucket: str) -> tuple[ObjectStore, ObjectStore]:
    """Clients whose endpoint, region and credentials are what boto3 would use for this environment."""
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    try:
        session = boto3.session.Session()
        endpoint = session.client("s3").meta.endpoint_url
        credentials = Boto3CredentialProvider(session)
    except (BotoCoreError, ValueError) as error:
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise AccessError(f"no usable AWS settings: {error}", where=f"s3://{bucket}", fix=fix) from error

    def client(patience: ClientConfig) -> ObjectStore:
        return S3Store(
            bucket,
            endpoint=endpoint,
            region=session.region_name or "us-east-1",
            virtual_hosted_style_request=False,
            credential_provider=credentials,
            client_options={**patience, "allow_http": endpoint.startswith("http://")},
            retry_config=_RETRIES,
        )

    return client(_PATIENCE), client(_READING)
