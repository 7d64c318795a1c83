"""Batches ahead of time: a thread reads and decodes what the coming steps will ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread

from workers.data.decoder import BatchDecoder, Decoded, Decoding, size_bytes
from workers.data.permutation import Int64
from workers.data.prefetch import Prefetcher, Reader, Request
from workers.data.quarantine import Quarantine
from workers.data.samples import Addresses, Samples, joined
from workers.data.schedule import Steps
from workers.recipe import Batch

_JOIN_SECONDS = 5.0  # for a decode; fetches are left to their own deadlines
#: Of each virtual rank at once: numpy's calls cost more than what they compute for a few samples. So many in
#: the end; the first batch must not wait for that.
_LOOK_UP_SAMPLES = 2048
#: Micro-batches that are this small together are read together, those of several steps too. Not at first: a
#: step, then twice as many each time.
_TOGETHER_SAMPLES, _TOGETHER_BYTES, _TOGETHER_BATCHES = 2048, 2 << 20, 64
#: Micro-batches to have ready: as many as this is, and not fewer. What decoding makes of a small sample may
#: be large, so this has nothing to do with what is read together. More of them once one is seen to be small:
#: whoever takes them, and the thread, then wake one another less often.
_READY_SAMPLES, _READY_BATCHES = 128, 4
_READY_BYTES, _READY_BATCHES_MAX = 2 << 20, 64


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A micro-batch that waits to be taken. It may still be decoded, by others than the feed's thread."""

    place: tuple[int, int]  # step, virtual rank
    decoding: Decoding | None  # None: the virtual rank has no sample
    count: int


