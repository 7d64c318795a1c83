"""The steps of a job that is built already, from a checkpoint of its on."""

from __future__ import annotations

from workers.checkpoint.load import read_tensors
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.tensors import RawTensor
from workers.numerics.ddp import GradientReducer
from workers.protocol import TrainJob
from workers.storage import Store
from workers.telemetry import Stopwatch
from workers.training.build import Built
from workers.training.initial import begin_from
from workers.training.step import Feed, StepRunner, Team


def restore(
    built: Built, store: Store, manifest: Manifest, tensors: dict[str, RawTensor] | None = None
) -> None:
    """Take over the state of a checkpoint.

    Args:
        tensors: it, if it was read already.

    Raises:
        CheckpointError: it is damaged, or its tensors are not those of the recipe.
    """
    found = read_tensors(store, manifest) if tensors is None else tensors
    built.replica.adopt(found, manifest.scalars, manifest.step)
    built.buffers.settle()


def begin_anew(built: Built, job: TrainJob) -> None:
    """Take over the state that the job began with.

    Raises:
        CheckpointError: what it began with is not there any more, or was altered.
    """
    if job.init_from is not None:
        begin_from(built.replica, job.init_from)
    built.buffers.settle()


def step_runner(job: TrainJob, built: Built, reducer: GradientReducer, feed: Feed, team: Team) -> StepRunner:
    """What runs the replica's next steps; the reducer has joined the team.

    Raises:
        ValueError: the job was built for stock DDP.
    """
    if built.warm_up is None:
        raise ValueError("steps of stock DDP cannot be done again")
    return StepRunner(
        job=job,
        replica=built.replica,
        buffers=built.buffers,
        reducer=reducer,
        feed=feed,
        schedule=built.data.schedule,
        team=team,
        value_names=built.warm_up.value_names,
        stopwatch=Stopwatch(),
    )
