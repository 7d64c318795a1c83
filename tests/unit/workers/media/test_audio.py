"""Audio becomes the samples that were stored, and damage names the sample."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import soundfile

from workers.errors import DataError, RecipeError
from workers.media import decode_audio

RATE, FRAMES = 16000, 4000


def sound(channels: int = 2) -> np.ndarray:
    """On the grid of 16 bits, so that lossless formats keep it as it is."""
    t = np.arange(FRAMES)[:, None] * (1 + np.arange(channels))
    return (np.round(np.sin(t / 20) * 2**14) / 2**15).astype(np.float32)


def stored(samples: np.ndarray, format: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=format)
    return file.getvalue()


@pytest.mark.parametrize("format", ["WAV", "FLAC", "AIFF"])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossless_formats_give_what_was_stored(format: str, channels: int) -> None:
    samples, rate = decode_audio(stored(sound(channels), format))
    assert (samples.dtype, samples.shape, rate) == (np.float32, (FRAMES, channels), RATE)
    assert np.array_equal(samples, sound(channels))


@pytest.mark.parametrize("format", ["OGG", "MP3"])
def test_lossy_formats_come_close(format: str) -> None:
    samples, rate = decode_audio(stored(sound(1), format))
    assert rate == RATE
    assert abs(np.abs(samples).mean() - np.abs(sound(1)).mean()) < 0.05


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_damage_names_the_sample(format: str) -> None:
    data = stored(sound(), format)
    for bad in (b"", b"no audio at all", data[: len(data) // 2], data[:-1], data[:30]):
        with pytest.raises(DataError, match=r"a/b\.wav: the audio (does not decode|was cut short)"):
            decode_audio(bad, name="a/b.wav")


def test_a_wav_whose_header_leaves_its_size_open_is_whole() -> None:
    data = bytearray(stored(sound(), "WAV"))
    data[4:8] = b"\xff" * 4
    assert np.array_equal(decode_audio(bytes(data))[0], sound())


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(sound(), "WAV")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(RecipeError, match=r"soundfile is not installed.*\n.*pip install 'lockstep\[audio\]'"):
        decode_audio(data)
