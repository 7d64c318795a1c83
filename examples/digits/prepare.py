"""Write scikit-learn's 1,797 digit images as PNG objects: the first half to train on, the rest to test on.

    python examples/digits/prepare.py DEST

DEST is a folder or an address such as s3://bucket/digits. It gets `train/` and `test/`, whose objects are
named `0042-7.png`: the image's number in the set, and the digit it shows.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from workers.storage import Store

BRIGHTEST = 16  # of the original's pixels
SCALE = 15  # 16 × 15 = 240 fits into a byte


def main(dest: str) -> None:
    """Write both halves below `dest`."""
    root = dest if "://" in dest else Path(dest).resolve().as_uri()
    store = Store(root)
    count = 0
    for name, png in objects():
        store.put(name, png)
        count += 1
    print(f"{count} images below {root}")


def objects() -> Iterator[tuple[str, bytes]]:
    """Each image as (name, PNG), in the set's order: the halves are those of scikit-learn's own example."""
    images, digits = load_digits(return_X_y=True)
    half = len(images) // 2
    for number, (pixels, digit) in enumerate(zip(images, digits, strict=True)):
        folder = "train" if number < half else "test"
        file = io.BytesIO()
        Image.fromarray((pixels.reshape(8, 8) * SCALE).astype(np.uint8)).save(file, format="PNG")
        yield f"{folder}/{number:04d}-{digit}.png", file.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
