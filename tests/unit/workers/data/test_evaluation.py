"""Evaluation reads each held-out sample once, in stored order, in the same micro-batches for any host."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import number_set
from workers import Recipe
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.evaluation import evaluation_batches
from workers.data.reader import BlockReader
from workers.data.samples import StoredSamples


class Plain(Recipe):
    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        return sample["number"], rng.random()

    def collate(self, samples: list[Any]) -> Any:
        return samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return number_set(tmp_path_factory.mktemp("set"), 103)


def read(dataset: Dataset, micro_batch: int, vranks: int, vrank: int) -> list[tuple[Any, int]]:
    decoder = Decoder(Plain(), seed=0)
    reader, samples = BlockReader(dataset), StoredSamples(dataset.manifest.block_rows)
    return list(
        evaluation_batches(reader, samples, decoder, micro_batch=micro_batch, vranks=vranks, vrank=vrank)
    )


@settings(max_examples=25, deadline=None)
@given(micro_batch=st.integers(1, 120), vranks=st.integers(1, 12))
def test_virtual_ranks_take_turns_over_the_stored_order(
    dataset: Dataset, micro_batch: int, vranks: int
) -> None:
    shares = [read(dataset, micro_batch, vranks, vrank) for vrank in range(vranks)]
    turns = [shares[k % vranks][k // vranks] for k in range(sum(map(len, shares)))]
    numbers = [number for batch, _ in turns for number, _ in batch]
    assert numbers == list(range(103))
    assert [count for _, count in turns[:-1]] == [micro_batch] * (len(turns) - 1)
    assert turns == read(dataset, micro_batch, 1, 0)


def test_a_virtual_rank_beyond_the_set_gets_nothing(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, 3)
    assert read(dataset, 2, 8, 1) == read(dataset, 2, 8, 1)
    assert [count for _, count in read(dataset, 2, 8, 1)] == [1]
    assert read(dataset, 2, 8, 2) == []
