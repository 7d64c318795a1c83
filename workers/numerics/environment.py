"""Everything outside the job file that bits depend on: pinned here, recorded as the fingerprint."""

from __future__ import annotations

import os
import platform
from typing import Any

from workers.errors import InputError

#: For deterministic cuBLAS; must be set before CUDA starts.
_CUBLAS_WORKSPACE = ":4096:8"


def pin(threads: int, device: str) -> None:
    """Make this process's arithmetic repeatable. Call before the recipe is imported.

    Args:
        threads: CPU threads of one operator; 1 and 2 give different bits, so the job fixes it.
        device: "cpu" or "cuda".

    Raises:
        InputError: the worker was given a GPU that torch cannot use.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _CUBLAS_WORKSPACE)
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        what = f"there is no CUDA device that torch {torch.__version__} can use on {platform.node()}"
        fix = "use workers.gpus: 0, or nodes with a GPU, its driver and a CUDA build of torch"
        raise InputError(what, where="workers.gpus", fix=fix)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN finds bugs in operators, at the price of writing everything twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def fingerprint(device: str, optimizer: object) -> dict[str, Any]:
    """What must be equal for a resumed job to give the same bits (JSON values only).

    Of an optimizer only the fused implementations round differently; foreach and for-loop agree.
    """
    import torch

    groups = getattr(optimizer, "param_groups", [])
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "optimizer": type(optimizer).__name__,
        "optimizer_fused": any(bool(group.get("fused")) for group in groups),
    }
    if device == "cuda":
        facts |= {
            "device": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts
