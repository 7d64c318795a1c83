"""Opening a data set says what is wrong with it, and what would be right."""

from pathlib import Path

import pytest

from tests.support.datasets import number_set, raw_files
from workers.data.blocks import BlockTable
from workers.data.dataset import Dataset
from workers.data.formats import raw
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


@pytest.mark.parametrize("uri", ["", "ftp://host/x", "file://relative", "s3://", "/plain"])
def test_addresses_of_other_kinds_are_refused(uri: str) -> None:
    with pytest.raises(InputError):
        Dataset.open(uri)
