"""A checkpoint as one ordinary file, of safetensors or of `torch.save`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from workers.checkpoint import safetensors_file
from workers.checkpoint.load import iter_pieces
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.tensors import TensorSpec
from workers.checkpoint.torch_file import TorchFile
from workers.errors import AccessError, CheckpointError
from workers.storage import Store

#: Names of files that `torch.load` reads; any other is a safetensors file.
TORCH_SUFFIXES = (".pt", ".pth")


def export(store: Store, manifest: Manifest, out: Path, keys: Iterable[str] | None = None) -> None:
    """Write the tensors of a checkpoint to `out`, under their keys, replacing what was there.

    Chunks are verified and their pieces written where they belong, one chunk in memory at a time. The
    file appears under its name only once it is whole and durable.

    Args:
        store: the job's checkpoint folder.
        manifest: which checkpoint.
        out: a state dict for `torch.load(weights_only=True)` if it ends in `.pt` or `.pth`, else safetensors.
        keys: which tensors; all of them if not given.

    Raises:
        CheckpointError: a chunk is missing or altered.
        AccessError: the file cannot be written.
    """
    specs = {key: manifest.tensors[key] for key in (manifest.tensors if keys is None else keys)}
    write = _write_torch if out.suffix in TORCH_SUFFIXES else _write_safetensors
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file, store, manifest, specs)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    except OSError as error:
        fix = "choose a folder that exists and has the space"
        raise AccessError(error.strerror or str(error), where=str(out), fix=fix) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def chosen(manifest: Manifest, patterns: Sequence[str]) -> list[str]:
    """The keys that begin as one of the patterns says, `*` and `?` in it being wild; all without patterns.

    Raises:
        CheckpointError: no key begins like one of them.
    """
    if not patterns:
        return sorted(manifest.tensors)
    found: set[str] = set()
    for pattern in patterns:
        matching = {key for key in manifest.tensors if fnmatchcase(key, f"{pattern}*")}
        if not matching:
            near = get_close_matches(pattern, manifest.tensors, n=1, cutoff=0.0)
            fix = f"write how a key begins, such as {near[0]}" if near else None
            raise CheckpointError(f"no tensor's key begins with {pattern}", where="--only", fix=fix)
        found |= matching
    return sorted(found)


def _write_safetensors(
    file: BinaryIO, store: Store, manifest: Manifest, specs: Mapping[str, TensorSpec]
) -> None:
    metadata = {"format": "pt", "job": manifest.job, "step": str(manifest.step)}
    if specs.keys() == manifest.tensors.keys():  # of a part nobody could compute it
        metadata["state_digest"] = manifest.state_digest
    begin = file.write(safetensors_file.header(specs, metadata))
    starts = safetensors_file.offsets(specs)
    for piece, data in iter_pieces(store, manifest, specs):
        file.seek(begin + starts[piece.key] + piece.start * specs[piece.key].item_bytes)
        file.write(data)


def _write_torch(file: BinaryIO, store: Store, manifest: Manifest, specs: Mapping[str, TensorSpec]) -> None:
    pieces = iter_pieces(store, manifest, specs)
    with TorchFile(file, specs) as archive:
        for key, parts in groupby(pieces, key=lambda part: part[0].key):
            archive.write(key, (data for _, data in parts))
