"""What can be compared: a checkpoint, or a file that one was exported to. Both are read range by range."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from workers.checkpoint.load import history, read_manifest
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import read_chunk
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError, LockstepError
from workers.storage import Store

Json = Any

_LENGTH_BYTES = 8
_HEADER_BYTES_MAX = 100 * 2**20  # the format's own limit
#: What of a manifest is said by name; the tensors and their bytes are compared for themselves, and what the
#: job is called, or which checkpoint this one follows, is no part of the state.
_FACTS = (
    *("step", "epoch", "samples", "seed", "virtual_ranks", "batch_size", "max_grad_norm", "numerics"),
    *("recipe", "sources", "params", "data", "fingerprint", "scalars"),
)


class Span(NamedTuple):
    """Elements `start` to `stop` of a tensor, and the hash of the chunk that holds them, if one does."""

    start: int
    stop: int
    sha256: str | None


class Side(Protocol):
    """One of two states that are compared.

    Attributes:
        where: its address, for people.
        specs: its tensors by key.
        facts: what it says of where it comes from; None if it says nothing.
    """

    where: str
    specs: Mapping[str, TensorSpec]
    facts: Mapping[str, Json] | None

    def spans(self, key: str) -> list[Span]:
        """The runs of a tensor's elements that can be read at once, in order."""

    def read(self, key: str, start: int, stop: int) -> memoryview:
        """The bytes of elements within one span."""


class CheckpointSide:
    """A checkpoint: chunks are verified when they are read, and the last one is held.

    Args:
        store: the job's checkpoint folder.
        manifest: which checkpoint.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.where = f"{store.uri}@{manifest.step}"
        self.specs: Mapping[str, TensorSpec] = manifest.tensors
        self.facts: Mapping[str, Json] | None = {name: getattr(manifest, name) for name in _FACTS}
        self._store, self._manifest = store, manifest
        self._held: tuple[int, dict[str, memoryview]] = -1, {}
        self._homes: dict[str, list[tuple[Span, int]]] = defaultdict(list)
        for number, record in enumerate(manifest.chunks):
            for piece in record.pieces:
                span = Span(piece.start, piece.stop, record.sha256)
                self._homes[piece.key].append((span, number))
        for homes in self._homes.values():
            homes.sort()

    def spans(self, key: str) -> list[Span]:
        """See `Side`."""
        return [span for span, _ in self._homes[key]]

    def read(self, key: str, start: int, stop: int) -> memoryview:
        """See `Side`.

        Raises:
            CheckpointError: the chunk is missing or altered.
        """
        span, number = next(home for home in self._homes[key] if home[0].start <= start < home[0].stop)
        if self._held[0] != number:
            self._held = -1, {}  # let go of before the next is fetched
            pieces = read_chunk(self._store, self._manifest, number)
            self._held = number, {piece.key: data for piece, data in pieces}
        item = self.specs[key].item_bytes
        return self._held[1][key][(start - span.start) * item : (stop - span.start) * item]


class FileSide:
    """A safetensors file.

    Raises:
        CheckpointError: it is none.
    """

    facts: Mapping[str, Json] | None = None

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        try:
            self._file = path.open("rb")
            (length,) = struct.unpack("<Q", self._file.read(_LENGTH_BYTES))
            if length > _HEADER_BYTES_MAX:
                raise ValueError("its header is too long")
            table = json.loads(self._file.read(length))
            table.pop("__metadata__", None)
            self.specs: Mapping[str, TensorSpec] = {
                key: TensorSpec(dtype=entry["dtype"], shape=tuple(entry["shape"]))
                for key, entry in table.items()
            }
            self._starts = {
                key: _LENGTH_BYTES + length + entry["data_offsets"][0] for key, entry in table.items()
            }
        except OSError as error:
            fix = "name a safetensors file, or a job's checkpoint folder"
            raise CheckpointError(error.strerror or str(error), where=self.where, fix=fix) from error
        except (struct.error, ValueError, KeyError, TypeError, AttributeError, LockstepError) as error:
            raise CheckpointError(f"not a safetensors file: {error}", where=self.where) from error

    def spans(self, key: str) -> list[Span]:
        """See `Side`."""
        return [Span(0, self.specs[key].elements, None)]

    def read(self, key: str, start: int, stop: int) -> memoryview:
        """See `Side`.

        Raises:
            CheckpointError: the file ends too early.
        """
        item = self.specs[key].item_bytes
        self._file.seek(self._starts[key] + start * item)
        data = self._file.read((stop - start) * item)
        if len(data) != (stop - start) * item:
            raise CheckpointError("the file is cut short", where=self.where)
        return memoryview(data)


def checkpoint_side(store: Store, step: int | None) -> CheckpointSide:
    """The checkpoint of a step, or the newest."""
    return CheckpointSide(store, read_manifest(store, history(store)[-1] if step is None else step))