@dataclass(frozen=True, kw_only=True)
class _Request(Request):
    """Micro-batches that are read together, and where each of them belongs."""

    draws: Int64
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Where samples `[start, stop)` of each hosted virtual rank are stored, or as many as it has."""

    start: int
    stop: int
    of: Mapping[int, Addresses]


class Feed:
    """The micro-batches of the virtual ranks that one worker hosts, in the order in which it takes them.

    A thread stays at most `depth` micro-batches ahead, and the fetches of some more. It rests until half of
    them are taken: whenever it runs, it competes with the training for the interpreter. Nothing of it is ever
    saved: a new feed from any step gives the same batches.

    Args:
        reader: of the training set.
        samples: where its samples are stored.
        schedule: which samples a step consumes.
        decoder: records to batches.
        vranks: the hosted virtual ranks, in the order in which a step takes them.
        start_step: the first step, counted from 0.
        stop_step: the step after the last.
        quarantine: blocks whose samples are not taken.
        depth: micro-batches to have ready, at least 1; by default a few, more where they are small, and
            enough for a decoder that works on several at once.
    """

    def __init__(
        self,
        reader: Reader,
        samples: Samples,
        schedule: Steps,
        decoder: BatchDecoder,
        vranks: Sequence[int],
        *,
        start_step: int,
        stop_step: int,
        quarantine: Quarantine | None = None,
        depth: int | None = None,
    ) -> None:
        if depth is not None and depth < 1:
            raise ValueError("depth must be at least 1")
        self._reader, self._samples, self._schedule, self._decoder = reader, samples, schedule, decoder
        self._vranks = tuple(vranks)
        self._quarantine = quarantine or Quarantine()
        self._steps = range(start_step, stop_step)
        together = _read_together(reader.sample_bytes, schedule.micro_batch)
        self._groups = [self._vranks[i : i + together] for i in range(0, len(vranks), together)]
        self._steps_together = max(1, together // len(vranks))
        fewest = max(_READY_BATCHES, _READY_SAMPLES // schedule.micro_batch, decoder.ahead)
        self._depth = fewest if depth is None else depth
        self._deepens = depth is None  # still to be seen how large a micro-batch is
        self._ready: deque[_Ready] = deque()
        self._changed = Condition()
        self._ended = False  # the thread puts nothing more: it is done, has failed, or was told to stop
        self._closed: Future[None] = Future()
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
        try:
            return ready.decoding.result() if ready.decoding is not None else None, ready.count
        except BaseException as error:
            self._end(error)
            raise

    def close(self) -> None:
        """Stop the thread, and wait for the decode that it is in, a few seconds at most; not for a fetch."""
        self._end(None)
        self._thread.join(_JOIN_SECONDS)

    def _end(self, error: BaseException | None) -> None:
        """Give nothing more but this error."""
        with self._changed:
            self._ended, self._error = True, error
            for ready in self._ready:
                if ready.decoding is not None:
                    ready.decoding.cancel()
            self._ready.clear()
            self._changed.notify_all()
            if not self._closed.done():
                self._closed.set_result(None)

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
            elif ready.decoding is not None:
                ready.decoding.cancel()
            return not self._ended

    def _produce(self) -> Iterator[_Ready]:
        for request, parts in Prefetcher(self._reader, stopped=self._closed).read(self._requests()):
            draws = request.draws
            for place, records, count in zip(request.places, parts, request.counts, strict=True):
                own, draws = draws[:count], draws[count:]
                begun = self._decoder.begin(request.epoch, records, own) if records is not None else None
                if self._deepens and isinstance(begun, Decoded):
                    self._deepen(begun.batch)
                yield _Ready(place=place, decoding=begun, count=count)

    def _deepen(self, batch: Batch) -> None:
        size = size_bytes(batch)
        if size is not None:
            self._depth = max(self._depth, min(_READY_BATCHES_MAX, _READY_BYTES // max(1, size)))
        self._deepens = False

    def _requests(self) -> Iterator[_Request]:
        """What is read together, in step-major, then virtual-rank order."""
        epoch: int | None = None
        found: _Found | None = None
        steps = 1  # to look up at once
        for stretch in self._stretches():
            pieces = [self._schedule.at(step) for step in stretch]
            start, stop = pieces[0].start, pieces[-1].start + self._schedule.micro_batch
            if found is None or epoch != pieces[0].epoch or stop > found.stop:
                epoch = pieces[0].epoch
                found = self._look_up(epoch, start, max(steps, len(stretch)))
                steps = min(2 * steps, max(1, _LOOK_UP_SAMPLES // self._schedule.micro_batch))
            for vranks in self._groups:
                parts = [
                    found.of[vrank]
                    .part(piece.start - found.start, piece.counts[vrank])
                    .without(self._quarantine.at(step))
                    for step, piece in zip(stretch, pieces, strict=True)
                    for vrank in vranks
                ]
                together = joined(parts)
                yield _Request(
                    epoch=pieces[0].epoch,
                    places=tuple((step, vrank) for step in stretch for vrank in vranks),
                    runs=together.runs,
                    draws=together.draws,
                    counts=tuple(map(len, parts)),
                )

    def _stretches(self) -> Iterator[range]:
        """Steps that are read together: all of one epoch, and more and more of them."""
        step, count = self._steps.start, 1
        while step < self._steps.stop:
            together = min(count, self._schedule.steps_together(step))
            stretch = range(step, min(step + together, self._steps.stop))
            yield stretch
            step, count = stretch.stop, min(2 * count, self._steps_together)

    def _look_up(self, epoch: int, start: int, steps: int) -> _Found:
        """Where the samples of so many steps from `start` on are stored."""
        stop = start + steps * self._schedule.micro_batch
        of = {vrank: self._samples.find(epoch, vrank, start, stop) for vrank in self._vranks}
        return _Found(start=start, stop=stop, of=of)


def _read_together(sample_bytes: float, micro_batch: int) -> int:
    """Micro-batches that are read together in the end."""
    samples = min(_TOGETHER_SAMPLES, int(_TOGETHER_BYTES / max(1.0, sample_bytes)))
    return min(max(1, samples // micro_batch), _TOGETHER_BATCHES)
