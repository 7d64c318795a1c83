"""What `lockstep data order` prints: a line for each sample, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workers.errors import InputError

if TYPE_CHECKING:
    from workers.data.dataset import Dataset
    from workers.data.manifest import Manifest
    from workers.data.mixture import Drawn
    from workers.data.order import SampleOrder

_CHUNK = 4096  # samples addressed at once


def epoch_lines(
    manifest: Manifest, order: SampleOrder, vranks: Sequence[int], start: int, count: int | None
) -> Iterator[dict[str, Any]]:
    """The samples of an epoch from each virtual rank's index `start` on; none beyond its span."""
    for vrank in vranks:
        first, last = order.span(vrank)
        stop = last - first if count is None else min(last - first, start + count)
        for begin in range(start, stop, _CHUNK):
            blocks, rows = order.addresses(vrank, begin, min(begin + _CHUNK, stop))
            names = manifest.object_names.take(manifest.objects[blocks]).to_pylist()
            within = manifest.object_rows(blocks, rows).tolist()
            for i, (name, row) in enumerate(zip(names, within, strict=True), start=begin):
                yield {"epoch": order.epoch, "vrank": vrank, "i": i, "object": name, "row": row}


def mixture_lines(
    datasets: Sequence[tuple[str, Dataset, int | None]],
    weights: Sequence[float],
    *,
    seed: int,
    vranks: int,
    chosen: Sequence[int],
    start: int,
    count: int | None,
) -> Iterator[dict[str, Any]]:
    """The samples of a mixture from each chosen virtual rank's index `start` on.

    Args:
        datasets: URI, data set and window of each source.
        count: how many; until the last source has been used up once if None.
    """
    from workers.data.mixture import Mixture
    from workers.data.pattern import whole_weights
    from workers.data.stream import StreamSchedule

    mixture = Mixture(
        weights=whole_weights(weights),
        block_rows=[dataset.manifest.block_rows for _, dataset, _ in datasets],
        window_blocks=[window for _, _, window in datasets],
        vranks=vranks,
        seed=seed,
    )
    whole = StreamSchedule(
        pattern=mixture.pattern, rows=mixture.rows, vranks=vranks, micro_batch=1, epoch_end="last"
    )
    stop = whole.steps_of(1) if count is None else start + count
    for vrank in chosen:
        for begin in range(start, stop, _CHUNK):
            drawn = mixture.addresses(vrank, begin, min(begin + _CHUNK, stop))
            places = _places(drawn, [dataset.manifest for _, dataset, _ in datasets])
            for i, (source, number, name, row) in enumerate(places, start=begin):
                place = {"source": datasets[source][0], "object": name, "row": row}
                yield {"epoch": number, "vrank": vrank, "i": i, **place}


def _places(drawn: Drawn, manifests: Sequence[Manifest]) -> list[tuple[int, int, str, int]]:
    """Source, pass, object and row in the object of each sample."""
    names: list[str] = [""] * len(drawn.rows)
    rows = drawn.rows.copy()
    for source, manifest in enumerate(manifests):
        mine = (drawn.sources == source).nonzero()[0]
        blocks = drawn.blocks[mine]
        rows[mine] = manifest.object_rows(blocks, drawn.rows[mine])
        of_mine = manifest.object_names.take(manifest.objects[blocks]).to_pylist()
        for place, name in zip(mine.tolist(), of_mine, strict=True):
            names[place] = name
    return list(zip(drawn.sources.tolist(), drawn.passes.tolist(), names, rows.tolist(), strict=True))


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
