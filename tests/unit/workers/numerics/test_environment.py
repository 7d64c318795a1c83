"""What bits depend on beside the job is pinned, and recorded as plain values."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from workers.errors import InputError
from workers.numerics.environment import fingerprint, pin

PINNED = """
import json, torch
from workers.numerics.environment import fingerprint, pin
pin(threads={threads}, device="cpu")
model = torch.nn.Linear(1, 1)
print(json.dumps(fingerprint("cpu", torch.optim.AdamW(model.parameters(), fused={fused}))))
"""


def pinned(threads: int, *, fused: bool = False) -> dict[str, object]:
    """In a process of its own: pinning is for a process's life."""
    code = PINNED.format(threads=threads, fused=fused)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts: dict[str, object] = json.loads(found.stdout)
    return facts


def test_threads_and_determinism_are_pinned_and_recorded():
    facts = pinned(2)
    assert facts["threads"] == 2
    assert facts["deterministic"] is True
    assert (facts["optimizer"], facts["optimizer_fused"]) == ("AdamW", False)
    assert facts["torch"] == torch.__version__


def test_what_rounds_differently_has_another_fingerprint():
    parameters = [torch.nn.Parameter(torch.ones(1))]
    plain = fingerprint("cpu", torch.optim.AdamW(parameters))
    assert fingerprint("cpu", torch.optim.AdamW(parameters, foreach=True)) == plain
    assert fingerprint("cpu", torch.optim.AdamW(parameters, fused=True)) != plain
    assert fingerprint("cpu", torch.optim.Adam(parameters)) != plain


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no CUDA device"):
        pin(threads=1, device="cuda")
