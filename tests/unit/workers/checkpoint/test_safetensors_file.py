import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings

from tests.support.checkpoints import fill, specs_strategy
from workers.checkpoint import safetensors_file
from workers.checkpoint.tensors import RawTensor


@given(specs_strategy())
@settings(max_examples=100)
def test_the_library_reads_what_we_write(specs) -> None:
    tensors = fill(specs)
    data = b"".join(safetensors_file.encode(tensors))
    read = {
        key: (e["dtype"], tuple(e["shape"]), bytes(e["data"])) for key, e in safetensors.deserialize(data)
    }
    assert read == {key: (t.dtype, t.shape, bytes(t.data)) for key, t in tensors.items()}
    assert safetensors_file.decode(data) == tensors


@given(specs_strategy())
@settings(max_examples=50)
def test_every_tensor_is_aligned_to_its_elements(specs) -> None:
    assert len(safetensors_file.header(specs)) % 8 == 0
    assert all(start % specs[key].item_bytes == 0 for key, start in safetensors_file.offsets(specs).items())


def test_we_read_what_the_library_writes() -> None:
    arrays = {"b": np.arange(6, dtype=np.int16).reshape(2, 3), "a": np.array(1.5)}
    read = safetensors_file.decode(safetensors.numpy.save(arrays, metadata={"format": "np"}))
    assert {key: (t.dtype, t.shape, bytes(t.data)) for key, t in read.items()} == {
        "b": ("I16", (2, 3), arrays["b"].tobytes()),
        "a": ("F64", (), arrays["a"].tobytes()),
    }


@pytest.mark.parametrize("cut", [0, 7, 20, -1])
def test_a_file_that_was_cut_short_is_refused(cut) -> None:
    tensor = RawTensor(dtype="F32", shape=(2,), data=memoryview(b"12345678"))
    data = b"".join(safetensors_file.encode({"w": tensor}))
    with pytest.raises(ValueError, match="not a safetensors file"):
        safetensors_file.decode(data[:cut])
