"""Tar files are read as their own library reads them, and what is not whole is never taken for whole."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.blocks import BlockTable
from workers.data.formats import tar
from workers.data.formats.layout import Layout
from workers.errors import DataError

WHERE = "s3://bucket/a.tar"
File = tuple[str, bytes]


def archive(files: list[File], format: int = tarfile.USTAR_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format) as out:
        for name, body in files:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            out.addfile(member, io.BytesIO(body))
    return sink.getvalue()


def scan(data: bytes, **options: Any) -> Layout:
    return tar.scan(lambda at, length: data[at : at + length], len(data), where=WHERE, **options)


def samples(data: bytes, **options: Any) -> list[dict[str, Any]]:
    """All samples, block by block; None where a sample lacks a column left out."""
    layout = scan(data, **options)
    table = BlockTable()
    table.add(name="a.tar", size=len(data), etag=None, blocks=layout.blocks)
    manifest = table.manifest("tar", layout.schema)
    found: list[dict[str, Any]] = []
    for number, block in enumerate(layout.blocks):
        payload = pa.py_buffer(data[block.offset : block.offset + block.length])
        batch = tar.decode(manifest, manifest.block(number), payload)
        assert batch.num_rows == block.rows
        found += [{k: v for k, v in row.items() if v is not None} for row in batch.to_pylist()]
    return found


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/.\0", exclude_categories=["Cs"]), min_size=1
)
columns = st.sampled_from(["jpg", "CLS", "seg.png", "json"])


@st.composite
def sets(draw: st.DrawFn) -> list[tuple[str, dict[str, bytes]]]:
    keys = draw(st.lists(st.tuples(st.sampled_from(["", "d/", "é/x y/"]), names), unique=True, max_size=6))
    bodies = st.dictionaries(columns, st.binary(max_size=1500), min_size=1, max_size=3)
    return [(folder + name, draw(bodies)) for folder, name in keys]


@settings(max_examples=60, deadline=None)
@given(
    sets(),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.integers(1, 9000),
)
def test_samples_come_back_as_they_were_written(content, format, block_bytes):
    files = [(f"{key}.{column}", body) for key, sample in content for column, body in sample.items()]
    try:
        data = archive(files, format)
    except ValueError:  # ustar has no room for a long name
        return
    expected = [{"__key__": key} | {c.lower(): body for c, body in sample.items()} for key, sample in content]
    assert samples(data, block_bytes=block_bytes) == expected


def test_blocks_are_runs_of_whole_samples_no_larger_than_asked_for():
    data = archive([(f"{n:03}.{ext}", bytes(700)) for n in range(20) for ext in ("a", "b")])
    layout = scan(data, block_bytes=10_000)
    assert sum(block.rows for block in layout.blocks) == 20
    assert all(block.length <= 10_000 for block in layout.blocks)
    assert [b.offset + b.length for b in layout.blocks[:-1]] == [b.offset for b in layout.blocks[1:]]


def test_a_sample_that_is_larger_than_a_block_is_one():
    data = archive([("a.x", bytes(9000)), ("b.x", b"1")])
    assert [block.rows for block in scan(data, block_bytes=1000).blocks] == [1, 1]


def test_folders_links_and_files_without_an_extension_belong_to_no_sample():
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as out:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/link.jpg", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            out.addfile(member)
        for name in ("README", "d/1.jpg", ".hidden", "d/1.cls"):
            member = tarfile.TarInfo(name)
            member.size = 3
            out.addfile(member, io.BytesIO(b"abc"))
    assert samples(sink.getvalue()) == [{"__key__": "d/1", "jpg": b"abc", "cls": b"abc"}]


def test_large_bodies_are_not_read_for_an_index():
    data = archive([(f"{n}.bin", bytes(1_000_000)) for n in range(10)])
    asked: list[int] = []

    def read(at: int, length: int) -> bytes:
        asked.append(length)
        return data[at : at + length]

    layout = tar.scan(read, len(data), where=WHERE)
    assert sum(block.rows for block in layout.blocks) == 10
    assert sum(asked) < 0.02 * len(data)


def test_small_files_are_indexed_with_few_reads():
    data = archive([(f"{n}.txt", b"x") for n in range(5000)])
    reads: list[int] = []

    def read(at: int, length: int) -> bytes:
        reads.append(length)
        return data[at : at + length]

    tar.scan(read, len(data), where=WHERE)
    assert len(reads) < 20


@pytest.mark.parametrize("left", [0.2, 0.5, 0.93, 0.999])
def test_one_that_is_cut_short_is_refused_wherever_it_was_cut(left):
    data = archive([(f"{n}.bin", bytes(3000)) for n in range(10)])[: 10 * 3584]
    with pytest.raises(DataError, match="not whole"):
        scan(data[: int(left * len(data))])


def test_one_that_is_cut_between_two_files_is_refused_too():
    data = archive([("a.x", b"1"), ("b.x", b"2")])
    with pytest.raises(DataError, match="neither a file nor an end mark at byte 1024"):
        scan(data[:1024])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("a.x", b"1"), ("b.x", b"2"), ("a.y", b"3")], "two samples have the key a"),
        ([("a.x", b"1"), ("a.X", b"2")], r"the file a\.X is there twice"),
    ],
)
def test_what_is_there_twice_is_refused_by_name(files, said):
    with pytest.raises(DataError, match=said) as caught:
        scan(archive(files))
    assert WHERE in str(caught.value)


def test_a_compressed_tar_is_refused_with_advice():
    import gzip

    with pytest.raises(DataError, match="unpack it"):
        scan(gzip.compress(archive([("a.x", b"1")])))


def test_a_name_that_is_not_unicode_is_refused():
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", encoding="latin-1", format=tarfile.GNU_FORMAT) as out:
        out.addfile(tarfile.TarInfo("é.x"))
    with pytest.raises(DataError, match="not UTF-8"):
        scan(sink.getvalue())
