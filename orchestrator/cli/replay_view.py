"""A step as people see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from orchestrator.cli.format import number, plural

if TYPE_CHECKING:
    from workers.replay.sight import Culprit, StepSight, VrankSight

_SAMPLES = 8  # of a virtual rank, unless it is the only one


def print_sight(sight: StepSight, *, vrank: int | None, layers: bool, file: IO[str]) -> None:
    """Print all that there is to say about a step.

    Args:
        vrank: of the virtual ranks, this one alone.
        layers: gradient norms of each virtual rank by parameter, too.
    """
    for line in (*_head(sight), *_vranks(sight, vrank, layers), *_gradient(sight), *_end(sight)):
        print(line, file=file)


def _head(sight: StepSight) -> Iterator[str]:
    begin = f"from the checkpoint of step {sight.start}" if sight.start else "from the beginning"
    yield f"step {sight.step} of {sight.job}, epoch {sight.epoch}, {begin}"
    for note in sight.notes:
        yield f"  note: {note}"
    if sight.step != sight.asked:
        yield f"  note: stopped before step {sight.asked}: a loss or gradient is not finite (see --go-on)"
    if sight.earlier is not None:
        yield f"  note: the loss or gradient of step {sight.earlier}, on the way, was not finite"
    if sight.damaged_state:
        yield f"  note: not finite before the step: {', '.join(sight.damaged_state)}"
    values = "".join(f"  {name} {number(value)}" for name, value in sight.values.items())
    yield f"  loss {number(sight.loss)}{values}"


def _vranks(sight: StepSight, vrank: int | None, layers: bool) -> Iterator[str]:
    for one in sight.vranks:
        if vrank not in (None, one.vrank):
            continue
        yield f"virtual rank {one.vrank}: {_passes(one)}"
        shown = one.samples if vrank is not None else one.samples[:_SAMPLES]
        if shown:
            more = f", and {len(one.samples) - len(shown)} more" if len(shown) < len(one.samples) else ""
            yield f"  samples: {', '.join(map(_place, shown))}{more}"
        if one.finding is not None:
            yield f"  {one.finding.words()}"
        if layers:
            yield from _norms(one.gradient_norms, "    ")


def _passes(one: VrankSight) -> str:
    if one.loss is None:
        return "no samples"
    values = "".join(f"  {name} {number(value)}" for name, value in one.values.items())
    return (
        f"{plural(one.count, 'sample')}  loss {number(one.loss)}{values}"
        f"  gradient {number(one.gradient_norm)}"
    )


def _place(sample: Mapping[str, Any]) -> str:
    where = f"row {sample['row']}" if "row" in sample else f"token {sample['token']}"
    source = f"{sample['source']} " if "source" in sample else ""
    return f"{source}{sample['object']} {where}"


def _gradient(sight: StepSight) -> Iterator[str]:
    from workers.replay.sight import total

    yield f"gradient over all virtual ranks, before clipping: {number(total(sight.gradient_norms))}"
    yield from _norms(sight.gradient_norms, "  ")


def _norms(norms: Mapping[str, float], indent: str) -> Iterator[str]:
    width = max(map(len, norms), default=0)
    for name, norm in norms.items():
        yield f"{indent}{name:<{width}}  {number(norm)}"


def _end(sight: StepSight) -> Iterator[str]:
    if sight.culprit is not None:
        yield f"first non-finite number: step {sight.step}, {sight.culprit.finding.words()}"
        yield from _blame(sight.culprit)
    else:
        yield "all losses and gradients are finite"
    if sight.equal is not None:
        said = "is" if sight.equal else "IS NOT"
        yield f"the state after it {said} that of the job's own checkpoint of step {sight.step}"


def _blame(culprit: Culprit) -> Iterator[str]:
    if culprit.vrank is None:
        return
    places: Sequence[Mapping[str, Any]] = culprit.samples
    if culprit.positions is not None:
        mode = "evaluation" if culprit.mode == "eval" else "training"
        for position, place in zip(culprit.positions, places, strict=True):
            yield (
                f"  sample {position} of virtual rank {culprit.vrank}: {_place(place)}"
                f" (also by itself, in {mode} mode)"
            )
        return
    yield f"  somewhere in the micro-batch of virtual rank {culprit.vrank}: no sample does it by itself"
