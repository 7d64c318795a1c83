import hashlib
import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings

from tests.support.checkpoints import chunk_path, fill, flip, folder_store, save, specs_strategy
from workers.checkpoint.export import export
from workers.checkpoint.tensors import TensorSpec
from workers.errors import AccessError, CheckpointError

SPECS = {
    "model/flag": TensorSpec(dtype="BOOL", shape=(3,)),
    "model/frozen": TensorSpec(dtype="F32", shape=(70,), frozen=True),
    "model/w": TensorSpec(dtype="I16", shape=(9, 11)),
    "optimizer/w/step": TensorSpec(dtype="F64", shape=()),
}


def digest_of_file(path: Path) -> str:
    """The state digest as a stranger would compute it, from the format's description alone."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    digest = hashlib.sha256()
    for key in sorted(table.keys() - {"__metadata__"}):
        entry = table[key]
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        shape = str(entry["shape"]).replace(" ", "")
        digest.update(b"\0".join([key.encode(), entry["dtype"].encode(), shape.encode(), data[start:stop]]))
    return digest.hexdigest()


@given(specs_strategy())
@settings(max_examples=30, deadline=None)
def test_the_digest_can_be_recomputed_by_anyone(specs) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, out = folder_store(Path(folder)), Path(folder) / "out.safetensors"
        manifest = save(store, specs, 1)
        export(store, manifest, out)
        assert digest_of_file(out) == manifest.state_digest
        with safetensors.safe_open(out, "np") as file:
            assert set(file.keys()) == set(specs)
            assert file.metadata()["state_digest"] == manifest.state_digest


def test_the_library_loads_it(tmp_path) -> None:
    specs = {key: spec for key, spec in SPECS.items() if spec.dtype != "BOOL"}
    store, out = folder_store(tmp_path), tmp_path / "out.safetensors"
    export(store, save(store, specs, 1), out)
    arrays = safetensors.numpy.load_file(out)
    raw = fill(specs, 1)
    assert {key: array.tobytes() for key, array in arrays.items()} == {
        k: bytes(t.data) for k, t in raw.items()
    }
    assert arrays["model/w"].shape == (9, 11)
    assert arrays["optimizer/w/step"].dtype == np.float64


def test_an_altered_chunk_leaves_no_file(tmp_path) -> None:
    store, out = folder_store(tmp_path / "job"), tmp_path / "out.safetensors"
    manifest = save(store, SPECS, 1)
    flip(chunk_path(tmp_path / "job", manifest, 1), 99)
    with pytest.raises(CheckpointError, match="altered"):
        export(store, manifest, out)
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_a_folder_that_does_not_exist_is_named(tmp_path) -> None:
    store = folder_store(tmp_path)
    with pytest.raises(AccessError, match=r"nowhere/out\.safetensors"):
        export(store, save(store, SPECS, 1), tmp_path / "nowhere" / "out.safetensors")
