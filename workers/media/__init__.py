"""From stored bytes to arrays, for recipes: images, audio and video frames, by libraries that are extras.

    from workers.media import decode_image

    def decode(self, sample, rng):
        return decode_image(sample["data"], size=(224, 224), name=sample["key"])

The same library version gives the same array on every machine, with the exceptions that each function states.
All of them let go of the interpreter's lock while they decode: threads are enough.
"""

from __future__ import annotations

from workers.media.audio import decode_audio
from workers.media.image import decode_image
from workers.media.video import decode_frames

__all__ = ["decode_audio", "decode_frames", "decode_image"]
