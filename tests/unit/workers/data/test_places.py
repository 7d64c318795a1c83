"""A sample's place leads to the sample: of one set, of a mixture, and of packed tokens."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import number_set, token_set
from tests.support.events import train_job
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.places import TrainingPlaces
from workers.protocol import DataMixture, DataSource, Packing
from workers.recipe import Recipe
from workers.training.training_data import StoredData, open_training_data

V, MICRO = 3, 4


class Numbers(Recipe):
    def decode(self, sample, rng):
        return sample["number"]

    def collate(self, samples):
        return np.array(samples)


class Tokens(Recipe):
    def decode_batch(self, records):
        return np.stack([np.asarray(row.as_py()) for row in records["tokens"]])


def source(dataset: Dataset, **fields: object) -> DataSource:
    return DataSource(
        uri=dataset.store.uri, manifest_digest=dataset.manifest.digest, rows=dataset.rows, **fields
    )


def opened(train: DataSource | DataMixture, recipe: Recipe) -> StoredData:
    job = train_job(train=train, virtual_ranks=V, batch_size=V * MICRO, steps=40)
    data = open_training_data(job, Decoder(recipe, seed=0))
    assert isinstance(data, StoredData)
    return data


def number_at(dataset: Dataset, first: int, place: dict[str, object]) -> int:
    """The number that a set of numbers has in this row of this object."""
    manifest = dataset.manifest
    names = manifest.object_names.to_pylist()
    rows = [0] * len(names)
    for number, count in zip(manifest.objects.tolist(), manifest.block_rows.tolist(), strict=True):
        rows[number] += count
    return first + sum(rows[: names.index(place["object"])]) + int(place["row"])  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> list[Dataset]:
    folder = tmp_path_factory.mktemp("places")
    return [number_set(folder / "a", 41), number_set(folder / "b", 97, first=1000)]


@settings(deadline=None, max_examples=40)
@given(step=st.integers(0, 39), vrank=st.integers(0, V - 1))
def test_of_one_set(sets: list[Dataset], step: int, vrank: int) -> None:
    train = source(sets[0])
    data, places = opened(train, Numbers()), TrainingPlaces(train)
    addresses = data.addresses(step, vrank)
    found = places.of(addresses)
    assert len(found) == data.schedule.at(step).counts[vrank]
    if found:
        assert [number_at(sets[0], 0, place) for place in found] == data.read(step, addresses).tolist()


@settings(deadline=None, max_examples=40)
@given(step=st.integers(0, 39), vrank=st.integers(0, V - 1))
def test_of_a_mixture(sets: list[Dataset], step: int, vrank: int) -> None:
    train = DataMixture(sources=tuple(map(source, sets)), weights=(2, 3), epoch_end="last")
    data, places = opened(train, Numbers()), TrainingPlaces(train)
    addresses = data.addresses(step, vrank)
    by_uri = {one.store.uri: (one, first) for one, first in zip(sets, (0, 1000), strict=True)}
    numbers = [number_at(*by_uri[place["source"]], place) for place in places.of(addresses)]
    assert numbers == data.read(step, addresses).tolist()


def test_of_packed_tokens(tmp_path) -> None:
    dataset = token_set(tmp_path, [5, 40, 1, 0, 17, 60, 33] * 4)
    packing = Packing(column="tokens", length=8)
    train = source(dataset, packing=packing)
    data, places = opened(train, Tokens()), TrainingPlaces(train)
    tokens = {name: i for i, name in enumerate(dataset.manifest.object_names.to_pylist())}
    starts = np.cumsum([0, *objects_tokens(dataset)]).tolist()
    for step in range(3):
        addresses = data.addresses(step, 1)
        batch = data.read(step, addresses)
        for place, row in zip(places.of(addresses), batch.tolist(), strict=True):
            assert starts[tokens[place["object"]]] + place["token"] == row[0]
            assert sum(piece["tokens"] for piece in place["pieces"]) == 8
            assert bisect_right(starts, row[0]) - 1 == tokens[place["object"]]


def objects_tokens(dataset: Dataset) -> list[int]:
    """How many tokens each object holds."""
    manifest = dataset.manifest
    totals = [0] * len(manifest.object_names)
    for number, count in zip(manifest.objects.tolist(), manifest.values["tokens"].tolist(), strict=True):
        totals[number] += count
    return totals
