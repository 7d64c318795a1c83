"""How many tokens there are, from headers alone; which column is meant; what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.datasets import token_set
from workers.data.dataset import Dataset
from workers.data.index import index, survey
from workers.data.manifest import Manifest
from workers.data.pack import pack
from workers.data.packing import block_rows, choose_column, count_samples, sample_schema
from workers.data.reader import BlockReader
from workers.data.records import as_samples
from workers.data.runs import cut
from workers.data.shards import write_shards
from workers.errors import DamagedBlockError, DataError
from workers.protocol import Packing

LENGTHS = [5, 0, 130, 1, 77, 300, 2, 2, 60, 9] * 4
PACKING = Packing(column="tokens", length=16)


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return token_set(tmp_path / "set", LENGTHS)


def counted(dataset: Dataset) -> list[int]:
    """Tokens in each block, by reading them."""
    reader = BlockReader(dataset)
    rows = dataset.manifest.block_rows.tolist()
    batches = [reader.gather(np.full(count, n), np.arange(count)) for n, count in enumerate(rows)]
    reader.close()
    return [sum(map(len, batch["tokens"].to_pylist())) for batch in batches]


def test_tokens_are_counted_when_shards_are_written_and_when_they_are_indexed(tmp_path, dataset):
    assert len(dataset.manifest) > 10
    expected = counted(dataset)
    assert sum(expected) == sum(LENGTHS)
    assert dataset.manifest.values["tokens"].tolist() == expected
    assert survey(dataset.store.uri).values["tokens"].tolist() == expected
    again = Manifest.from_bytes(dataset.manifest.to_bytes())
    assert again.values["tokens"].tolist() == expected
    assert again.digest == dataset.manifest.digest
    packed = pack(dataset.store.uri, (tmp_path / "packed").as_uri(), block_bytes=2000, shard_bytes=4000)
    assert packed.values["tokens"].tolist() == counted(Dataset.open((tmp_path / "packed").as_uri()))


def test_tokens_beside_nested_columns_are_found_in_headers(tmp_path):
    schema = pa.schema(
        [
            ("meta", pa.struct([("a", pa.list_(pa.string())), ("b", pa.int8())])),
            ("fixed", pa.list_(pa.uint16(), 3)),
            ("tokens", pa.large_list(pa.uint16())),
            ("others", pa.list_(pa.list_(pa.int32()))),
            ("more", pa.list_(pa.int64())),
        ]
    )
    rows = [
        {
            "meta": {"a": ["x"] * n, "b": n},
            "fixed": [1, 2, 3],
            "tokens": list(range(5 * n)),
            "others": [[1, 2]] * n,
            "more": [7] * (n % 2),
        }
        for n in range(30)
    ]
    written = write_shards(iter(rows), schema, tmp_path.as_uri(), block_bytes=400, shard_bytes=2000)
    surveyed = survey(tmp_path.as_uri())
    assert set(surveyed.values) == {"tokens", "more"}
    for name in surveyed.values:
        assert surveyed.values[name].tolist() == written.values[name].tolist()
        assert surveyed.values[name].sum() == sum(len(row[name]) for row in rows)
    dataset = Dataset.open(tmp_path.as_uri())
    fixed = block_rows(dataset, Packing(column="fixed", length=2))
    assert fixed.tolist() == (3 * written.block_rows).tolist()


def test_samples_are_consecutive_tokens_whichever_documents_they_are_from(dataset):
    rows = block_rows(dataset, PACKING)
    reader = BlockReader(dataset, packing=PACKING)
    line = np.concatenate([[0], np.cumsum(rows)])
    starts = np.array([0, 160, 3, sum(LENGTHS) - 16])
    [few, rest] = reader.begin(cut(line, starts, 16)).parts([1, 3])
    assert few.schema == rest.schema == sample_schema(dataset.manifest.schema, PACKING)
    found = [row for part in (few, rest) for row in part["tokens"].to_pylist()]
    assert found == [list(range(start, start + 16)) for start in starts]
    assert all(part["tokens"].values.buffers()[1].address % 64 == 0 for part in (few, rest))
    assert reader.sample_bytes == pytest.approx(16 * dataset.manifest.bytes / sum(LENGTHS))
    reader.close()


def test_lists_of_numbers_reach_recipes_as_arrays_that_they_may_write_to(dataset):
    reader = BlockReader(dataset)
    records = reader.gather(np.array([0, 0, 2]), np.array([0, 1, 0]))
    samples = as_samples(records)
    assert [sample["tokens"].tolist() for sample in samples] == records["tokens"].to_pylist()
    assert {sample["tokens"].dtype for sample in samples} == {np.dtype(np.uint32)}
    samples[0]["tokens"][0] = 9
    assert records["tokens"][0].as_py()[0] == 0  # of what others have
    table = pa.Table.from_batches([records.slice(2, 1), records.slice(0, 1)])
    assert [s["tokens"].tolist() for s in as_samples(table)] == table["tokens"].to_pylist()
    other = pa.record_batch({"l": [[1, None], [2]], "s": [["a"], []], "n": [None, [1]]})
    assert as_samples(other) == other.to_pylist()
    reader.close()


@pytest.mark.parametrize(
    ("schema", "wanted", "message"),
    [
        ({"a": pa.list_(pa.int8())}, "b", ("there is no column b", "name one of a")),
        (
            {"a": pa.list_(pa.int8()), "b": pa.string()},
            "b",
            ("b holds string and no lists of integers", "name one of a"),
        ),
        (
            {"a": pa.list_(pa.int8()), "b": pa.list_(pa.int8())},
            None,
            ("2 columns hold lists", "name one of a, b"),
        ),
        ({"a": pa.list_(pa.float32())}, None, ("0 columns hold lists", "pack the data set's tokens")),
    ],
)
def test_another_column_is_refused(tmp_path, schema, wanted, message):
    write_shards(iter([dict.fromkeys(schema)]), pa.schema(schema), tmp_path.as_uri())
    what, fix = message
    with pytest.raises(DataError, match=what) as caught:
        choose_column(Dataset.open(tmp_path.as_uri()), tmp_path.as_uri(), wanted)
    assert fix in str(caught.value)


def test_the_only_column_need_not_be_named(dataset):
    assert choose_column(dataset, "here", None) == choose_column(dataset, "here", "tokens") == "tokens"


def test_fewer_tokens_than_a_sample_are_refused(dataset):
    uri = dataset.store.uri
    assert count_samples(dataset, PACKING, uri) == sum(LENGTHS) // 16
    with pytest.raises(DataError, match=f"holds {sum(LENGTHS)} tokens, fewer than a sample of 9999"):
        count_samples(dataset, Packing(column="tokens", length=9999), uri)


def test_formats_that_do_not_count_tokens_are_to_be_packed_first(tmp_path):
    pq.write_table(
        pa.table({"tokens": pa.array([[1, 2], [3]], pa.list_(pa.int32()))}), tmp_path / "a.parquet"
    )
    index(tmp_path.as_uri())
    with pytest.raises(DataError, match="does not say how many values of tokens") as caught:
        block_rows(Dataset.open(tmp_path.as_uri()), PACKING)
    assert "lockstep data pack" in str(caught.value)


def test_a_null_token_is_damage_with_its_place(tmp_path):
    rows = [{"tokens": [1, 2, None, 4]}]
    write_shards(iter(rows), pa.schema([("tokens", pa.list_(pa.int32()))]), tmp_path.as_uri())
    packing = Packing(column="tokens", length=2)
    reader = BlockReader(Dataset.open(tmp_path.as_uri()), packing=packing)
    with pytest.raises(DamagedBlockError, match=r"shard-00000.arrow at byte.*1 nulls among them"):
        reader.begin(cut(np.array([0, 4]), np.array([0]), 2)).parts([1])
    reader.close()
