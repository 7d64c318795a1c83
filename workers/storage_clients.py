"""The clients behind a store, with the settings of each cloud's own SDK, and how patient they are."""

from __future__ import annotations

import os
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
    """A client for the store of a URI, and one for ranged reads.

    Args:
        uri: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.

    Raises:
        InputError: the URI has another scheme or names nothing.
        AccessError: there are no usable settings for that cloud.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc or len(parts.path) < 2:
            raise InputError("not an absolute path", where=uri, fix="write file:///absolute/folder")
        from obstore.store import LocalStore

        local = LocalStore()
        return local, local
    if parts.scheme not in _CLOUDS:
        fix = "use file:///absolute/folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        raise InputError("unknown kind of address", where=uri or "(empty)", fix=fix)
    if not parts.netloc:
        fix = f"write {parts.scheme}://bucket/prefix"
        raise InputError("no bucket named", where=uri, fix=fix)
    return _CLOUDS[parts.scheme](parts.netloc)


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


def _google(bucket: str) -> tuple[ObjectStore, ObjectStore]:
    """With Google's application default credentials."""
    from obstore.exceptions import BaseError
    from obstore.store import GCSStore

    try:
        return (
            GCSStore(bucket, client_options=_PATIENCE, retry_config=_RETRIES),
            GCSStore(bucket, client_options=_READING, retry_config=_RETRIES),
        )
    except BaseError as error:
        fix = "log in: gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
        what = f"no usable Google settings: {_first_line(error)}"
        raise AccessError(what, where=f"gs://{bucket}", fix=fix) from error


def _azure(container: str) -> tuple[ObjectStore, ObjectStore]:
    """With Azure's own variables: AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, ..."""
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore

    plain = os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://")

    def client(patience: ClientConfig) -> ObjectStore:
        options: ClientConfig = {**patience, "allow_http": plain}
        return AzureStore(container, client_options=options, retry_config=_RETRIES)

    try:
        return client(_PATIENCE), client(_READING)
    except BaseError as error:
        fix = "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or a managed identity"
        what = f"no usable Azure settings: {_first_line(error)}"
        raise AccessError(what, where=f"az://{container}", fix=fix) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


_CLOUDS = {"s3": _s3, "gs": _google, "az": _azure}
