"""Images become the same pixels whatever is beside them, and damage names the sample."""

from __future__ import annotations

import io
import sys
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from workers.errors import DataError, RecipeError
from workers.media import decode_image
from workers.media.image import image_size

HEIGHT, WIDTH = 37, 51
Mode = Literal["RGB", "L"]


def picture(mode: str = "RGB", height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Smooth, so that JPEG loses little, and all ways to scale agree."""
    y, x = np.mgrid[:height, :width]
    planes = [127 + 120 * np.sin(6 * x / width), 127 + 120 * np.cos(5 * y / height), 255 * x / width]
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).convert(mode)


def stored(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossless_formats_give_the_pixels_that_were_stored(format: str, mode: Mode) -> None:
    image = picture(mode)
    pixels = decode_image(stored(image, format), mode=mode)
    assert pixels.shape == (HEIGHT, WIDTH, 3 if mode == "RGB" else 1)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels.reshape(np.asarray(image).shape), np.asarray(image))


@pytest.mark.parametrize("kept", ["RGB", "RGBA", "L", "P", "1", "I;16"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_of_every_kind_come_out_as_asked(kept: str, mode: Mode) -> None:
    image = Image.new("I;16", (WIDTH, HEIGHT), 500) if kept == "I;16" else picture().convert(kept)
    assert decode_image(stored(image, "PNG"), mode=mode).shape == (HEIGHT, WIDTH, 3 if mode == "RGB" else 1)


@pytest.mark.parametrize(("kept", "options"), [("RGB", {}), ("L", {}), ("RGB", {"progressive": True})])
def test_jpeg_is_close_to_what_was_stored(kept: str, options: dict[str, Any]) -> None:
    jpeg = stored(picture(kept), "JPEG", quality=95, subsampling=0, **options)
    for mode in ("RGB", "L"):
        wanted = np.asarray(picture(kept).convert(mode), dtype=int).reshape(HEIGHT, WIDTH, -1)
        found = decode_image(jpeg, mode=mode).astype(int)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).mean() < 2


def test_jpeg_in_four_inks_is_decoded_too() -> None:
    jpeg = stored(picture("CMYK"), "JPEG", quality=95, subsampling=0)
    found = decode_image(jpeg).astype(int)
    assert np.abs(found - np.asarray(picture(), dtype=int)).mean() < 4


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(20, 30), (HEIGHT, WIDTH), (100, 40), (1, 1), (400, 500)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_are_scaled(format: str, size: tuple[int, int], mode: Mode) -> None:
    image = picture(height=300, width=410)
    pixels = decode_image(stored(image, format), size=size, mode=mode)
    whole = np.asarray(image.convert(mode).resize(size[::-1], Image.Resampling.BILINEAR), dtype=int).reshape(
        pixels.shape
    )
    assert pixels.shape[:2] == size
    assert np.abs(pixels.astype(int) - whole).mean() < 4


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_damage_names_the_sample(format: str) -> None:
    data = stored(picture(), format)
    for bad in (b"", b"no image", data[: len(data) // 2], data[:20]):
        with pytest.raises(DataError, match=r"a/b\.img: the image does not decode"):
            decode_image(bad, name="a/b.img")


@pytest.mark.parametrize(("module", "format"), [("simplejpeg", "JPEG"), ("PIL.Image", "PNG")])
def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, module: str, format: str) -> None:
    data = stored(picture(), format)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecipeError, match=r"pip install 'lockstep\[images\]'"):
        decode_image(data)


def test_the_size_of_an_image_is_in_its_header() -> None:
    data = stored(picture(height=300, width=410), "JPEG")
    assert image_size(data) == image_size(data[: len(data) // 2]) == (410, 300)
    assert image_size(b"no image") is None
