"""Where a job's first tensors come from: a checkpoint of another job, or a safetensors file.

What is read is what was pinned when the job was submitted, to the last byte, or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import unquote

from workers.checkpoint import safetensors_file
from workers.checkpoint.load import read_manifest, read_tensors
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.tensors import RawTensor, TensorSpec
from workers.errors import CheckpointError
from workers.protocol import InitFrom
from workers.storage import NotFound, Store

FILE_SUFFIX = ".safetensors"
_PART_BYTES = 64 * 2**20
_AGAIN = "submit the job again to begin with what is there now"

R = TypeVar("R")


class Source(Protocol):
    """Tensors that were saved earlier.

    Attributes:
        specs: what is there, by key.
        manifest: the checkpoint, if it is one.
    """

    specs: Mapping[str, TensorSpec]
    manifest: Manifest | None

    def read(self, keys: Iterable[str]) -> dict[str, RawTensor]:
        """Tensors by key.

        Raises:
            CheckpointError: something is missing, or not what was pinned.
        """


def open_source(start: InitFrom) -> Source:
    """What a job begins with, at the version that was pinned.

    Raises:
        CheckpointError: it is gone, or another one.
        AccessError, UnreachableError: the store refused or is gone.
    """
    if start.step is None:
        return SavedFile(start.uri, start.digest)
    store = Store(start.uri)
    manifest = read_manifest(store, start.step)
    if manifest.digest != start.digest:
        what = f"step {start.step} is another checkpoint than when the job was submitted"
        raise CheckpointError(what, where=f"init_from: {start.uri}", fix=_AGAIN)
    return SavedCheckpoint(store, manifest)


class SavedCheckpoint:
    """A checkpoint of another job; see `Source`.

    Args:
        store: the checkpoint folder.
        manifest: which checkpoint.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store, self._manifest = store, manifest
        self.manifest: Manifest | None = manifest
        self.specs: Mapping[str, TensorSpec] = manifest.tensors

    def read(self, keys: Iterable[str]) -> dict[str, RawTensor]:
        """See `Source.read`."""
        return read_tensors(self._store, self._manifest, keys)


class SavedFile:
    """A safetensors file; see `Source`.

    If it has no key `model/...`, its keys are taken for names of parameters and buffers.

    Args:
        uri: the file.
        digest: its SHA-256.
    """

    manifest: Manifest | None = None

    def __init__(self, uri: str, digest: str) -> None:
        self._uri, self._digest = uri, digest
        self._store, self._name = _split(uri)
        header = _found(uri, self._header)
        self._prefix = "" if any(key.startswith("model/") for key in header) else "model/"
        self._places = {f"{self._prefix}{key}": place for key, place in header.items()}
        self.specs: Mapping[str, TensorSpec] = {key: spec for key, (spec, _) in self._places.items()}

    def read(self, keys: Iterable[str]) -> dict[str, RawTensor]:
        """See `Source.read`. Reads all of the file: its digest is that of all its bytes."""
        wanted = sorted(keys)
        buffers = {key: bytearray(self.specs[key].nbytes) for key in wanted}
        digest = hashlib.sha256()
        for position, part in _found(self._uri, lambda: _parts(self._store, self._name)):
            digest.update(part)
            for key in wanted:
                _copy_overlap(buffers[key], self._places[key][1], part, position)
        if digest.hexdigest() != self._digest:
            what = "the file is another one than when the job was submitted"
            raise CheckpointError(what, where=f"init_from: {self._uri}", fix=_AGAIN)
        return {
            key: RawTensor(
                dtype=self.specs[key].dtype, shape=self.specs[key].shape, data=memoryview(buffers[key])
            )
            for key in wanted
        }

    def _header(self) -> dict[str, tuple[TensorSpec, int]]:
        size = self._store.head(self._name).size
        try:
            first = self._store.get_range(self._name, 0, 8)
            head = self._store.get_range(self._name, 0, safetensors_file.body_offset(first))
            return safetensors_file.read_header(head, size)
        except ValueError as error:
            fix = "name a .safetensors file, or a job's checkpoint folder"
            raise CheckpointError(str(error), where=f"init_from: {self._uri}", fix=fix) from None


def file_digest(uri: str) -> str:
    """The SHA-256 of a file's bytes, read in parts.

    Raises:
        CheckpointError: there is no such file.
        AccessError, UnreachableError: the store refused or is gone.
    """
    store, name = _split(uri)
    digest = hashlib.sha256()
    for _, part in _found(uri, lambda: _parts(store, name)):
        digest.update(part)
    return digest.hexdigest()


def _split(uri: str) -> tuple[Store, str]:
    folder, _, name = uri.rpartition("/")
    return Store(folder), unquote(name)


def _parts(store: Store, name: str) -> Iterator[tuple[int, memoryview]]:
    size = store.head(name).size
    return (
        (position, store.get_range(name, position, min(_PART_BYTES, size - position)))
        for position in range(0, size, _PART_BYTES)
    )


def _copy_overlap(target: bytearray, start: int, part: memoryview, position: int) -> None:
    """Copy what a part of the file, from `position` on, holds of a tensor that begins at `start`."""
    first, last = max(start, position), min(start + len(target), position + len(part))
    if first < last:
        target[first - start : last - start] = part[first - position : last - position]


def _found(uri: str, call: Callable[[], R]) -> R:
    try:
        return call()
    except NotFound:
        fix = "name a .safetensors file, or a job's checkpoint folder"
        raise CheckpointError("there is no such file", where=f"init_from: {uri}", fix=fix) from None
