"""Evaluation on a held-out set, shared by the virtual ranks; the same numbers for any number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from workers.errors import RecipeError
from workers.numerics.exchange import all_gather
from workers.numerics.randomness import seed_everything
from workers.numerics.tree import fold_leaves
from workers.protocol import Activity, TrainJob
from workers.recipe import Batch
from workers.telemetry import Stopwatch
from workers.training.replica import Replica
from workers.training.step import Team

_TAG = 2
_COUNT = "count"
_RETURN = 'return sums over the batch and "count", the number that they are divided by in the end'

#: Micro-batches of one virtual rank's share of the held-out set, in stored order.
Share = Callable[[int], Iterator[Batch]]


def evaluate(
    job: TrainJob, replica: Replica, share: Share, team: Team, stopwatch: Stopwatch
) -> dict[str, float]:
    """Every sum that the recipe's `evaluate` returns, over the whole set, divided by its `count`.

    A virtual rank adds its micro-batches in stored order; virtual ranks are added in tree order, in float64.

    Args:
        share: gives a virtual rank's micro-batches.
        stopwatch: told when this worker only waits for others, who may be what is slow.
    """
    training = replica.model.training
    replica.model.eval()
    try:
        with torch.no_grad():
            sums = [_share_sums(job, replica, share(vrank), team) for vrank in team.own]
            names = _common_names(sums) or _learn_names(job, replica, share)
    finally:
        replica.model.train(training)
    rows = [torch.tensor([row.get(name, 0.0) for name in names], dtype=torch.float64) for row in sums]
    with stopwatch.within(Activity.REDUCE_WAIT):
        totals = dict(zip(names, _total(rows, team), strict=True))
    count = totals.pop(_COUNT)
    if not count:
        raise RecipeError("evaluate counted nothing in the whole held-out set", fix=_RETURN)
    return {name: value / count for name, value in totals.items()}


def _share_sums(job: TrainJob, replica: Replica, batches: Iterator[Batch], team: Team) -> dict[str, float]:
    sums: dict[str, float] = {}
    for number, batch in enumerate(batches):
        team.check()
        seed_everything("evaluate", job.seed, number)
        values = _checked(replica.recipe.evaluate(replica.model, batch))
        _common_names([sums, values])
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def _common_names(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The names of the rows that are not empty, sorted."""
    first, *others = [sorted(row) for row in rows if row] or [[]]
    for names in others:
        if names != first:
            fix = "return the same names for every batch"
            raise RecipeError(f"evaluate returned {names}, before {first}", fix=fix)
    return first


def _learn_names(job: TrainJob, replica: Replica, share: Share) -> list[str]:
    """For a worker whose virtual ranks have no share of a tiny set: what the others' sums are called."""
    batch = next(share(0))
    seed_everything("evaluate", job.seed, 0)
    return sorted(_checked(replica.recipe.evaluate(replica.model, batch)))


def _checked(values: dict[str, Tensor]) -> dict[str, Tensor]:
    if _COUNT not in values:
        raise RecipeError(
            f"evaluate returned {sorted(values)} without a count",
            fix=_RETURN,
        )
    return values


def _total(rows: list[Tensor], team: Team) -> list[float]:
    """Sum one row per virtual rank over all workers, in tree order."""
    exchange = team.exchange
    own = torch.cat(rows).to(exchange.device)
    tables = {
        rank: own if rank == exchange.rank else own.new_empty(len(vranks) * len(rows[0]))
        for rank, vranks in enumerate(team.hosted)
    }
    all_gather(exchange, own, tables, _TAG).wait()
    exchange.flush()
    by_vrank: dict[int, list[float]] = {}
    for rank, vranks in enumerate(team.hosted):
        by_vrank |= dict(zip(vranks, tables[rank].view(len(vranks), -1).tolist(), strict=True))
    return fold_leaves(
        [by_vrank[vrank] for vrank in sorted(by_vrank)],
        lambda a, b: [x + y for x, y in zip(a, b, strict=True)],
    )
