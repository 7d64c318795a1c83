"""A checkpoint as one ordinary safetensors file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from workers.checkpoint import safetensors_file
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import read_chunk
from workers.errors import AccessError
from workers.storage import Store


def export(store: Store, manifest: Manifest, out: Path) -> None:
    """Write all tensors of a checkpoint to `out`, under their keys, replacing what was there.

    Chunks are verified and their pieces written where they belong, one chunk in memory at a time. The
    file appears under its name only once it is whole and durable.

    Raises:
        CheckpointError: a chunk is missing or altered.
        AccessError: the file cannot be written.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            _write(file, store, manifest)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    except OSError as error:
        fix = "choose a folder that exists and has the space"
        raise AccessError(error.strerror or str(error), where=str(out), fix=fix) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(file: BinaryIO, store: Store, manifest: Manifest) -> None:
    metadata = {"format": "pt", "job": manifest.job, "step": str(manifest.step)}
    metadata["state_digest"] = manifest.state_digest
    begin = file.write(safetensors_file.header(manifest.tensors, metadata))
    starts = safetensors_file.offsets(manifest.tensors)
    for number in range(len(manifest.chunks)):
        for piece, data in read_chunk(store, manifest, number):
            item = manifest.tensors[piece.key].item_bytes
            file.seek(begin + starts[piece.key] + piece.start * item)
            file.write(data)
