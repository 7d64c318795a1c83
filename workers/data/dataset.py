"""A data set: a manifest in a store, and the objects that it describes, there or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from workers.data.manifest import FOLDER, BlockSpec, Manifest, earlier_versions
from workers.errors import DataError
from workers.storage import NotFound, Store

#: Says where the objects are, if not beside the manifest. It is no part of the data set's identity.
HOME = f"{FOLDER}/home.txt"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that can be read.

    Args:
        store: the prefix that the manifest's object names are relative to.
        manifest: its blocks.
    """

    store: Store
    manifest: Manifest

    @classmethod
    def open(cls, uri: str, *, digest: str | None = None) -> Dataset:
        """Open the data set at `uri`.

        Args:
            uri: `file:///folder` or `s3://bucket/prefix`, where its manifest is.
            digest: its manifest's digest, or how that begins, if it is to be the version that the caller has
                seen before. By default, the newest one.

        Raises:
            DataError: nothing is there, or it has no manifest, no samples, or no such version.
            AccessError, UnreachableError: from the store.
        """
        store = Store(uri)
        try:
            manifest = Manifest.load(store)
        except NotFound as error:
            raise _no_manifest(store) from error
        if digest is not None and not manifest.digest.startswith(digest):
            manifest = _earlier(store, digest, newest=manifest.digest)
        if not manifest.rows:
            raise DataError("the data set holds no samples", where=uri, fix="pack or index some data")
        return cls(store=home(store), manifest=manifest)

    @property
    def rows(self) -> int:
        """Samples in the data set."""
        return self.manifest.rows

    def address(self, block: BlockSpec) -> str:
        """Where a block is stored, for messages."""
        return f"{self.store.url(block.object)} at byte {block.offset}"


def home(store: Store) -> Store:
    """Where the objects are that the manifest in `store` describes."""
    try:
        return Store(store.get(HOME).decode().strip())
    except NotFound:
        return store


def _earlier(store: Store, digest: str, *, newest: str) -> Manifest:
    """An earlier version of the manifest in `store`, by its digest or how that begins."""
    found = {full: name for full, name in earlier_versions(store).items() if full.startswith(digest)}
    if not found:
        fix = f"restore the data set whose digest is {digest[:12]}, or start a new job"
        raise DataError(f"this is another data set ({newest[:12]})", where=store.uri, fix=fix)
    if len(found) > 1:
        what = f"{len(found)} versions begin with {digest}"
        raise DataError(what, where=store.uri, fix=f"name one of {', '.join(sorted(found))}")
    [name] = found.values()
    return Manifest.from_bytes(store.get(name), where=store.url(name))


def _no_manifest(store: Store) -> DataError:
    if next(store.list(), None) is None:
        fix = "check the address, or write a data set there: lockstep data pack SRC " + store.uri
        return DataError("there is nothing here", where=store.uri, fix=fix)
    fix = f"lockstep data index {store.uri}"
    return DataError("there are objects here, but no manifest of them", where=store.uri, fix=fix)
