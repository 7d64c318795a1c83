import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import (
    JOB,
    SMALL_CHUNKS,
    chunk_path,
    draft,
    fill,
    flip,
    folder_store,
    save,
    specs_strategy,
)
from workers.checkpoint.diff import compare
from workers.checkpoint.export import export
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.sides import CheckpointSide, FileSide
from workers.checkpoint.tensors import ITEM_BYTES, RawTensor, TensorSpec
from workers.errors import CheckpointError
from workers.storage import Store

MB = 10**6


def stored(
    folder: Path, tensors: dict[str, RawTensor], chunk_bytes: int, frozen=(), **facts
) -> CheckpointSide:
    """A checkpoint of these tensors."""
    specs = {key: replace(tensor.spec, frozen=key in frozen) for key, tensor in tensors.items()}
    store, chunks = folder_store(folder), plan_chunks(specs, chunk_bytes)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(tensors)).records
    text = {**draft({}, 1), "tensors": draft(specs, 1)["tensors"], **facts}
    return CheckpointSide(store, commit(store, text, records, None))


def tensor(values: list[float], dtype: str = "<f4") -> RawTensor:
    array = np.array(values, dtype)
    return RawTensor(dtype=f"F{8 * array.itemsize}", shape=array.shape, data=memoryview(array.tobytes()))


