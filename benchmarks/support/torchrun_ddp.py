"""The peer: plain PyTorch DDP under torchrun, the same recipe, all batches decoded in memory beforehand.

torchrun --nproc-per-node 2 torchrun_ddp.py FOLDER MODULE:CLASS PARAMS_JSON DATA_URI BATCH MICRO_BATCHES STEPS
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from workers.data.dataset import Dataset
from workers.data.reader import BlockReader

BATCHES = 40
SKIPPED = 40
MAX_GRAD_NORM = 1.0


def main() -> None:
    folder, name, params, uri, batch, micro_batches, steps = sys.argv[1:]
    sys.path.insert(0, folder)
    module, _, cls = name.partition(":")
    recipe = getattr(importlib.import_module(module), cls)(**json.loads(params))
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batches = _load(recipe, uri, int(batch) // world // int(micro_batches), rank)
    model = DistributedDataParallel(recipe.build_model())
    optimizer = recipe.build_optimizer(model.module)
    schedule = recipe.build_schedule(optimizer)
    for step in range(int(steps)):
        if step == SKIPPED:
            begin, cpu = time.perf_counter(), time.process_time()
        _step(recipe, model, optimizer, schedule, batches, step, int(micro_batches))
    if rank == 0:
        done = int(steps) - SKIPPED
        wall = time.perf_counter() - begin
        print(
            json.dumps(
                {"steps_per_second": done / wall, "cpu_seconds_per_step": (time.process_time() - cpu) / done}
            )
        )
    dist.barrier()  # whoever leaves first can abort the other
    dist.destroy_process_group()


def _step(recipe, model, optimizer, schedule, batches, step, micro_batches) -> float:
    total = 0.0
    for micro in range(micro_batches):
        last = micro == micro_batches - 1
        with nullcontext() if last else model.no_sync():
            result = recipe.loss(model, batches[(step * micro_batches + micro) % len(batches)])
            loss = (result[0] if isinstance(result, tuple) else result) / micro_batches
            loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if schedule is not None:
        schedule.step()
    return total


def _load(recipe, uri, size, rank):
    reader = BlockReader(Dataset.open(uri))
    edges = reader.dataset.manifest.edges
    batches = []
    for number in range(BATCHES):
        wanted = (np.arange(size) + (rank * BATCHES + number) * size) % edges[-1]
        blocks = np.searchsorted(edges, wanted, side="right") - 1
        batches.append(recipe.decode_batch(reader.gather(blocks, wanted - edges[blocks])))
    return batches


if __name__ == "__main__":
    main()
