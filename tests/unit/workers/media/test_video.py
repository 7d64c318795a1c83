"""Frames are those that were asked for, in that order, and damage names the sample."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from workers.errors import DataError, RecipeError
from workers.media import decode_frames

SHADES = (20, 60, 100, 140, 180, 220)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(RecipeError, match=r"torchcodec.*\n.*pip install 'lockstep\[video\]'"):
        decode_frames(b"", [0])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six grey frames, each brighter than the one before."""
    try:
        encoders = pytest.importorskip("torchcodec.encoders")
    except (RuntimeError, OSError) as error:
        pytest.skip(f"torchcodec does not work here: {error}")
    frames = torch.stack([torch.full((3, 64, 96), shade, dtype=torch.uint8) for shade in SHADES])
    path: Path = tmp_path_factory.mktemp("video") / "video.mp4"
    encoders.VideoEncoder(frames, frame_rate=10).to_file(str(path))
    return path.read_bytes()


def test_frames_come_in_the_order_asked_for(video: bytes) -> None:
    frames = decode_frames(video, [4, 0, 5, 4])
    assert (frames.shape, frames.dtype) == ((4, 64, 96, 3), np.uint8)
    wanted = np.array([SHADES[i] for i in (4, 0, 5, 4)])
    assert np.abs(frames.mean(axis=(1, 2, 3)) - wanted).max() < 8


def test_damage_and_missing_frames_name_the_sample(video: bytes) -> None:
    for data, index in ((b"no video", 0), (video[: len(video) // 4], 0), (video, 6)):
        with pytest.raises(DataError, match=r"a/b\.mp4: the video does not decode"):
            decode_frames(data, [index], name="a/b.mp4")
