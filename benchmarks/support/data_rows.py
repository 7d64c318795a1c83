"""The records that the data benchmark reads, the same for all sides, and what is made of a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

WINDOW_TOKENS = 512  # uint16: 1 KiB
PICTURE_WIDTH, PICTURE_HEIGHT = 500, 375
SIDE_PIXELS = 224
SHARD_BYTES = 8 << 20  # of the peers: several for each of their workers, so that they can share and shuffle


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of record.

    Attributes:
        count: records in the data set.
        batch: records in a batch.
        target: what ours should reach, times the best peer.
    """

    name: str
    what: str
    count: int
    batch: int
    target: float


ROWS = {
    row.name: row
    for row in (
        Row(
            name="tokens",
            what="windows of 512 tokens, 1 KiB",
            count=98304,
            batch=64,
            target=5.0,
        ),
        Row(name="opaque", what="bytes, about 100 KB", count=3072, batch=32, target=1.5),
        Row(name="jpeg", what="JPEG 500x375, decoded to 224x224", count=640, batch=32, target=1.2),
    )
}


def schema(row: Row) -> pa.Schema:
    """Of the records, in Arrow."""
    tokens = pa.list_(pa.uint16(), WINDOW_TOKENS)
    return pa.schema([("tokens", tokens) if row.name == "tokens" else ("data", pa.large_binary())])


def make(row: Row, path: Path) -> None:
    """Make the records, once for all sides; the same ones at each call."""
    with pa.ipc.new_file(path, schema(row)) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(list(_records(row)), schema=schema(row)))


def records(path: Path) -> Iterator[dict[str, Any]]:
    """What `make` made: `{"tokens": uint16 array}` or `{"data": bytes}`."""
    [column] = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).columns
    if pa.types.is_fixed_size_list(column.type):
        yield from ({"tokens": window} for window in column.values.to_numpy().reshape(-1, WINDOW_TOKENS))
    else:
        yield from ({"data": value.as_py()} for value in column)


def _records(row: Row) -> Iterator[dict[str, Any]]:
    for number in range(row.count):
        rng = np.random.default_rng(number)
        if row.name == "tokens":
            yield {"tokens": rng.integers(0, 50257, WINDOW_TOKENS, dtype=np.uint16)}
        elif row.name == "opaque":
            yield {"data": rng.bytes(int(rng.integers(90_000, 110_000)))}
        else:
            yield {"data": _jpeg(rng)}


def decoded(data: bytes) -> np.ndarray:
    """A JPEG, shrunk by its decoder, and its middle cut out: uint8 of shape (224, 224, 3)."""
    import simplejpeg

    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE_PIXELS, min_width=SIDE_PIXELS)
    top, left = ((size - SIDE_PIXELS) // 2 for size in pixels.shape[:2])
    return pixels[top : top + SIDE_PIXELS, left : left + SIDE_PIXELS]


def _jpeg(rng: np.random.Generator) -> bytes:
    """Shapes over a gradient, with some noise: compresses about like a photograph."""
    from PIL import Image, ImageDraw

    across, down = (np.linspace(0, 1, n) for n in (PICTURE_WIDTH, PICTURE_HEIGHT))
    colors = rng.uniform(0, 255, (3, 3))
    plane = colors[0] + across[None, :, None] * colors[1] / 2 - down[:, None, None] * colors[2] / 2
    picture = Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, width, height = rng.integers(0, (PICTURE_WIDTH, PICTURE_HEIGHT, 200, 150)).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + width, y + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
    noise = rng.normal(0, 8, (PICTURE_HEIGHT, PICTURE_WIDTH, 3))
    noisy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    stored = io.BytesIO()
    Image.fromarray(noisy).save(stored, "JPEG", quality=85)
    return stored.getvalue()
