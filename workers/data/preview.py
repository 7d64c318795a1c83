"""The first samples of a data set, in a few words each: what is in there, without writing a reader."""

from __future__ import annotations

import codecs
import math
from typing import Any

import numpy as np

from workers.data.dataset import Dataset
from workers.data.order import locate
from workers.data.permutation import Int64
from workers.data.reader import BlockReader
from workers.media.image import image_size

_TEXT_CHARS, _HEX_BYTES, _ITEMS = 60, 16, 8


def preview(dataset: Dataset, samples: int, *, bytes_max: int | None = None) -> list[dict[str, Any]]:
    """The first samples in stored order, as JSON values.

    Args:
        dataset: where they are. Whole blocks are read.
        samples: how many at most.
        bytes_max: of blocks to read; no limit if not given. Fewer samples, or none, may come of it.

    Returns:
        for each sample its `object`, its `row` in it, and for each of its `columns` the `type` and some of:
        `bytes`, `characters` or `length`; `value`, `text` (its beginning) or `hex` (its first bytes); `items`
        (the first ones); `image` (width and height, where Pillow is installed).

    Raises:
        DataError: a block is missing, truncated or altered.
        AccessError, UnreachableError: from the store.
    """
    manifest = dataset.manifest
    blocks, rows = locate(manifest.edges, np.arange(min(samples, manifest.rows), dtype=np.int64))
    within = len(blocks) if bytes_max is None else _within(blocks, manifest.lengths, bytes_max)
    if not within:
        return []
    blocks, rows = blocks[:within], rows[:within]
    reader = BlockReader(dataset)
    try:
        records = reader.gather(blocks, rows)
    finally:
        reader.close()
    types = {field.name: str(field.type) for field in records.schema}
    names = manifest.object_names.take(manifest.objects[blocks]).to_pylist()
    return [
        {
            "object": name,
            "row": row,
            "columns": {column: {"type": types[column], **_said(sample[column])} for column in types},
        }
        for name, row, sample in zip(
            names,
            (manifest.first_of_object(manifest.block_rows)[blocks] + rows).tolist(),
            records.to_pylist(),
            strict=True,
        )
    ]


def _within(blocks: Int64, lengths: Int64, bytes_max: int) -> int:
    """How many samples can be had for so many bytes."""
    begins = np.diff(blocks, prepend=-1) != 0  # a block is read once for all of its samples
    return int((np.cumsum(lengths[blocks] * begins) <= bytes_max).sum())


def _said(value: Any) -> dict[str, Any]:
    """What is worth saying about a value."""
    if value is None or isinstance(value, (bool, int)):
        return {"value": value}
    if isinstance(value, float):
        return {"value": value if math.isfinite(value) else str(value)}
    if isinstance(value, str):
        return {"characters": len(value), "text": _line(value)}
    if isinstance(value, bytes):
        return {"bytes": len(value), **_content(value)}
    if isinstance(value, list):
        return {"length": len(value), "items": [_line(str(item)) for item in value[:_ITEMS]]}
    return {"text": _line(str(value))}


def _content(data: bytes) -> dict[str, Any]:
    size = image_size(data)
    if size is not None:
        return {"image": list(size)}
    head = data[: 4 * _TEXT_CHARS]  # a character has four bytes at most; the last one may be cut
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) == len(data))
    except UnicodeDecodeError:
        text = "\0"
    if all(char.isprintable() or char.isspace() for char in text):
        return {"text": _line(text)}
    return {"hex": data[:_HEX_BYTES].hex()}


def _line(text: str) -> str:
    """The beginning of a text, on one line, with nothing in it that a terminal would obey."""
    line = "".join(char if char.isprintable() else " " for char in text[: _TEXT_CHARS + 1])
    return line if len(line) <= _TEXT_CHARS else f"{line[:_TEXT_CHARS]}…"
