"""Blocks of Arrow IPC files are found where pyarrow put them; raw objects become samples."""

import io
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.formats import arrow, raw
from workers.data.manifest import BlockSpec
from workers.errors import DataError

SCHEMA = pa.schema([("n", pa.int64()), ("data", pa.large_binary()), ("tags", pa.list_(pa.string()))])


def file_of(batches: list[int], compression: str | None = None) -> bytes:
    """An Arrow IPC file whose record batches have these numbers of rows."""
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, SCHEMA, options=options) as writer:
        for rows in batches:
            samples = [{"n": n, "data": bytes([n % 256]) * n, "tags": [str(n)]} for n in range(rows)]
            writer.write_batch(pa.RecordBatch.from_pylist(samples, schema=SCHEMA))
    return sink.getvalue()


def scan(data: bytes) -> arrow.Layout:
    return arrow.scan(lambda offset, length: data[offset : offset + length], len(data), where="here")


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(st.integers(0, 40), max_size=6), compression=st.sampled_from([None, "zstd", "lz4"]))
def test_every_block_reads_back_as_the_batch_that_was_written(
    batches: list[int], compression: str | None
) -> None:
    data = file_of(batches, compression)
    layout = scan(data)
    assert layout.schema.equals(SCHEMA)
    assert [block.rows for block in layout.blocks] == batches
    reader = pa.ipc.open_file(pa.py_buffer(data))
    for number, block in enumerate(layout.blocks):
        message = pa.ipc.read_message(pa.py_buffer(data[block.offset : block.offset + block.length]))
        assert pa.ipc.read_record_batch(message, SCHEMA).equals(reader.get_batch(number))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_read_but_never_crash(data: st.DataObject) -> None:
    whole = bytearray(file_of([3, 2]))
    footer = len(whole) - 400
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(footer, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DataError):  # and nothing else
        scan(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def test_the_stream_format_is_refused_with_the_way_out() -> None:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA):
        pass
    with pytest.raises(DataError, match="not the stream"):
        scan(sink.getvalue())


def test_dictionary_encoded_columns_are_refused() -> None:
    sink = io.BytesIO()
    batch = pa.record_batch({"word": pa.array(["a", "b"]).dictionary_encode()})
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(DataError, match="dictionary-encoded"):
        scan(sink.getvalue())


def test_a_raw_object_is_its_name_and_its_bytes(tmp_path: Path) -> None:
    block = BlockSpec(number=0, object="a/b.jpg", offset=0, length=3, rows=1, crc32c=None, etag="e")
    records = raw.decode(None, block, pa.py_buffer(b"xyz"))  # type: ignore[arg-type]
    assert records.to_pylist() == [{"key": "a/b.jpg", "data": b"xyz"}]
    assert records.schema.equals(raw.SCHEMA)
