"""What a job must come to, computed without anything that makes it distributed.

One process, plain PyTorch: no DistributedDataParallel, no workers, no exchange, no tree of ours. The virtual
ranks run one after the other, and their gradients are summed by recursion.

    python -m tests.support.oracle JOB_FOLDER      prints {"digest", "losses", "values"} as JSON
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from workers.data.dataset import Dataset
from workers.data.order import SampleOrder
from workers.data.schedule import Schedule
from workers.numerics.randomness import derive, seed_everything

Batches = list[tuple[Any, int]]  # one per virtual rank; (None, 0) where it has no sample


def tree_sum(values: Sequence[Any]) -> Any:
    """The sum in the order of the fixed tree: left is the largest complete subtree that is not everything."""
    if len(values) == 1:
        return values[0]
    left = 1 << (len(values) - 1).bit_length() - 1
    return tree_sum(values[:left]) + tree_sum(values[left:])


def train(folder: Path) -> dict[str, Any]:
    """Train the job of a folder to its end."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    job = json.loads((folder / "job.yaml").read_text())
    sys.path.insert(0, str(folder))
    module, _, name = job["recipe"].partition(":")
    recipe = getattr(importlib.import_module(module), name)(**job.get("params", {}))
    seed_everything("init", job["seed"])
    model = recipe.build_model()
    optimizer = recipe.build_optimizer(model)
    schedule = recipe.build_schedule(optimizer)
    model.train()
    losses, values = [], []
    for step, batches in enumerate(data(job, recipe)):
        loss, logged = update(job, recipe, model, optimizer, step, batches)
        schedule.step()
        losses.append(loss)
        values.append(logged)
    return {"digest": digest(model, optimizer), "losses": losses, "values": values}


def data(job: dict[str, Any], recipe: Any) -> Iterator[Batches]:
    """Each step's micro-batches."""
    dataset = Dataset.open(Path(job["data"]["train"]["uri"]).as_uri())
    vranks = job["batch"]["virtual_ranks"]
    schedule = Schedule(rows=dataset.rows, vranks=vranks, micro_batch=job["batch"]["size"] // vranks)
    for step in range(job["stop"]["steps"]):
        piece = schedule.at(step)
        order = SampleOrder(
            block_rows=dataset.manifest.block_rows, seed=job["seed"], epoch=piece.epoch, vranks=vranks
        )
        batches: Batches = []
        for vrank, count in enumerate(piece.counts):
            blocks = order.addresses(vrank, piece.start, piece.start + count).blocks
            samples = [decoded(job, recipe, dataset, piece.epoch, block) for block in blocks.tolist()]
            batches.append((default_collate(samples) if samples else None, count))
        yield batches


def decoded(job: dict[str, Any], recipe: Any, dataset: Dataset, epoch: int, number: int) -> Any:
    """A sample that is one whole object, decoded with the random stream that belongs to it."""
    name = dataset.manifest.block(number).object
    sample = {"key": name, "data": bytes(dataset.store.get(name))}
    key = derive("decode", job["seed"], epoch, number)
    return recipe.decode(sample, np.random.Generator(np.random.Philox(key=key)))


def update(
    job: dict[str, Any], recipe: Any, model: nn.Module, optimizer: Any, step: int, batches: Batches
) -> tuple[float, dict[str, float]]:
    """One step; returns what is logged of it."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    full = len({count for _, count in batches}) == 1
    divisor = len(batches) if full else sum(count for _, count in batches)
    before = [buffer.clone() for buffer in model.buffers()]
    kept, gradients, rows = before, [], []
    for vrank, (batch, count) in enumerate(batches):
        weight = 1.0 if full else float(count)
        if not count:
            gradients.append([torch.zeros_like(parameter) for parameter in trained])
            rows.append(None)
            continue
        seed_everything("step", job["seed"], step, vrank)
        loss, logged = recipe.loss(model, batch)
        (loss if full else loss * weight).backward()
        gradients.append([parameter.grad for parameter in trained])
        rows.append({"loss": float(loss) * weight, **{k: float(v) * weight for k, v in logged.items()}})
        optimizer.zero_grad(set_to_none=True)
        if vrank == 0:
            kept = [buffer.clone() for buffer in model.buffers()]
        put(model, before)
    put(model, kept)
    for parameter, *parts in zip(trained, *gradients, strict=True):
        parameter.grad = tree_sum(parts) / divisor
    norm = nn.utils.clip_grad_norm_(trained, job["batch"]["max_grad_norm"])
    rate = optimizer.param_groups[0]["lr"]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    names = sorted(next(row for row in rows if row))
    means = {name: tree_sum([row[name] if row else 0.0 for row in rows]) / divisor for name in names}
    return means.pop("loss"), {**means, "grad_norm": norm.item(), "learning_rate": rate}


def put(model: nn.Module, buffers: list[torch.Tensor]) -> None:
    """Set all buffers."""
    for buffer, saved in zip(model.buffers(), buffers, strict=True):
        buffer.copy_(saved)


def digest(model: nn.Module, optimizer: Any) -> str:
    """The state digest, for float32 and int64 tensors."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer/{name}/{slot}": value for slot, value in optimizer.state[parameter].items()}
    total = hashlib.sha256()
    for key in sorted(tensors):
        array = tensors[key].detach().contiguous().numpy()
        dtype = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        shape = json.dumps(list(array.shape), separators=(",", ":"))
        total.update(f"{key}\0{dtype}\0{shape}\0".encode() + array.tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]))))
