import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from tests.support.checkpoints import chunk_path, fill, flip, folder_store, save, specs_strategy
from workers.checkpoint.export import export
from workers.checkpoint.layout import chunk_bytes_for
from workers.checkpoint.tensors import ITEM_BYTES, TensorSpec
from workers.errors import CheckpointError

MB = 10**6

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64, "F16": torch.float16,
    "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip


def described(tensor: torch.Tensor) -> tuple[object, ...]:
    octets = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
    return tensor.dtype, tuple(tensor.shape), octets.numpy().tobytes()


@given(specs_strategy())
@settings(max_examples=50, deadline=None)
def test_torch_loads_the_tensors_that_were_saved(specs) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, out = folder_store(Path(folder)), Path(folder) / "out.pt"
        export(store, save(store, specs, 1), out)
        expected = {
            key: (DTYPES[tensor.dtype], tensor.shape, bytes(tensor.data))
            for key, tensor in fill(specs, 1).items()
        }
        for options in ({}, {"mmap": True}):
            loaded = torch.load(out, weights_only=True, **options)
            assert {key: described(tensor) for key, tensor in loaded.items()} == expected
            assert list(loaded) == sorted(specs)
            assert all(tensor.is_contiguous() for tensor in loaded.values())


@pytest.mark.parametrize("dtype", sorted(ITEM_BYTES))
def test_every_dtype_arrives_as_torchs_own(tmp_path, dtype) -> None:
    specs = {"model/a": TensorSpec(dtype=dtype, shape=(3, 2)), "model/b": TensorSpec(dtype=dtype, shape=())}
    store = folder_store(tmp_path)
    export(store, save(store, specs, 1), tmp_path / "out.pt")
    loaded = torch.load(tmp_path / "out.pt", weights_only=True)
    assert {key: described(tensor) for key, tensor in loaded.items()} == {
        key: (DTYPES[dtype], specs[key].shape, bytes(tensor.data)) for key, tensor in fill(specs, 1).items()
    }


def test_records_are_aligned_and_the_same_state_is_the_same_file(tmp_path) -> None:
    specs = {f"model/{n}": TensorSpec(dtype="F32", shape=(n,)) for n in range(1, 30)}
    files = []
    for name in ("a", "b"):
        store = folder_store(tmp_path / name)
        export(store, save(store, specs, 1), tmp_path / f"{name}.pt")
        files.append((tmp_path / f"{name}.pt").read_bytes())
    assert files[0] == files[1]
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            data = archive.read(info)
            assert (
                files[0].find(data, info.header_offset + 30 + len(info.filename)) % 64 == 0 or len(data) < 9
            )


def test_an_altered_chunk_leaves_no_file(tmp_path) -> None:
    specs = {"model/a": TensorSpec(dtype="F32", shape=(70,))}
    store = folder_store(tmp_path / "job")
    manifest = save(store, specs, 1)
    flip(chunk_path(tmp_path / "job", manifest, 1), 99)
    with pytest.raises(CheckpointError, match="altered"):
        export(store, manifest, tmp_path / "out.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


#: Prints by how much the most memory ever used grows. `ru_maxrss` would begin with that of the parent.
EXPORT = """
import re, sys
from pathlib import Path
from workers.checkpoint.export import export
from workers.checkpoint.load import read_manifest
from workers.storage import Store
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
small, large, out = sys.argv[1:]
for uri in (small, large):
    store = Store(uri)
    before = peak()
    export(store, read_manifest(store, 1), Path(out))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.pt", "out.safetensors"])
def test_memory_is_bounded_by_a_few_chunks_whatever_the_size_of_state_and_tensors(tmp_path, name) -> None:
    small = {"model/a": TensorSpec(dtype="F32", shape=(1000,))}
    large = {f"model/{n}": TensorSpec(dtype="F32", shape=(25 * MB,)) for n in range(3)}  # of 100 MB each
    large |= {f"optimizer/{n}/step": TensorSpec(dtype="F32", shape=()) for n in range(3)}
    uris = []
    for folder, specs in (("small", small), ("large", large)):
        store = folder_store(tmp_path / folder)
        save(store, specs, 1, chunk_bytes=chunk_bytes_for(sum(spec.nbytes for spec in specs.values())))
        uris.append(store.uri)
    run = subprocess.run(
        [sys.executable, "-c", EXPORT, *uris, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert (tmp_path / name).stat().st_size > 300 * MB
    assert int(run.stdout) < 40 * MB
