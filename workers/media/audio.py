"""Audio, by soundfile (libsndfile): WAV, FLAC, OGG, MP3 and more."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from workers.errors import DataError
from workers.media.needs import REPLACE, damage_named, library

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # what programs write into a RIFF header that they cannot come back to


def decode_audio(data: bytes, *, name: str | None = None) -> tuple[npt.NDArray[np.float32], int]:
    """All of an audio file, in -1..1.

    WAV, FLAC and other lossless formats give the same array on every machine. MP3, Vorbis and Opus are
    decoded in floating point by code that may depend on the CPU: the same array is certain on machines of one
    kind only. Where that matters, store FLAC.

    Args:
        data: a whole file, in any format that libsndfile recognises.
        name: of the sample, for errors.

    Returns:
        samples, rate: an array of shape (frames, channels), and frames per second.

    Raises:
        DataError: these bytes are no audio, or a damaged file, or WAV or FLAC that was cut short. Other
            formats do not say how long they are, and give what is left of them.
        RecipeError: soundfile is missing.
    """
    soundfile = library("soundfile", extra="audio", why="to decode audio")
    with damage_named("audio", name), soundfile.SoundFile(io.BytesIO(data)) as file:
        samples: npt.NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
        if len(samples) < file.frames or _wav_is_short(data):
            what = f"the audio was cut short after {len(samples)} of its frames"
            raise DataError(what, where=name, fix=REPLACE)
        return samples, int(file.samplerate)


def _wav_is_short(data: bytes) -> bool:
    """Libsndfile takes a WAV file that ends too early for one that is shorter."""
    size = int.from_bytes(data[4:8], "little")
    return bytes(data[:4]) == b"RIFF" and size not in _UNKNOWN_SIZES and size + 8 > len(data)
