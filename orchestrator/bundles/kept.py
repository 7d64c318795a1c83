"""Bundles in an object store, named by their content: sent once, kept once."""

from __future__ import annotations

from orchestrator.bundles.pack import Bundle
from workers.bundles.limits import LIMITS, Limits
from workers.bundles.unpack import verify
from workers.errors import InputError
from workers.storage import AlreadyExists, NotFound, Store


def bundle_name(sha256: str) -> str:
    """The object that holds a bundle."""
    return f"bundles/{sha256}"


def is_stored(store: Store, sha256: str) -> bool:
    """Whether a bundle need not be sent again.

    Raises:
        AccessError, UnreachableError: see `Store`.
    """
    return store.exists(bundle_name(sha256))


def keep(store: Store, bundle: Bundle) -> bool:
    """Store a bundle; returns whether it was new.

    Raises:
        AccessError, UnreachableError: see `Store`.
    """
    try:
        store.create(bundle_name(bundle.sha256), bundle.data)
    except AlreadyExists:
        return False
    return True


def fetch(store: Store, sha256: str, limits: Limits = LIMITS) -> memoryview:
    """The archive of a stored bundle, checked.

    Raises:
        InputError: it is not there, or is another one by now (BadArchive).
        AccessError, UnreachableError: see `Store`.
    """
    try:
        data = store.get_view(bundle_name(sha256))
    except NotFound as error:
        fix = "submit the job again: its folder is then sent anew"
        raise InputError("there is no such bundle", where=store.url(bundle_name(sha256)), fix=fix) from error
    verify(data, sha256, limits)
    return data
