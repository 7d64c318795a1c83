"""Frames of videos, by torchcodec (FFmpeg)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workers.media.needs import damage_named, library


def decode_frames(data: bytes, indices: Sequence[int], *, name: str | None = None) -> npt.NDArray[np.uint8]:
    """Some frames of a video, on the CPU.

    Which version of FFmpeg decodes is the machine's business: install the same one everywhere.

    Args:
        data: a whole file, in any format that FFmpeg reads.
        indices: of the frames, counted from 0, in any order.
        name: of the sample, for errors.

    Returns:
        an array of shape (frames, height, width, 3), RGB.

    Raises:
        DataError: these bytes are no video, or a damaged one, or it has no such frame.
        RecipeError: torchcodec is missing, or does not find an FFmpeg that it knows.
    """
    decoders = library("torchcodec.decoders", extra="video", why="to decode video, and so is FFmpeg")
    with damage_named("video", name):
        decoder = decoders.VideoDecoder(
            data, dimension_order="NHWC", num_ffmpeg_threads=1, device="cpu", seek_mode="exact"
        )
        frames: npt.NDArray[np.uint8] = decoder.get_frames_at(indices=list(indices)).data.numpy()
        return frames
