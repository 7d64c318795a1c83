"""A batch depends on samples, seed and epoch alone."""

from collections import namedtuple
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from workers import Recipe
from workers.data.decoder import Decoder, aligned, size_bytes

RECORDS = pa.record_batch({"x": list(range(20)), "data": pa.array([b"a"] * 20, pa.large_binary())})
IDS = np.arange(100, 120)


class Draws(Recipe):
    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        assert sample["data"] == b"a"
        return sample["x"], rng.random()


def draws(decoder: Decoder, epoch: int, start: int, stop: int) -> list[float]:
    batch = decoder(epoch, RECORDS.slice(start, stop - start), IDS[start:stop])
    assert batch[0].tolist() == list(range(start, stop))
    return [float(value) for value in batch[1]]


def test_random_streams_belong_to_seed_epoch_and_sample() -> None:
    decoder = Decoder(Draws(), seed=1)
    together = draws(decoder, 0, 0, 20)
    assert len(set(together)) == 20
    assert draws(decoder, 0, 0, 7) + draws(Decoder(Draws(), seed=1), 0, 7, 20) == together
    assert set(draws(decoder, 1, 0, 20)).isdisjoint(together)
    assert set(draws(Decoder(Draws(), seed=2), 0, 0, 20)).isdisjoint(together)


def test_samples_go_straight_to_collate_where_nothing_is_decoded() -> None:
    class Collates(Recipe):
        def collate(self, samples: list[Any]) -> Any:
            return [sample["x"] for sample in samples]

    decoder = Decoder(Collates(), seed=0)
    assert decoder(0, RECORDS, IDS) == list(range(20))


def test_a_vectorised_recipe_gets_the_records_themselves() -> None:
    class Vectorised(Recipe):
        def decode_batch(self, records: pa.RecordBatch) -> torch.Tensor:
            return torch.from_dlpack(records["x"])

    batch = Decoder(Vectorised(), seed=0)(0, RECORDS.slice(3), IDS)
    assert batch.tolist() == list(range(3, 20))
    assert batch.data_ptr() % 64 == 0


def test_what_the_recipe_raises_comes_through() -> None:
    class Breaks(Recipe):
        def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
            raise ZeroDivisionError(sample["x"])

    with pytest.raises(ZeroDivisionError, match="0"):
        Decoder(Breaks(), seed=0)(0, RECORDS, IDS)


def test_tensors_anywhere_in_a_batch_are_moved_to_aligned_memory() -> None:
    pair = namedtuple("pair", "left right")
    unaligned = torch.arange(100, dtype=torch.float32)[1:]
    assert unaligned.data_ptr() % 64
    batch = aligned({"a": [unaligned, (unaligned, "text")], "b": pair(unaligned, None)})
    moved = [batch["a"][0], batch["a"][1][0], batch["b"].left]
    assert all(tensor.data_ptr() % 64 == 0 and torch.equal(tensor, unaligned) for tensor in moved)
    assert (batch["a"][1][1], batch["b"].right, type(batch["b"])) == ("text", None, pair)


def test_aligned_tensors_are_not_copied() -> None:
    tensor = torch.arange(100)
    assert aligned([tensor])[0] is tensor


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(3, 4), 48),
        ({"a": torch.zeros(2), "b": [np.zeros(3), 7, "text"]}, 32),
        ((np.zeros(2), object()), None),
        ([b"bytes"], None),
        (5, 0),
    ],
)
def test_the_size_of_a_batch_is_that_of_its_tensors_or_not_known(batch: Any, size: int | None) -> None:
    assert size_bytes(batch) == size
