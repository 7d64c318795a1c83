import numpy as np
import pytest

from workers.checkpoint.tensors import RawTensor


def test_a_range_of_elements_is_a_range_of_bytes() -> None:
    tensor = RawTensor(dtype="I16", shape=(2, 2), data=memoryview(b"aabbccdd"))
    assert bytes(tensor.elements(1, 3)) == b"bbcc"


@pytest.mark.parametrize(
    "data",
    [b"1234567", b"123456789", np.zeros(2, dtype=np.float32), np.zeros((2, 4), dtype=np.uint8)],
    ids=["too short", "too long", "floats", "not flat"],
)
def test_bytes_of_another_form_are_refused(data) -> None:
    with pytest.raises(ValueError, match="needs 8 flat bytes"):
        RawTensor(dtype="F32", shape=(2,), data=memoryview(data))
