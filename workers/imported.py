"""All that a worker's process imports, at once: the better part of its start. Ray's actor imports it, and the
server that others are forked from.
"""

from __future__ import annotations

from workers.garbage import settling

with settling():
    import obstore
    import pyarrow
    import torch
    import torch._dynamo  # torch imports these two when it is told to be deterministic, or makes an optimizer
    import torch._inductor

    import workers.training.engine
    from workers.worker import Worker

__all__ = ["Worker", "obstore", "pyarrow", "torch", "workers"]
