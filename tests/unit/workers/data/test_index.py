"""Objects of others become a data set in place."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.support.datasets import number_set, raw_files
from workers.data.dataset import Dataset
from workers.data.index import index
from workers.data.reader import BlockReader
from workers.data.verify import verify
from workers.errors import DataError


def test_each_raw_object_is_one_block_of_one_sample(tmp_path: Path) -> None:
    uri = raw_files(tmp_path, [b"", b"a", b"bb"])
    manifest = index(uri)
    assert (manifest.rows, manifest.bytes, manifest.single_rows) == (3, 3, True)
    assert manifest.object_names.to_pylist() == ["00000.bin", "00001.bin", "00002.bin"]
    assert manifest.block(2).crc32c is None
    assert manifest.block(2).etag
    assert Dataset.open(uri).manifest.digest == manifest.digest


def test_indexing_again_sees_new_objects_and_not_its_own(tmp_path: Path) -> None:
    uri = raw_files(tmp_path, [b"a"])
    index(uri)
    (tmp_path / "later.bin").write_bytes(b"b")
    assert index(uri).object_names.to_pylist() == ["00000.bin", "later.bin"]


def test_checksums_are_pinned_in_place_of_tags_when_asked(tmp_path: Path) -> None:
    manifest = index(raw_files(tmp_path, [b"123456789"]), checksums=True)
    assert manifest.block(0).crc32c == 0xE3069283  # the check value of CRC-32C
    assert manifest.block(0).etag is None


def test_shards_are_indexed_from_their_footers(tmp_path: Path) -> None:
    packed = number_set(tmp_path, 300).manifest
    indexed = index(tmp_path.as_uri())
    assert indexed.format == "arrow"
    assert indexed.offsets.tolist() == packed.offsets.tolist()
    assert indexed.lengths.tolist() == packed.lengths.tolist()
    assert indexed.block_rows.tolist() == packed.block_rows.tolist()
    assert indexed.block(0).etag


def test_nothing_a_mixture_and_unlike_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no objects here"):
        index((tmp_path / "missing").as_uri())
    number_set(tmp_path, 10)
    (tmp_path / "README").write_text("not a shard")
    with pytest.raises(DataError, match=r"1 \.arrow objects and 1 others are mixed"):
        index(tmp_path.as_uri())
    assert index(tmp_path.as_uri(), format="arrow").rows == 10
    assert index(tmp_path.as_uri(), format="raw").rows == 2
    batch = pa.record_batch({"other": [1]})
    with pa.ipc.new_file(tmp_path / "z.arrow", batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(DataError, match=r"z.arrow: its columns differ"):
        index(tmp_path.as_uri(), format="arrow")


def test_a_file_that_only_calls_itself_arrow_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(b"ARROW1" + bytes(100))
    with pytest.raises(DataError, match=r"a.arrow: cannot read this as an Arrow IPC file"):
        index(tmp_path.as_uri())


def tar_file(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as out:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            out.addfile(member, io.BytesIO(body))


def test_tar_files_are_indexed_from_their_headers_and_read_with_the_columns_of_all(tmp_path: Path) -> None:
    tar_file(tmp_path / "a b%20.tar", {"1.jpg": b"one", "1.cls": b"1", "2.jpg": b""})
    tar_file(tmp_path / "c.tar", {"1.txt": b"three"})
    manifest = index(tmp_path.as_uri(), checksums=True)
    assert (manifest.format, manifest.rows, len(manifest)) == ("tar", 3, 2)
    dataset = Dataset.open(tmp_path.as_uri())
    rows = BlockReader(dataset).gather(np.array([1, 0, 0]), np.array([0, 1, 0])).to_pylist()
    assert rows == [
        {"__key__": "1", "cls": None, "jpg": None, "txt": b"three"},
        {"__key__": "2", "cls": None, "jpg": b"", "txt": None},
        {"__key__": "1", "cls": b"1", "jpg": b"one", "txt": None},
    ]
    assert verify(dataset).damage == ()


def test_tar_files_without_a_sample_are_refused(tmp_path: Path) -> None:
    tar_file(tmp_path / "a.tar", {"README": b""})
    with pytest.raises(DataError, match="hold no samples"):
        index(tmp_path.as_uri())


def test_a_manifest_can_lie_elsewhere_and_is_the_same(tmp_path: Path) -> None:
    source = raw_files(tmp_path / "in", [b"a", b"bb"])
    before = sorted(path.name for path in (tmp_path / "in").rglob("*"))
    manifest = index(source, to=(tmp_path / "set").as_uri())
    assert sorted(path.name for path in (tmp_path / "in").rglob("*")) == before
    dataset = Dataset.open((tmp_path / "set").as_uri(), digest=manifest.digest)
    assert BlockReader(dataset).gather(np.array([1]), np.array([0])).to_pylist() == [
        {"key": "00001.bin", "data": b"bb"}
    ]
    assert dataset.address(manifest.block(0)).startswith(source)
    assert index(source).digest == manifest.digest


def test_a_manifest_is_not_laid_beside_objects_that_it_does_not_describe(tmp_path: Path) -> None:
    source, other = raw_files(tmp_path / "in", [b"a"]), raw_files(tmp_path / "other", [b"b"])
    with pytest.raises(DataError, match="other objects"):
        index(source, to=other)
    assert index(source, to=(tmp_path / "set").as_uri()).rows == 1
    (tmp_path / "in" / "more.bin").write_bytes(b"c")
    assert index(source, to=(tmp_path / "set").as_uri()).rows == 2, "again is no mistake"