@given(specs_strategy(), st.integers(8, 90), st.integers(8, 90), st.data())
@settings(max_examples=60, deadline=None)
def test_exactly_the_altered_tensors_differ_however_the_states_are_cut(specs, cut_a, cut_b, data) -> None:
    tensors = fill(specs, 1)
    nonempty = [key for key in sorted(tensors) if tensors[key].data]
    altered = data.draw(st.sets(st.sampled_from(nonempty))) if nonempty else set()
    other, expected = dict(tensors), {}
    for key in sorted(altered):
        octets, item = bytearray(tensors[key].data), ITEM_BYTES[tensors[key].dtype]
        places = data.draw(st.sets(st.integers(0, len(octets) - 1), min_size=1, max_size=4))
        for place in places:
            octets[place] ^= 1
        other[key] = replace(tensors[key], data=memoryview(bytes(octets)))
        expected[key] = len({place // item for place in places})
    missing = data.draw(st.sets(st.sampled_from(sorted(tensors)))) if tensors else set()
    other = {key: value for key, value in other.items() if key not in missing}
    frozen = data.draw(st.sets(st.sampled_from(sorted(tensors)))) if tensors else set()
    with tempfile.TemporaryDirectory() as name:
        a = stored(Path(name) / "a", tensors, cut_a, frozen)
        b = stored(Path(name) / "b", other, cut_b, frozen - missing)
        found, back = compare(a, b), compare(b, a)
    assert {difference.key: difference.measured.elements for difference in found.tensors} == {
        key: count for key, count in expected.items() if key not in missing
    }
    assert found.only_a == back.only_b == tuple(sorted(missing))
    assert found.only_b == ()
    assert found.facts == {}
    assert found.equal == len(tensors) - len(missing) - len(found.tensors)
    assert found.same == (not missing and not found.tensors) == back.same


@given(specs_strategy())
@settings(max_examples=30, deadline=None)
def test_a_checkpoint_equals_what_it_was_exported_to(specs) -> None:
    with tempfile.TemporaryDirectory() as name:
        store, out = folder_store(Path(name) / "job"), Path(name) / "out.safetensors"
        manifest = save(store, specs, 1)
        export(store, manifest, out)
        found = compare(CheckpointSide(store, manifest), FileSide(out))
        assert (found.same, found.facts, found.equal) == (True, None, len(specs))
        assert compare(FileSide(out), FileSide(out)).same


def test_what_is_equal_by_its_hash_is_not_read(tmp_path, monkeypatch) -> None:
    specs = {
        "model/a": TensorSpec(dtype="F32", shape=(64,)),
        "model/b": TensorSpec(dtype="F32", shape=(200,), frozen=True),
    }
    store = folder_store(tmp_path)
    first = save(store, specs, 1)
    second = save(store, specs, 2, first)
    read = []
    get = Store.get_view
    monkeypatch.setattr(Store, "get_view", lambda self, name: read.append(name) or get(self, name))
    found = compare(CheckpointSide(store, first), CheckpointSide(store, second))
    assert [difference.key for difference in found.tensors] == ["model/a"]
    assert found.read_bytes == 2 * specs["model/a"].nbytes
    trained = sum(record.pieces[0].key == "model/a" for record in first.chunks)
    assert len(read) == len(set(read)) == 2 * trained
    del read[:]
    again = save(folder_store(tmp_path / "again"), specs, 1)
    del read[:]
    assert compare(CheckpointSide(store, first), CheckpointSide(folder_store(tmp_path / "again"), again)).same
    assert read == []


def test_the_same_piece_in_the_same_chunk_at_another_place_is_not_taken_for_equal(tmp_path) -> None:
    """Flat pieces of one length and content make one object, wherever they lie in their tensor."""
    values = [1.0] * 4 + [2.0] * 4
    a = stored(tmp_path / "a", {"model/a": tensor(values)}, 16)
    b = stored(tmp_path / "b", {"model/a": tensor(values[::-1])}, 16)
    assert {span.sha256 for span in a.spans("model/a")} == {span.sha256 for span in b.spans("model/a")}
    (difference,) = compare(a, b).tensors
    assert difference.measured.elements == 8


def test_how_much_they_differ_is_measured_over_all_chunks(tmp_path) -> None:
    values = np.arange(1, 65, dtype=np.float32)
    other = values.copy()
    other[[3, 40]] += [0.5, 16.0]
    a = stored(tmp_path / "a", {"model/a": tensor(values)}, SMALL_CHUNKS)
    b = stored(tmp_path / "b", {"model/a": tensor(other)}, SMALL_CHUNKS)
    (difference,) = compare(a, b).tensors
    assert (difference.measured.elements, difference.measured.max_abs) == (2, 16.0)
    assert difference.measured.max_rel == pytest.approx(16 / 57)


def test_tensors_of_another_kind_are_named_and_not_compared(tmp_path) -> None:
    a = stored(tmp_path / "a", {"model/a": tensor([1.0, 2.0]), "model/b": tensor([1.0])}, 64)
    b = stored(tmp_path / "b", {"model/a": tensor([1.0]), "model/b": tensor([1.0], "<f8")}, 64)
    found = compare(a, b)
    assert [(d.key, d.a.shape, d.b.dtype, d.measured) for d in found.tensors] == [
        ("model/a", (2,), "F32", None),
        ("model/b", (1,), "F64", None),
    ]
    assert not found.same


def test_facts_are_compared_by_name(tmp_path) -> None:
    tensors = {"model/a": tensor([1.0])}
    data = {"train": {"digest": "x", "rows": 3}, "evaluation": None}
    a = stored(tmp_path / "a", tensors, 64, params={"width": 8, "rates": [0.1, 0.2]}, data=data)
    b = stored(
        tmp_path / "b",
        tensors,
        64,
        {"model/a"},
        params={"rates": [0.1, 0.3], "depth": 2},
        data={**data, "train": {"digest": "y", "rows": 3}},
        seed=8,
        job="other",
    )
    assert compare(a, b).facts == {
        "data.train.digest": ("x", "y"),
        "frozen.model/a": (False, True),
        "params.depth": ("(none)", 2),
        "params.rates.1": (0.2, 0.3),
        "params.width": (8, "(none)"),
        "seed": (JOB.seed, 8),
    }
    assert not compare(a, b).same
    assert compare(
        a, stored(tmp_path / "c", tensors, 64, params={"width": 8, "rates": [0.1, 0.2]}, data=data)
    ).same


def test_a_damaged_chunk_that_has_to_be_read_is_named(tmp_path) -> None:
    specs = {"model/a": TensorSpec(dtype="F32", shape=(64,))}
    store = folder_store(tmp_path)
    first, second = save(store, specs, 1), save(store, specs, 2)
    flip(chunk_path(tmp_path, second, 2), 99)
    with pytest.raises(CheckpointError, match="altered"):
        compare(CheckpointSide(store, first), CheckpointSide(store, second))


@pytest.mark.parametrize("content", [b"", b"12345678{", b"\x02" + bytes(7) + b"[]", b"\xff" * 40])
def test_what_is_no_safetensors_file_is_said(tmp_path, content) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        FileSide(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="No such file"):
        FileSide(tmp_path / "y.safetensors")


def test_a_file_that_is_cut_short_is_said(tmp_path) -> None:
    specs = {"model/a": TensorSpec(dtype="F32", shape=(64,))}
    store, out = folder_store(tmp_path), tmp_path / "out.safetensors"
    manifest = save(store, specs, 1)
    export(store, manifest, out)
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut short"):
        compare(CheckpointSide(store, manifest), FileSide(out))


DIFF = """
import re, sys
from pathlib import Path
from workers.checkpoint.diff import compare
from workers.checkpoint.sides import checkpoint_side
from workers.storage import Store
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
small, large = sys.argv[1:]
for uri in (small, large):
    store = Store(uri)
    before = peak()
    found = compare(checkpoint_side(store, 1), checkpoint_side(store, 2))
print(peak() - before, found.read_bytes, "torch" in sys.modules)
"""


@pytest.mark.slow
def test_memory_is_bounded_by_a_few_chunks_and_torch_is_not_needed(tmp_path) -> None:
    sizes = {"small": [1000], "large": [25 * MB, 25 * MB]}  # elements: two tensors of 100 MB
    uris = []
    for folder, counts in sizes.items():
        specs = {f"model/{n}": TensorSpec(dtype="F32", shape=(count,)) for n, count in enumerate(counts)}
        store, manifest = folder_store(tmp_path / folder), None
        for step in (1, 2):
            manifest = save(store, specs, step, manifest, chunk_bytes=4 * MB)
        uris.append(store.uri)
    run = subprocess.run(
        [sys.executable, "-c", DIFF, *uris], capture_output=True, text=True, check=True, timeout=120
    )
    grown, read_bytes, with_torch = run.stdout.split()
    assert (int(read_bytes), with_torch) == (4 * 100 * MB, "False")
    assert int(grown) < 60 * MB
