"""Batches ahead of time: a thread reads and decodes what the coming steps will ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition, Thread

import numpy as np

from workers.data.decoder import Decoder
from workers.data.manifest import Manifest
from workers.data.order import OrderSettings, SampleOrder
from workers.data.permutation import Int64
from workers.data.prefetch import Prefetcher, Request
from workers.data.reader import BlockReader
from workers.data.schedule import Schedule
from workers.recipe import Batch

_JOIN_SECONDS = 5.0  # a fetch from a store that hangs is left to its own deadline
#: Of each virtual rank at once: numpy's calls cost more than what they compute for a few samples. So many in
#: the end; the first batch must not wait for that.
_LOOK_UP_SAMPLES = 2048
#: Micro-batches that are this small together are read together, those of several steps too. Not at first: a
#: step, then twice as many each time.
_TOGETHER_SAMPLES, _TOGETHER_BYTES, _TOGETHER_BATCHES = 2048, 2 << 20, 64
#: Micro-batches to have ready: as many as this is, and not fewer. What decoding makes of a small sample may
#: be large, so this has nothing to do with what is read together.
_READY_SAMPLES, _READY_BATCHES = 128, 4


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A micro-batch that waits to be taken."""

    place: tuple[int, int]  # step, virtual rank
    batch: Batch
    count: int


@dataclass(frozen=True, kw_only=True)
class _Request(Request):
    """Micro-batches that are read together, and where each of them belongs."""

    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class _Addresses:
    """Blocks and rows of samples `[start, stop)` of each hosted virtual rank, or as many as it has."""

    start: int
    stop: int
    of: Mapping[int, tuple[Int64, Int64]]

    def part(self, vrank: int, start: int, count: int) -> tuple[Int64, Int64]:
        """Blocks and rows of `count` samples of a virtual rank, from `start` on."""
        blocks, rows = self.of[vrank]
        inside = slice(start - self.start, start - self.start + count)
        return blocks[inside], rows[inside]


