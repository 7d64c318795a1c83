"""Opening a data set says what is wrong with it, and what would be right."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.datasets import number_set, raw_files
from workers.data.blocks import BlockTable
from workers.data.dataset import Dataset
from workers.data.formats import raw
from workers.data.index import index
from workers.data.manifest import VERSIONS, earlier_versions
from workers.data.reader import BlockReader
from workers.errors import DataError, InputError
from workers.storage import Store


def test_a_data_set_opens_with_its_rows(tmp_path: Path) -> None:
    digest = number_set(tmp_path, 10).manifest.digest
    assert Dataset.open(tmp_path.as_uri(), digest=digest).rows == 10


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "there is nothing here"),
        (lambda folder: raw_files(folder, [b"x"]), "lockstep data index file://"),
        (lambda folder: BlockTable().manifest("raw", raw.SCHEMA).save(Store(folder.as_uri())), "no samples"),
    ],
)  # fmt: skip
def test_what_is_not_a_data_set_is_refused(tmp_path: Path, prepare: object, message: str) -> None:
    assert callable(prepare)
    prepare(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        Dataset.open((tmp_path / "set").as_uri())


def test_another_data_set_in_the_same_place_is_noticed(tmp_path: Path) -> None:
    number_set(tmp_path, 10)
    with pytest.raises(DataError, match="this is another data set"):
        Dataset.open(tmp_path.as_uri(), digest="0" * 64)


def test_a_data_set_that_grew_is_read_at_the_version_that_was_pinned(tmp_path: Path) -> None:
    """Objects that are added; by the whole digest or its beginning."""
    uri, contents = tmp_path.as_uri(), [b"%d" % n for n in range(9)]
    versions = []
    for count in (3, 5, 9):
        for number in range(count):
            if not (tmp_path / f"{number}").exists():
                (tmp_path / f"{number}").write_bytes(contents[number])
        versions.append(index(uri).digest)
    assert len(set(versions)) == 3
    for version, count in zip(versions, (3, 5, 9), strict=True):
        for digest in (version, version[:8]):
            dataset = Dataset.open(uri, digest=digest)
            assert (dataset.rows, dataset.manifest.digest) == (count, version)
            records = BlockReader(dataset).gather(np.arange(count), np.zeros(count, dtype=np.int64))
            assert records.column("data").to_pylist() == contents[:count]
    assert Dataset.open(uri).rows == 9
    with pytest.raises(DataError, match="this is another data set"):
        Dataset.open(uri, digest="f" * 64)


def test_a_beginning_that_several_versions_share_is_refused(tmp_path: Path) -> None:
    number_set(tmp_path, 10)
    for digest in ("aab0", "aab1"):
        Store(tmp_path.as_uri()).put(f"{VERSIONS}/{digest}.arrow", b"")
    with pytest.raises(DataError, match=r"2 versions begin with aab\n.*name one of aab0, aab1"):
        Dataset.open(tmp_path.as_uri(), digest="aab")


def test_indexing_again_without_a_change_makes_no_version(tmp_path: Path) -> None:
    uri = raw_files(tmp_path, [b"x"])
    digest = index(uri).digest
    assert index(uri).digest == digest
    assert earlier_versions(Store(uri)) == {}
    assert Dataset.open(uri, digest=digest).rows == 1


@pytest.mark.parametrize("uri", ["", "ftp://host/x", "file://relative", "s3://", "/plain"])
def test_addresses_of_other_kinds_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        Dataset.open(uri)
