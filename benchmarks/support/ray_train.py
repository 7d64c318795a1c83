"""A peer: a job of Ray Train that reports a checkpoint of each step. Arguments: workers, and a `Task`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from clusters import local

STATE = "state.pt"


def train(config: dict) -> None:
    """Runs on each worker."""
    import ray.train
    from resumable import Task, Training

    context = ray.train.get_context()
    rank = context.get_world_rank()
    training = Training(Task.of(config["task"]), rank, context.get_world_size())
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            training.load(Path(folder) / STATE)
    while True:
        training.step()
        if rank:
            ray.train.report({"step": training.done})
            continue
        with tempfile.TemporaryDirectory() as folder:
            training.save(Path(folder) / STATE)
            ray.train.report({"step": training.done}, checkpoint=ray.train.Checkpoint.from_directory(folder))
        training.tell_step()


def main() -> None:
    workers, text = int(sys.argv[1]), sys.argv[2]
    local.start(2 * workers)
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from resumable import Task

    TorchTrainer(
        train,
        train_loop_config={"task": text},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=False),
        run_config=RunConfig(
            name="recovery",
            storage_path=Task.of(text).states,
            failure_config=FailureConfig(max_failures=-1),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    ).fit()


if __name__ == "__main__":
    main()
