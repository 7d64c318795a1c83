"""What `lockstep data order` prints: a line for each sample, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workers.errors import InputError

if TYPE_CHECKING:
    from workers.data.dataset import Dataset
    from workers.data.order import SampleOrder
    from workers.data.permutation import Int64
    from workers.data.runs import Runs
    from workers.protocol import Packing

_CHUNK = 4096  # samples addressed at once

Json = Any


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """A data set, and how it is read."""

    dataset: Dataset
    window_blocks: int | None
    packing: Packing | None

    @cached_property
    def block_rows(self) -> Int64:
        """See `workers.data.packing.block_rows`."""
        from workers.data.packing import block_rows

        return block_rows(self.dataset, self.packing)

    @cached_property
    def _first(self) -> Int64:
        return self.dataset.manifest.first_of_object(self.block_rows)

    def places(self, runs: Runs) -> list[dict[str, Json]]:
        """See `workers.data.places`."""
        from workers.data.places import places

        return places(self.dataset.manifest, self._first, runs)


def epoch_lines(
    source: Ordered, order: SampleOrder, vranks: Sequence[int], start: int, count: int | None
) -> Iterator[dict[str, Json]]:
    """The samples of an epoch from each virtual rank's index `start` on; none beyond its span."""
    for vrank in vranks:
        first, last = order.span(vrank)
        stop = last - first if count is None else min(last - first, start + count)
        for begin in range(start, stop, _CHUNK):
            places = source.places(order.addresses(vrank, begin, min(begin + _CHUNK, stop)))
            for i, place in enumerate(places, start=begin):
                yield {"epoch": order.epoch, "vrank": vrank, "i": i, **place}


def mixture_lines(
    sources: Sequence[Ordered],
    weights: Sequence[float],
    *,
    seed: int,
    vranks: int,
    chosen: Sequence[int],
    start: int,
    count: int | None,
) -> Iterator[dict[str, Json]]:
    """The samples of a mixture from each chosen virtual rank's index `start` on.

    Args:
        sources: all packed to samples of one length, or none.
        count: how many; until the last source has been used up once if None.
    """
    from workers.data.mixture import Mixture
    from workers.data.packing import sample_rows
    from workers.data.pattern import whole_weights
    from workers.data.stream import StreamSchedule

    mixture = Mixture(
        weights=whole_weights(weights),
        block_rows=[source.block_rows for source in sources],
        window_blocks=[source.window_blocks for source in sources],
        vranks=vranks,
        seed=seed,
        sample_rows=sample_rows(sources[0].packing),
    )
    whole = StreamSchedule(
        pattern=mixture.pattern, rows=mixture.rows, vranks=vranks, micro_batch=1, epoch_end="last"
    )
    stop = whole.steps_of(1) if count is None else start + count
    for vrank in chosen:
        for begin in range(start, stop, _CHUNK):
            drawn = mixture.addresses(vrank, begin, min(begin + _CHUNK, stop))
            places: list[dict[str, Json]] = [{}] * len(drawn.sources)
            for number, source in enumerate(sources):
                mine = (drawn.sources == number).nonzero()[0]
                for at, place in zip(mine.tolist(), source.places(drawn.runs.select(mine)), strict=True):
                    places[at] = {"source": source.dataset.store.uri, **place}
            for i, (number, place) in enumerate(zip(drawn.passes.tolist(), places, strict=True), start=begin):
                yield {"epoch": number, "vrank": vrank, "i": i, **place}


def parse_weights(text: str | None, sources: int) -> list[float]:
    """`3,1,0.5` → numbers, one a source; all 1 for None.

    Raises:
        InputError: these are not so many numbers above 0.
    """
    if text is None:
        return [1.0] * sources
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != sources or not all(0 < weight < float("inf") for weight in weights):
        fix = "write one number above 0 for each data set, with commas between, such as 3,1"
        raise InputError(
            f"{text!r} is not a weight for each of {sources} data sets", where="--weights", fix=fix
        )
    return weights
