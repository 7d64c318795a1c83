"""The user's words for what a store said: from a client's exceptions to our own."""

from __future__ import annotations

import re

from workers.errors import AccessError, InputError, LockstepError, UnreachableError


class NotFound(InputError):
    """There is no such object. The caller decides what that means."""


class AlreadyExists(InputError):
    """A conditional create lost: the object is there. The caller decides what that means."""


class Changed(InputError):
    """A conditional read lost: the object is not the version that was asked for."""


_CHECK_KEYS = "check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, ...) and the bucket's policy"
_CHECK_ENDPOINT = "create the bucket, or check its name, AWS_ENDPOINT_URL_S3 and AWS_REGION"

#: S3's own error codes that a user can act on: what was wrong, and what would be right. They are looked at
#: before the client's exception types, which call many of them "generic".
_CODES: dict[str, tuple[str, str]] = {
    "AccessDenied": ("these credentials have no permission for this", _CHECK_KEYS),
    "AllAccessDisabled": ("the bucket is disabled", "ask the bucket's owner"),
    "ExpiredToken": ("the credentials have expired", "log in again and retry"),
    "InvalidAccessKeyId": ("the access key is unknown to the store", _CHECK_KEYS),
    "InvalidBucketName": ("not a valid bucket name", _CHECK_ENDPOINT),
    "InvalidToken": ("the session token is not valid", "log in again, or unset AWS_SESSION_TOKEN"),
    "NoSuchBucket": ("there is no such bucket", _CHECK_ENDPOINT),
    "PermanentRedirect": ("the bucket is in another region", "set AWS_REGION to the bucket's region"),
    "QuotaExceeded": ("the store's quota is used up", "free some space or ask for a larger quota"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set the clock (NTP) and retry"),
    "SignatureDoesNotMatch": ("the secret key does not fit the access key", _CHECK_KEYS),
}
_CODE = re.compile(r"<Code>(\w+)</Code>")
_FORBIDDEN = re.compile(r"status code: 40[13]\b")


def translate(error: Exception, url: str) -> LockstepError:
    """The error of ours that says what `error`, raised by a store's client for `url`, means.

    Returns:
        `NotFound`, `AlreadyExists`, `Changed`, `AccessError`, or else `UnreachableError`.
    """
    from obstore import exceptions

    text = str(error).split("\n\nDebug source", 1)[0].strip()
    code = _CODE.search(text)
    if code and code[1] in _CODES:
        what, fix = _CODES[code[1]]
        return AccessError(f"{what} ({code[1]})", where=url, fix=fix)
    if isinstance(error, FileNotFoundError):
        return NotFound("there is no such object", where=url)
    if isinstance(error, (exceptions.AlreadyExistsError, FileExistsError)):
        return AlreadyExists("the object exists already", where=url)
    if isinstance(error, exceptions.PreconditionError):
        return Changed("the object is not the version that was asked for", where=url)
    refused = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)
    if isinstance(error, refused) or _FORBIDDEN.search(text):
        return AccessError("the store refused access", where=url, fix=_CHECK_KEYS)
    if isinstance(error, OSError):
        fix = "free some space or choose another folder"
        return AccessError(error.strerror or text, where=url, fix=fix)
    return UnreachableError(f"the store does not answer as it should: {text}", where=url)
