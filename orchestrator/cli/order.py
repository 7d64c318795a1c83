"""What `lockstep data order` prints: a line for each sample, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
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
    source: Ordered,
    order: SampleOrder,
    vranks: Sequence[int],
    start: int,
    count: int | None,
    left_out: Sequence[int] = (),
) -> Iterator[dict[str, Json]]:
    """The samples of an epoch from each virtual rank's index `start` on; none beyond its span.

    Args:
        left_out: numbers of blocks; samples that have anything in them are not told.
    """
    for vrank in vranks:
        first, last = order.span(vrank)
        stop = last - first if count is None else min(last - first, start + count)
        for begin in range(start, stop, _CHUNK):
            runs = order.addresses(vrank, begin, min(begin + _CHUNK, stop))
            gone = _touched(runs, left_out)
            for i, place in enumerate(source.places(runs), start=begin):
                if i - begin not in gone:
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
    left_out: Sequence[int] = (),
) -> Iterator[dict[str, Json]]:
    """The samples of a mixture from each chosen virtual rank's index `start` on.

    Args:
        sources: all packed to samples of one length, or none.
        count: how many; until the last source has been used up once if None.
        left_out: numbers of blocks, counted through all sources; their samples are not told.
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
    first_block = list(accumulate((len(source.block_rows) for source in sources), initial=0))
    for vrank in chosen:
        for begin in range(start, stop, _CHUNK):
            drawn = mixture.addresses(vrank, begin, min(begin + _CHUNK, stop))
            places: list[dict[str, Json] | None] = [None] * len(drawn.sources)
            for number, source in enumerate(sources):
                mine = (drawn.sources == number).nonzero()[0]
                runs = drawn.runs.select(mine)
                gone = _touched(runs, [block - first_block[number] for block in left_out])
                for n, (at, place) in enumerate(zip(mine.tolist(), source.places(runs), strict=True)):
                    places[at] = {"source": source.dataset.store.uri, **place} if n not in gone else None
            for i, (turn, found) in enumerate(zip(drawn.passes.tolist(), places, strict=True), start=begin):
                if found is not None:
                    yield {"epoch": turn, "vrank": vrank, "i": i, **found}


def _touched(runs: Runs, blocks: Sequence[int]) -> set[int]:
    """The numbers of the samples that have anything in these blocks."""
    import numpy as np

    if not blocks:
        return set()
    return set(np.flatnonzero(runs.touch(np.array(blocks, dtype=np.int64))).tolist())


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
