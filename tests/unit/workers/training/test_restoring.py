"""Members read a checkpoint together, each its share; what they come to is what one alone would read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkpoints import SMALL_CHUNKS, chunk_path, fill, flip, folder_store, save
from tests.support.groups import connected, in_threads
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError
from workers.storage import Store
from workers.training.restoring import read_together

SPECS = {
    "model/w": TensorSpec(dtype="F32", shape=(4000,)),
    "model/half": TensorSpec(dtype="BF16", shape=(33, 7)),
    "model/frozen": TensorSpec(dtype="F32", shape=(700,), frozen=True),
    "model/count": TensorSpec(dtype="I64", shape=()),
    "model/empty": TensorSpec(dtype="F32", shape=(0, 3)),
}


class Counting(Store):
    """Notes which chunks are fetched."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.fetched: list[str] = []

    def get_view(self, name: str) -> memoryview:
        self.fetched.append(name)
        return super().get_view(name)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return save(folder_store(tmp_path), SPECS, 7, chunk_bytes=SMALL_CHUNKS)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_each_chunk_is_fetched_once_and_everybody_has_all_of_it(
    tmp_path: Path, manifest: Manifest, world: int
) -> None:
    stores = [Counting(folder_store(tmp_path).uri) for _ in range(world)]
    members = zip(connected(world), stores, strict=True)
    found = in_threads([lambda e=e, s=s: read_together(e, s, manifest) for e, s in members])
    assert found == [fill(manifest.tensors, 7)] * world
    fetched = [name for store in stores for name in store.fetched]
    assert len(fetched) == len(set(fetched)) == len({chunk.sha256 for chunk in manifest.chunks})
    shares = [len(store.fetched) for store in stores]
    assert max(shares) - min(shares) <= 1 + len(shares)


def test_whoever_reads_an_altered_chunk_says_so(tmp_path: Path, manifest: Manifest) -> None:
    for number in range(len(manifest.chunks)):
        flip(chunk_path(tmp_path, manifest, number), 99)
    store = folder_store(tmp_path)

    def attempt(exchange: object) -> str:
        try:
            read_together(exchange, store, manifest)  # type: ignore[arg-type]
        except CheckpointError as error:
            return str(error)
        return "read"

    assert all("is altered" in told for told in in_threads([lambda e=e: attempt(e) for e in connected(3)]))
