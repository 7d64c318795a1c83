"""The peers of the checkpoint benchmark: DDP under torchrun that saves in one way or another.

torchrun --nproc-per-node 2 checkpoint_peer.py HOW FOLDER STEPS EVERY

Rank 0 prints one JSON object, of the same form as ours.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from support.large_state import LargeState
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.nn.parallel import DistributedDataParallel

State = dict[str, object]


class Saver:
    """Saves a state, and notes when it was durable."""

    def __init__(self, how: str, folder: Path) -> None:
        self._how, self._folder = how, folder
        self.durable: dict[int, float] = {}
        self._running: Future[object] | None = None
        self._stager = None
        if how.startswith("async"):
            self._group = dist.new_group(backend="gloo")
            self._kind = AsyncCheckpointerType.PROCESS if "process" in how else AsyncCheckpointerType.THREAD

    def save(self, model: DistributedDataParallel, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Return when training may go on."""
        where = self._folder / str(step)
        if self._how == "torch.save":
            if dist.get_rank() == 0:
                where.mkdir(parents=True)
                state = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
                with (where / "state.pt").open("wb") as file:
                    torch.save(state, file)
                    file.flush()
                    os.fsync(file.fileno())
            dist.barrier()
            self.durable[step] = time.time()
            return
        weights, slots = get_state_dict(model, optimizer)
        state = {"model": weights, "optimizer": slots}
        if self._how == "dcp.save":
            dcp.save(state, checkpoint_id=where)
            self.durable[step] = time.time()
            return
        self.wait()
        self._running = dcp.async_save(
            state, checkpoint_id=where, process_group=self._group, async_checkpointer_type=self._kind
        )
        self._running.add_done_callback(lambda done: self._note(done, step))

    def wait(self) -> None:
        """For the save before."""
        if self._running is not None:
            self._running.result()
            self._running = None

    def _note(self, done: Future[object], step: int) -> None:
        self.durable[step] = time.time()


def main() -> None:
    how, folder, steps, every = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    recipe = LargeState()
    model = DistributedDataParallel(recipe.build_model())
    optimizer = recipe.build_optimizer(model.module)
    saver = Saver(how, folder)
    ends, stood = dict[int, float](), dict[int, float]()
    for step in range(1, steps + 1):
        recipe.loss(model, None).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ends[step] = time.time()
        if step % every == 0 and step < steps:
            begin = time.perf_counter()
            saver.save(model, optimizer, step)
            stood[step] = time.perf_counter() - begin
    saver.wait()
    found: list[object] = [None] * dist.get_world_size()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory += resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * how.endswith("process")
    dist.all_gather_object(found, {"ends": ends, "stood": stood, "durable": saver.durable, "memory": memory})
    if dist.get_rank() == 0:
        print(json.dumps(_together(found, folder)))
    dist.barrier()
    dist.destroy_process_group()


def _together(found: list, folder: Path) -> dict:
    ends = {step: max(one["ends"][step] for one in found) for step in found[0]["ends"]}
    return {
        "ends": ends,
        "stood": {step: max(one["stood"][step] for one in found) for step in found[0]["stood"]},
        "durable": {
            step: max(one["durable"][step] for one in found) - ends[step] for step in found[0]["durable"]
        },
        "written": {
            int(path.name): sum(part.stat().st_size for part in path.iterdir()) for path in folder.iterdir()
        },
        "memory": max(one["memory"] for one in found) * 1024,
    }


if __name__ == "__main__":
    main()
