"""The peers of the checkpoint benchmark: DDP under torchrun that saves in one way or another.

torchrun --nproc-per-node 2 checkpoint_peer.py HOW URI STEPS EVERY

Rank 0 prints one JSON object, of the same form as ours.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
from collections import defaultdict
from concurrent.futures import Future
from pathlib import Path

import fsspec
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from support.large_state import LargeState
from torch.distributed.checkpoint._fsspec_filesystem import FsspecWriter
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.nn.parallel import DistributedDataParallel

State = dict[str, object]


class Saver:
    """Saves a state, and notes when it was durable."""

    def __init__(self, how: str, uri: str) -> None:
        self._how, self._uri = how, uri
        self.durable: dict[int, float] = {}
        self._running: Future[object] | None = None
        self._stager = None
        if how.startswith("async"):
            self._group = dist.new_group(backend="gloo")
            self._kind = AsyncCheckpointerType.PROCESS if "process" in how else AsyncCheckpointerType.THREAD

    def save(self, model: DistributedDataParallel, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Return when training may go on."""
        if self._how == "torch.save":
            if dist.get_rank() == 0:
                self._whole({"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}, step)
            dist.barrier()
            self.durable[step] = time.time()
            return
        weights, slots = get_state_dict(model, optimizer)
        state = {"model": weights, "optimizer": slots}
        if self._how == "dcp.save":
            dcp.save(state, storage_writer=self._writer(step))
            self.durable[step] = time.time()
            return
        self.wait()
        self._running = dcp.async_save(
            state,
            storage_writer=self._writer(step),
            process_group=self._group,
            async_checkpointer_type=self._kind,
        )
        self._running.add_done_callback(lambda done: self._note(done, step))

    def wait(self) -> None:
        """For the save before."""
        if self._running is not None:
            self._running.result()
            self._running = None

    def _whole(self, state: State, step: int) -> None:
        """By `torch.save`, in one piece."""
        if self._uri.startswith("s3:"):
            import boto3

            buffer = io.BytesIO()
            torch.save(state, buffer)
            buffer.seek(0)
            bucket, _, prefix = self._uri.removeprefix("s3://").partition("/")
            boto3.client("s3").upload_fileobj(buffer, bucket, f"{prefix}/{step}/state.pt")
            return
        where = Path(self._uri) / str(step)
        where.mkdir(parents=True)
        with (where / "state.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def _writer(self, step: int) -> dcp.StorageWriter:
        where = f"{self._uri}/{step}"
        if not where.startswith("s3:"):
            return dcp.FileSystemWriter(where)
        return FsspecWriter(
            where, default_block_size=1 << 30
        )  # one PUT: an upload in parts never begins here

    def _note(self, done: Future[object], step: int) -> None:
        self.durable[step] = time.time()


def main() -> None:
    how, uri, steps, every = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    recipe = LargeState()
    model = DistributedDataParallel(recipe.build_model())
    optimizer = recipe.build_optimizer(model.module)
    saver = Saver(how, uri)
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
        print(json.dumps(_together(found, uri)))
    dist.barrier()
    dist.destroy_process_group()


def _together(found: list, uri: str) -> dict:
    ends = {step: max(one["ends"][step] for one in found) for step in found[0]["ends"]}
    return {
        "ends": ends,
        "stood": {step: max(one["stood"][step] for one in found) for step in found[0]["stood"]},
        "durable": {
            step: max(one["durable"][step] for one in found) - ends[step] for step in found[0]["durable"]
        },
        "written": _written(uri),
        "memory": max(one["memory"] for one in found) * 1024,
    }


def _written(uri: str) -> dict[int, int]:
    """Bytes by step."""
    found: dict[int, int] = defaultdict(int)
    with_root = fsspec.filesystem("s3" if uri.startswith("s3:") else "file")
    for path, facts in with_root.find(uri, detail=True).items():
        found[int(path.split("/")[-2])] += facts["size"]
    return found


if __name__ == "__main__":
    main()
