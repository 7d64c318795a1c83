"""The state that a job begins with, where it is not the recipe's own alone: tensors of an earlier state.

The same on every worker: a function of the pinned bytes and the recipe. It is read once in a job's life, by
the workers of its first generation; who joins later gets it from another worker, and a job that has a
checkpoint of its own goes on from that.
"""

from __future__ import annotations

from collections.abc import Iterator

from workers.checkpoint.manifest import Manifest
from workers.checkpoint.matching import Problem, match, misfit
from workers.checkpoint.sources import open_source
from workers.protocol import InitFrom
from workers.training.replica import Replica


def begin_from(replica: Replica, start: InitFrom) -> None:
    """Fill a replica that has not made a step yet with the tensors that `start` chooses.

    Nothing is changed unless everything fits and every byte is what was pinned.

    Raises:
        CheckpointError: what does not fit, all of it; or something is missing or altered.
        AccessError, UnreachableError: the store refused or is gone.
    """
    source = open_source(start)
    own = replica.specs()
    taken = match(start, own, source.specs, _constants(replica) if source.manifest is None else ())
    if not start.whole:
        tensors = source.read(taken.values())
        replica.fill({key: tensors[there] for key, there in taken.items()})
        return
    manifest = source.manifest
    if manifest is None:
        raise misfit(start, [lambda: "a file holds no whole state: name a checkpoint folder"])
    problems = [*_whole_problems(replica, manifest)]
    if problems:
        raise misfit(start, problems)
    replica.adopt(source.read(source.specs), manifest.scalars, step=0)


def _constants(replica: Replica) -> set[str]:
    """Buffers that PyTorch leaves out of a state dict, so that only our own checkpoints have them."""
    kept = replica.model.state_dict(keep_vars=True)
    return {f"model/{name}" for name, _ in replica.model.named_buffers() if name not in kept}


def _whole_problems(replica: Replica, manifest: Manifest) -> Iterator[Problem]:
    """What keeps this job's optimizer and schedule from going on where those of a checkpoint were."""
    here, there = type(replica.optimizer).__name__, manifest.fingerprint.get("optimizer")
    if here != there:
        yield lambda: f"the optimizer is {there} there and {here} here"
    trained = {name for name, p in replica.model.named_parameters() if p.requires_grad}
    slots = [key.removeprefix("optimizer/") for key in manifest.tensors if key.startswith("optimizer/")]
    strangers = {slot.rpartition("/")[0] for slot in slots} - trained
    if strangers:
        yield lambda: f"the optimizer has a state of {min(strangers)} there, which is not trained here"
    mine, saved = replica.scalars(), manifest.scalars
    ours, theirs = ([sorted(group) for group in side["optimizer_groups"]] for side in (mine, saved))
    if ours != theirs:
        yield lambda: f"the optimizer's parameter groups are {theirs} there and {ours} here"
    before, now = saved["schedule"], mine["schedule"]
    if (before is None, sorted(before or ())) != (now is None, sorted(now or ())):
        yield lambda: "the schedule is another kind"
