"""Messages between a process and a child that it started: what is large in them is sent from where it lies.

They are pickled (protocol 5, with buffers out of band): both ends are one program, started by one user, over
a socket pair that nobody else can open. Nothing that is pickled here is ever stored.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

#: Smaller buffers are cheaper within the pickle than beside it.
_BESIDE_BYTES = 4096
_SIZE = struct.Struct("<Q")
_ALIGNMENT_BYTES = 64

Parts = Sequence[memoryview]


def pack(message: Any) -> Parts:
    """A message, ready to be sent: the pickle, and what lies beside it. Nothing large is copied.

    Raises:
        Whatever pickling it raised: something in it cannot be sent.
    """
    beside: list[memoryview] = []

    def keep_within(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _BESIDE_BYTES:
            beside.append(raw)
        return raw.nbytes < _BESIDE_BYTES

    sink = io.BytesIO()
    _Pickler(sink, protocol=5, buffer_callback=keep_within).dump(message)
    return [sink.getbuffer(), *beside]


def send(channel: socket.socket, parts: Parts) -> None:
    """Send what `pack` gave.

    Raises:
        OSError: the other end is gone.
    """
    sizes = [len(parts), *(part.nbytes for part in parts)]
    channel.sendall(b"".join(map(_SIZE.pack, sizes)))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket) -> Any:
    """Wait for the next message. Its arrays and tensors lie in memory of their own, at multiples of 64 bytes.

    Raises:
        EOFError, OSError: the other end is gone.
    """
    [count] = _SIZE.unpack(_read(channel, _SIZE.size))
    sizes = [size for [size] in _SIZE.iter_unpack(_read(channel, count * _SIZE.size))]
    message, *beside = [_read(channel, size) for size in sizes]
    return pickle.loads(message, buffers=beside)


def _read(channel: socket.socket, size: int) -> pa.Buffer:
    buffer = pa.allocate_buffer(size)
    left = memoryview(buffer).cast("B")
    while left.nbytes:
        got = channel.recv_into(left)
        if not got:
            raise EOFError("the other end is gone")
        left = left[got:]
    return buffer


class _Pickler(pickle.Pickler):
    """Knows tensors: torch's own way copies them twice, and forgets nothing that matters here."""

    def reducer_override(self, value: Any) -> Any:
        torch = sys.modules.get("torch")  # without it, there are no tensors
        if torch is None or type(value) is not torch.Tensor or not _is_plain(torch, value):
            return NotImplemented
        dtype, shape, stride = value.dtype, tuple(value.shape), value.stride()
        if not value.numel():
            return _empty, (dtype, shape, stride)
        extent = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        flat = value.as_strided((extent,), (1,)).view(torch.uint8).numpy()
        return _tensor, (pickle.PickleBuffer(flat), dtype, shape, stride)


def _is_plain(torch: Any, tensor: Any) -> bool:
    """Nothing but numbers in this machine's memory. What is not goes torch's own way."""
    return bool(
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
    )


def _tensor(data: Any, dtype: Any, shape: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """With the strides that it had: other strides can mean another kernel, and other last bits."""
    import torch

    flat = torch.frombuffer(data, dtype=torch.uint8)
    if flat.data_ptr() % _ALIGNMENT_BYTES:  # it was small, and lay in the pickle
        flat = flat.clone()
    return flat.view(dtype).as_strided(shape, stride)


def _empty(dtype: Any, shape: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    import torch

    return torch.empty_strided(shape, stride, dtype=dtype)
