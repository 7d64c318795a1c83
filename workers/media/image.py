"""Images: JPEG by simplejpeg (libjpeg-turbo), everything else by Pillow."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workers.media.needs import damage_named, library

_JPEG = b"\xff\xd8\xff"
#: Simplejpeg's names of what it can turn a picture into. What it cannot turn is left to Pillow.
_SIMPLEJPEG = {"RGB": "RGB", "L": "GRAY"}
_FOUR_INKS = {"CMYK", "YCCK"}


def decode_image(
    data: bytes,
    *,
    size: tuple[int, int] | None = None,
    mode: Literal["RGB", "L"] = "RGB",
    name: str | None = None,
) -> npt.NDArray[np.uint8]:
    """The pixels of an image, as they are stored: a rotation in its metadata is not applied.

    Which library decodes follows from the bytes alone, and never from what is installed. Both calculate in
    integers: the array is the same on every machine with the same versions of simplejpeg and Pillow.

    Args:
        data: a whole file: JPEG, PNG, WebP, or whatever else Pillow reads.
        size: (height, width) to scale to, whatever the proportions; as stored if not given. A large JPEG is
            decoded at the smallest scale of libjpeg's that is not below that, and the rest is bilinear. That
            is faster than scaling the whole, and gives slightly other pixels.
        mode: "RGB", or "L" for shades of grey. An image of another kind is converted; transparency is lost.
        name: of the sample, for errors.

    Returns:
        an array of shape (height, width, channels): 3 for RGB, 1 for L.

    Raises:
        DataError: these bytes are no image, or a damaged one, or one that was cut short.
        RecipeError: a library is missing.
    """
    with damage_named("image", name):
        is_jpeg = bytes(data[:3]) == _JPEG
        pixels = _jpeg(data, size, mode) if is_jpeg else _other(data, mode)
        if size is not None and pixels.shape[:2] != size:
            pixels = _scaled(pixels, size)
        return pixels


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of an image, from its header; None if these bytes are none, or Pillow is missing."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            return width, height
    except Exception:  # Pillow has many ways to say that it is no image
        return None


def _jpeg(data: bytes, size: tuple[int, int] | None, mode: str) -> npt.NDArray[np.uint8]:
    simplejpeg = library("simplejpeg", extra="images", why="to decode JPEG")
    _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours in _FOUR_INKS:
        return _other(data, mode)
    height, width = size or (0, 0)
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, colorspace=_SIMPLEJPEG[mode], min_height=height, min_width=width
    )
    return pixels


def _other(data: bytes, mode: str) -> npt.NDArray[np.uint8]:
    image_module: Any = library("PIL.Image", extra="images", why="to decode images that are not JPEG")
    try:
        with image_module.open(io.BytesIO(data)) as image:
            pixels = np.array(image.convert(mode), dtype=np.uint8)
    except image_module.UnidentifiedImageError:  # whose own words are about an object of ours
        raise ValueError(f"{len(data)} bytes that are no image that Pillow knows") from None
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _scaled(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    image_module: Any = library("PIL.Image", extra="images", why="to scale images")
    height, width = size
    squeezed = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    image = image_module.fromarray(squeezed)
    scaled = np.array(image.resize((width, height), image_module.Resampling.BILINEAR), dtype=np.uint8)
    return scaled.reshape(height, width, pixels.shape[2])
