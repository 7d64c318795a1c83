"""A peer: a job under `torchrun` that saves each step, and goes on from there. Its argument: a `Task`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist
from resumable import Task, Training


def main() -> None:
    task = Task.of(sys.argv[1])
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    training = Training(task, rank, dist.get_world_size())
    state = Path(task.states) / "state.pt"
    if state.exists():
        training.load(state)
    while True:
        training.step()
        if rank == 0:
            training.save(state)
            training.tell_step()


if __name__ == "__main__":
    main()