class Feed:
    """The micro-batches of the virtual ranks that one worker hosts, in the order in which it takes them.

    A thread stays at most `depth` micro-batches ahead, and the fetches of some more. It rests until half of
    them are taken: whenever it runs, it competes with the training for the interpreter. Nothing of it is ever
    saved: a new feed from any step gives the same batches.

    Args:
        reader: of the training set.
        order: seed and kind of shuffle.
        schedule: which samples a step consumes.
        decoder: records to batches.
        vranks: the hosted virtual ranks, in the order in which a step takes them.
        start_step: the first step, counted from 0.
        stop_step: the step after the last.
        depth: micro-batches to have ready, at least 1; by default a few, or more where they are small.
    """

    def __init__(
        self,
        reader: BlockReader,
        order: OrderSettings,
        schedule: Schedule,
        decoder: Decoder,
        vranks: Sequence[int],
        *,
        start_step: int,
        stop_step: int,
        depth: int | None = None,
    ) -> None:
        if depth is not None and depth < 1:
            raise ValueError("depth must be at least 1")
        self._reader, self._order, self._schedule, self._decoder = reader, order, schedule, decoder
        self._vranks = tuple(vranks)
        self._steps = range(start_step, stop_step)
        together = _read_together(reader.dataset.manifest, schedule.micro_batch)
        self._groups = [self._vranks[i : i + together] for i in range(0, len(vranks), together)]
        self._steps_together = max(1, together // len(vranks))
        self._depth = depth or max(_READY_BATCHES, _READY_SAMPLES // schedule.micro_batch)
        self._ready: deque[_Ready] = deque()
        self._changed = Condition()
        self._ended = False  # the thread puts nothing more: it is done, has failed, or was told to stop
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def take(self, step: int, vrank: int) -> tuple[Batch | None, int]:
        """Wait for the next micro-batch, which must be the one of (`step`, `vrank`).

        Returns:
            batch, count: the batch and how many samples it holds; None and 0 where the virtual rank has
            no samples left in this epoch.

        Raises:
            Whatever reading or decoding it raised, with the traceback of where it did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
            if not self._ready:
                raise self._error or RuntimeError(f"the feed ends before step {step}, virtual rank {vrank}")
            ready = self._ready.popleft()
            if len(self._ready) <= self._depth // 2:
                self._changed.notify_all()
        if ready.place != (step, vrank):
            raise RuntimeError(f"step and virtual rank {(step, vrank)} were taken before {ready.place}")
        return ready.batch, ready.count

    def close(self) -> None:
        """Stop the thread and wait for the fetch or decode that it is in, a few seconds at most."""
        with self._changed:
            self._ended = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        try:
            for ready in self._produce():
                if not self._put(ready):
                    return
        except BaseException as error:  # handed to whoever takes the batch
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, ready: _Ready) -> bool:
        """Put a micro-batch there, as soon as there is room; False when the feed was closed meanwhile."""
        with self._changed:
            if len(self._ready) >= self._depth:
                self._changed.wait_for(lambda: len(self._ready) <= self._depth // 2 or self._ended)
            if not self._ended:
                self._ready.append(ready)
                self._changed.notify_all()
            return not self._ended

    def _produce(self) -> Iterator[_Ready]:
        first_row = self._reader.dataset.manifest.first_row
        for request, parts in Prefetcher(self._reader).read(self._requests()):
            sample_ids = first_row[request.blocks] + request.rows
            for place, records, count in zip(request.places, parts, request.counts, strict=True):
                own, sample_ids = sample_ids[:count], sample_ids[count:]
                batch = self._decoder(request.epoch, records, own) if records is not None else None
                yield _Ready(place=place, batch=batch, count=count)

    def _requests(self) -> Iterator[_Request]:
        """What is read together, in step-major, then virtual-rank order."""
        block_rows = self._reader.dataset.manifest.block_rows
        order: SampleOrder | None = None
        found: _Addresses | None = None
        steps = 1  # to look up at once
        for stretch in self._stretches():
            pieces = [self._schedule.at(step) for step in stretch]
            epoch, start, stop = (
                pieces[0].epoch,
                pieces[0].start,
                pieces[-1].start + self._schedule.micro_batch,
            )
            if order is None or order.epoch != epoch:
                order, found = self._order.epoch(epoch, block_rows, self._schedule.vranks), None
            if found is None or stop > found.stop:
                found = self._look_up(order, start, max(steps, len(stretch)))
                steps = min(2 * steps, max(1, _LOOK_UP_SAMPLES // self._schedule.micro_batch))
            for vranks in self._groups:
                wanted = [(piece, vrank) for piece in pieces for vrank in vranks]
                counts = tuple(piece.counts[vrank] for piece, vrank in wanted)
                parts = [found.part(vrank, piece.start, piece.counts[vrank]) for piece, vrank in wanted]
                blocks, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
                places = tuple((step, vrank) for step in stretch for vrank in vranks)
                yield _Request(epoch=epoch, places=places, blocks=blocks, rows=rows, counts=counts)

    def _stretches(self) -> Iterator[range]:
        """Steps that are read together: all of one epoch, and more and more of them."""
        step, count = self._steps.start, 1
        while step < self._steps.stop:
            left = self._schedule.steps_per_epoch - step % self._schedule.steps_per_epoch
            stretch = range(step, min(step + min(count, left), self._steps.stop))
            yield stretch
            step, count = stretch.stop, min(2 * count, self._steps_together)

    def _look_up(self, order: SampleOrder, start: int, steps: int) -> _Addresses:
        """Where the samples of so many steps from `start` on are stored."""
        stop = start + steps * self._schedule.micro_batch
        of = {}
        for vrank in self._vranks:
            first, last = order.span(vrank)
            of[vrank] = order.addresses(vrank, min(start, last - first), min(stop, last - first))
        return _Addresses(start=start, stop=stop, of=of)


def _read_together(manifest: Manifest, micro_batch: int) -> int:
    """Micro-batches that are read together in the end."""
    samples = min(_TOGETHER_SAMPLES, _TOGETHER_BYTES * manifest.rows // max(1, manifest.bytes))
    return min(max(1, samples // micro_batch), _TOGETHER_BATCHES)
