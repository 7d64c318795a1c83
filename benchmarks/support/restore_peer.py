"""The peers of the restore benchmark: rank 0 prints one JSON object.

torchrun --nproc-per-node W restore_peer.py torch.load|dcp.load FOLDER [save]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from support.large_state import LargeState
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    how, folder, saves = sys.argv[1], Path(sys.argv[2]), sys.argv[3:] == ["save"]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    recipe = LargeState()
    model = DistributedDataParallel(recipe.build_model())
    optimizer = recipe.build_optimizer(model.module)
    if saves:
        recipe.loss(model, None).backward()
        optimizer.step()
        save(how, folder, model, optimizer)
    dist.barrier()
    begin = time.perf_counter()
    if not saves:
        load(how, folder, model, optimizer)
    dist.barrier()
    if dist.get_rank() == 0:
        print(json.dumps({"seconds": time.perf_counter() - begin}))
    dist.destroy_process_group()


def save(how: str, folder: Path, model: DistributedDataParallel, optimizer: torch.optim.Optimizer) -> None:
    """The whole state, as the peer's documentation says."""
    if how == "dcp.load":
        weights, slots = get_state_dict(model, optimizer)
        dcp.save({"model": weights, "optimizer": slots}, checkpoint_id=folder)
    elif dist.get_rank() == 0:
        torch.save(
            {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}, folder / "state.pt"
        )


def load(how: str, folder: Path, model: DistributedDataParallel, optimizer: torch.optim.Optimizer) -> None:
    """Take it over."""
    if how == "dcp.load":
        weights, slots = get_state_dict(model, optimizer)
        state = {"model": weights, "optimizer": slots}
        dcp.load(state, checkpoint_id=folder)
        set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        return
    state = torch.load(folder / "state.pt", weights_only=True)
    model.module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])


if __name__ == "__main__":
    main()
