"""Verification finds every damaged block and says how much it could know."""

from pathlib import Path

from tests.support.datasets import number_set, raw_files
from workers.data.dataset import Dataset
from workers.data.index import index
from workers.data.verify import verify


def test_an_intact_set_has_no_damage(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, 100)
    found = verify(dataset)
    assert found.damage == ()
    assert found.blocks == found.by_checksum == len(dataset.manifest)


def test_exactly_the_damaged_blocks_are_named(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, 400)
    altered, missing = dataset.manifest.block(1), dataset.manifest.block(len(dataset.manifest) - 1)
    shard = bytearray((tmp_path / altered.object).read_bytes())
    shard[altered.offset + 20] ^= 255
    (tmp_path / altered.object).write_bytes(shard)
    (tmp_path / missing.object).unlink()
    lost = [n for n in range(len(dataset.manifest)) if dataset.manifest.block(n).object == missing.object]
    damage = verify(dataset).damage
    assert len(damage) == 1 + len(lost)
    assert f"{altered.object} at byte {altered.offset}: block 1 is damaged (altered" in damage[0]
    assert all("missing" in message for message in damage[1:])


def test_objects_that_were_never_read_are_known_by_their_tags(tmp_path: Path) -> None:
    uri = raw_files(tmp_path, [b"one", b"two"])
    index(uri)
    found = verify(Dataset.open(uri))
    assert (found.blocks, found.by_checksum, found.damage) == (2, 0, ())
    (tmp_path / "00001.bin").write_bytes(b"TWO")
    assert len(verify(Dataset.open(uri)).damage) == 1
