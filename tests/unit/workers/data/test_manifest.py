"""The manifest keeps what it is given, in bytes that depend on nothing else."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.blocks import Block, BlockTable
from workers.data.manifest import NAME, Manifest
from workers.errors import DataError
from workers.storage import NotFound, Store

SCHEMA = pa.schema([pa.field("x", pa.int32(), nullable=False), ("y", pa.list_(pa.string()))])

BLOCKS = st.builds(
    Block,
    offset=st.integers(0, 2**62),
    length=st.integers(0, 2**40),
    rows=st.integers(0, 2**30),
    crc32c=st.none() | st.integers(0, 2**32 - 1),
)
NAMES = st.text(min_size=1, max_size=20)
SIZES = st.integers(0, 2**62)
OBJECTS = st.lists(st.tuples(NAMES, SIZES, st.text(max_size=10), st.lists(BLOCKS, max_size=5)), max_size=8)


def manifest(objects: list[tuple[str, int, str, list[Block]]]) -> Manifest:
    table = BlockTable()
    for name, size, etag, blocks in objects:
        table.add(name=name, size=size, etag=etag, blocks=blocks)
    return table.manifest("arrow", SCHEMA)


def small() -> Manifest:
    blocks = [
        Block(offset=8, length=10, rows=3, crc32c=2**32 - 1),
        Block(offset=18, length=5, rows=2, crc32c=0),
    ]
    return manifest([("a", 30, "e1", blocks), ("b", 7, "e2", [Block(offset=0, length=7, rows=1)])])


@settings(max_examples=80, deadline=None)
@given(objects=OBJECTS)
def test_what_is_stored_is_what_is_read(objects: list[tuple[str, int, str, list[Block]]]) -> None:
    written = manifest(objects)
    data = written.to_bytes()
    read = Manifest.from_bytes(data)
    assert read.to_bytes() == data == manifest(objects).to_bytes()
    assert read.digest == written.digest
    assert read.schema.equals(SCHEMA)
    assert read.object_sizes.tolist() == [size for _, size, _, _ in objects]
    specs = [read.block(number) for number in range(len(read))]
    expected = [(name, block) for name, _, _, blocks in objects for block in blocks]
    assert [(spec.object, spec.offset, spec.length, spec.rows, spec.crc32c) for spec in specs] == [
        (name, block.offset, block.length, block.rows, block.crc32c) for name, block in expected
    ]


def test_blocks_are_numbered_and_so_are_their_samples() -> None:
    table = small()
    assert (table.rows, table.bytes, len(table)) == (6, 22, 3)
    assert table.first_row.tolist() == [0, 3, 5]
    assert table.edges.tolist() == [0, 3, 5, 6]
    assert table.first_of_object(table.block_rows).tolist() == [0, 3, 0]
    assert table.first_of_object(np.array([5, 7, 9])).tolist() == [0, 5, 0]
    assert not table.single_rows


def test_an_object_is_pinned_by_its_tag_only_where_a_checksum_is_not_known() -> None:
    table = small()
    assert (table.block(0).crc32c, table.block(0).etag) == (2**32 - 1, None)
    assert (table.block(1).crc32c, table.block(2).crc32c) == (0, None)
    assert table.block(2).etag == "e2"


def test_any_change_gives_another_digest() -> None:
    blocks = [Block(offset=0, length=1, rows=1, crc32c=5)]
    other = [Block(offset=0, length=1, rows=1, crc32c=6)]
    digests = {
        manifest([("a", 1, "", blocks)]).digest,
        manifest([("a", 1, "", other)]).digest,
        manifest([("b", 1, "", blocks)]).digest,
        BlockTable().manifest("raw", SCHEMA).digest,
        BlockTable().manifest("arrow", SCHEMA).digest,
        BlockTable().manifest("arrow", pa.schema([])).digest,
    }
    assert len(digests) == 6


def test_saving_twice_needs_to_be_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri())
    with pytest.raises(NotFound):
        Manifest.load(store)
    small().save(store)
    with pytest.raises(DataError, match="there is a data set already"):
        manifest([]).save(store)
    assert Manifest.load(store).digest == small().digest
    manifest([]).save(store, replace=True)
    assert Manifest.load(store).rows == 0


@pytest.mark.parametrize("damage", [b"", b"not arrow", "cut", "other"])
def test_what_is_not_a_manifest_is_refused(damage: bytes | str, tmp_path: Path) -> None:
    if damage == "cut":
        damage = small().to_bytes()[:-100]
    if damage == "other":  # Arrow, but not ours
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, SCHEMA):
            pass
        damage = sink.getvalue().to_pybytes()
    store = Store(tmp_path.as_uri())
    assert isinstance(damage, bytes)
    store.put(NAME, damage)
    with pytest.raises(DataError, match=r"manifest\.arrow: not a data set manifest"):
        Manifest.load(store)


def test_a_million_blocks_are_one_small_table() -> None:
    count = 10**6
    names = [f"shard-{number:05d}.arrow" for number in range(1000)]
    table = Manifest(
        format="arrow",
        schema=SCHEMA,
        object_names=pa.array(names),
        object_etags=pa.nulls(len(names), pa.string()),
        object_sizes=np.full(len(names), 2**30),
        objects=np.repeat(np.arange(len(names), dtype=np.int32), count // len(names)),
        offsets=np.arange(count),
        lengths=np.full(count, 2**20),
        block_rows=np.full(count, 1000),
        crc32c=np.arange(count),
    )
    data = table.to_bytes()
    assert len(data) < 50 * count
    read = Manifest.from_bytes(data)
    assert read.rows == 10**9
    assert read.block(999_999).object == "shard-00999.arrow"
