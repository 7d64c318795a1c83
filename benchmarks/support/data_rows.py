"""The records that the data benchmark reads, the same for all sides, and what is made of a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

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
            count=131072,
            batch=64,
            target=5.0,
        ),
        Row(name="opaque", what="bytes, about 100 KB", count=1024, batch=32, target=1.5),
        Row(name="jpeg", what="JPEG 500x375, decoded to 224x224", count=1024, batch=32, target=1.2),
    )
}


def records(row: Row) -> Iterator[dict[str, Any]]:
    """`{"tokens": uint16 array}` or `{"data": bytes}`; the same ones at each call."""
    for number in range(row.count):
        rng = np.random.default_rng(number)
        if row.name == "tokens":
            yield {"tokens": rng.integers(0, 50257, WINDOW_TOKENS, dtype=np.uint16)}
        elif row.name == "opaque":
            yield {"data": rng.bytes(int(rng.integers(90_000, 110_000)))}
        else:
            yield {"data": _jpeg(rng)}


def decoded(data: bytes) -> np.ndarray:
    """A JPEG as uint8 of shape (224, 224, 3)."""
    import simplejpeg
    from PIL import Image

    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE_PIXELS, min_width=SIDE_PIXELS)
    picture = Image.fromarray(pixels).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BILINEAR)
    return np.array(picture)


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
