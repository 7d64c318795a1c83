"""Processes give the batches that threads give, whatever befalls them, and go when nobody needs them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import number_records, number_set
from tests.support.recipes_decode import DoesNotLoad, Local, Meets, Misbehaves, Plain, Rich, Vectorised
from workers.blame import RaisedElsewhere, describe
from workers.data.decoder import Decoder
from workers.data.decoding.pool import ProcessDecoder
from workers.data.evaluation import evaluation_batches
from workers.data.feed import Feed
from workers.data.order import OrderSettings
from workers.data.reader import BlockReader
from workers.data.samples import EpochSamples, StoredSamples
from workers.data.schedule import Schedule
from workers.errors import RecipeError
from workers.protocol import Fault
from workers.recipe import Recipe

ROOT = Path(__file__).parents[5]
ROWS, SEED = 60, 3
needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="waits for processes that are not its children"
)


def some(start: int, count: int) -> tuple[pa.RecordBatch, Any]:
    """So many records from `start` on, and their numbers in the data set."""
    return number_records(start, count), np.arange(start, start + count)


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, the strides of tensors too; the tensors of `one` are aligned."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        assert one.data_ptr() % 64 == 0 or not one.numel()
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


def decoder(load: Callable[[], Recipe], processes: int = 1) -> ProcessDecoder:
    return ProcessDecoder(load, SEED, processes)


@pytest.fixture(scope="module")
def rich() -> Iterator[ProcessDecoder]:
    with closing(decoder(Rich, 2)) as found:
        yield found


tasks = st.tuples(st.integers(-1, 5), st.integers(0, ROWS - 1), st.integers(1, 20)).map(
    lambda t: (t[0], t[1], min(t[2], ROWS - t[1]))
)


@settings(max_examples=25, deadline=None)
@given(wanted=st.lists(tasks, min_size=1, max_size=6))
def test_batches_are_those_of_threads_bit_for_bit(
    rich: ProcessDecoder, wanted: list[tuple[int, int, int]]
) -> None:
    begun = [rich.begin(epoch, *some(start, count)) for epoch, start, count in wanted]
    threads = Decoder(Rich(), SEED)
    for decoding, (epoch, start, count) in zip(begun, wanted, strict=True):
        assert_same(decoding.result(), threads(epoch, *some(start, count)))


def test_whole_record_batches_are_decoded_too() -> None:
    with closing(decoder(Vectorised)) as processes:
        assert_same(processes.begin(0, *some(3, 9)).result(), Decoder(Vectorised(), SEED)(0, *some(3, 9)))


def feed(reader: BlockReader, decoder: Any, vranks: list[int], start: int) -> Feed:
    samples = EpochSamples(reader.dataset.manifest.block_rows, OrderSettings(seed=SEED), SCHEDULE.vranks)
    return Feed(reader, samples, SCHEDULE, decoder, vranks, start_step=start, stop_step=STEPS)


SCHEDULE = Schedule(rows=ROWS, vranks=3, micro_batch=4)
STEPS = 2 * SCHEDULE.steps_per_epoch


def taken(reader: BlockReader, decoder: Any, vranks: list[int], start: int) -> Iterator[Any]:
    with closing(feed(reader, decoder, vranks, start)) as it:
        for step in range(start, STEPS):
            for vrank in vranks:
                yield it.take(step, vrank)


@pytest.mark.parametrize(("vranks", "start"), [([0, 1, 2], 0), ([1], 3), ([0, 2], STEPS - 1)])
def test_a_feed_gives_the_same_batches_in_the_same_order(
    tmp_path: Path, rich: ProcessDecoder, vranks: list[int], start: int
) -> None:
    reader = BlockReader(number_set(tmp_path, ROWS))
    threads = taken(reader, Decoder(Rich(), SEED), vranks, start)
    for mine, theirs in zip(taken(reader, rich, vranks, start), threads, strict=True):
        assert_same(mine, theirs)


def test_a_feed_has_several_batches_decoded_at_once(tmp_path: Path) -> None:
    """The first cannot be finished before the second is begun."""
    reader = BlockReader(number_set(tmp_path / "set", ROWS))
    plain = taken(reader, Decoder(Plain(), SEED), [0, 1], 0)
    first, second = next(plain), next(plain)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    meets = partial(Meets, pipe=str(pipe), reads=first[0][0][0], writes=second[0][0][0])
    with closing(decoder(meets, 2)) as processes:
        meeting = taken(reader, processes, [0, 1], 0)
        assert [next(meeting), next(meeting)] == [first, second]


def test_evaluation_gives_the_same_batches(tmp_path: Path, rich: ProcessDecoder) -> None:
    reader = BlockReader(number_set(tmp_path, ROWS))
    samples = StoredSamples(reader.dataset.manifest.block_rows)
    both = [
        evaluation_batches(reader, samples, way, micro_batch=7, vranks=2, vrank=1)
        for way in (rich, Decoder(Rich(), SEED))
    ]
    for mine, theirs in zip(*both, strict=True):
        assert_same(mine, theirs)


@pytest.mark.parametrize("how", ["die", "exit"])
def test_a_process_that_dies_is_replaced_and_its_batch_done_again(tmp_path: Path, how: str) -> None:
    dies = partial(Misbehaves, how=how, at=4, once=str(tmp_path / "died"))
    with closing(decoder(dies)) as processes:
        before = processes.begin(0, *some(0, 3))
        again = processes.begin(0, *some(3, 3))
        threads = Decoder(Plain(), SEED)
        assert_same(before.result(), threads(0, *some(0, 3)))
        assert_same(again.result(), threads(0, *some(3, 3)))
        assert (tmp_path / "died").exists()


def test_processes_that_somebody_kills_are_replaced() -> None:
    with closing(decoder(Plain, 2)) as processes:
        for _ in range(3):
            begun = [processes.begin(1, *some(start, 6)) for start in range(5)]
            assert [decoding.result() for decoding in begun] == [
                Decoder(Plain(), SEED)(1, *some(start, 6)) for start in range(5)
            ]
            for pid in processes.pids:
                os.kill(pid, signal.SIGKILL)


def test_a_batch_that_kills_every_process_is_named_and_others_are_not_hurt() -> None:
    with closing(decoder(partial(Misbehaves, how="die", at=4))) as processes:
        deadly, harmless = processes.begin(2, *some(3, 2)), processes.begin(2, *some(0, 3))
        words = r"decoding samples 3, 4 \(epoch 2\) ended 3 processes; the last one was killed by signal 9"
        with pytest.raises(RecipeError, match=words):
            deadly.result()
        assert_same(harmless.result(), Decoder(Plain(), SEED)(2, *some(0, 3)))


def test_what_the_recipe_raises_is_told_with_its_frames_and_the_sample() -> None:
    with closing(decoder(partial(Misbehaves, how="raise", at=4))) as processes:
        with pytest.raises(RaisedElsewhere) as caught:
            processes.begin(0, *some(3, 2)).result()
        told = describe(caught.value)
        assert (told["fault"], told["message"]) == (
            Fault.USER,
            "the recipe raised ZeroDivisionError: at the sample",
        )
        assert 'raise ZeroDivisionError("at the sample")' in told["trace"]
        assert "while decoding sample 4 of the data set" in told["trace"]
        processes.begin(0, *some(0, 3)).result()


def test_damaged_data_is_an_error_of_the_input_there_too() -> None:
    with closing(decoder(partial(Misbehaves, how="refuse", at=4))) as processes:
        with pytest.raises(RaisedElsewhere, match="sample 3: the bytes are damaged") as caught:
            processes.begin(0, *some(4, 1)).result()
        assert describe(caught.value)["fault"] is Fault.INPUT


@pytest.mark.parametrize(
    ("recipe", "words"),
    [(Local, "a batch cannot be sent by the process that made it"), (DoesNotLoad, "no such file")],
)
def test_a_recipe_that_is_not_made_for_processes_is_told_why(recipe: type[Recipe], words: str) -> None:
    with closing(decoder(recipe)) as processes, pytest.raises(RaisedElsewhere, match=words):
        processes.begin(0, *some(0, 1)).result()


@needs_pidfd
def test_closing_ends_processes_that_are_busy() -> None:
    processes = decoder(partial(Misbehaves, how="spin", at=4), 2)
    idle, busy = processes.begin(0, *some(0, 2)), processes.begin(0, *some(4, 1))
    waits = processes.begin(0, *some(4, 1))
    idle.result()
    alive = [os.pidfd_open(pid) for pid in processes.pids]
    processes.close()
    assert_all_end(alive)
    for decoding in (busy, waits):
        with pytest.raises(BaseException, match=r"closed|^$"):  # cancelled, or given up
            decoding.result()
    with pytest.raises(RuntimeError):
        processes.begin(0, *some(0, 1))


def assert_all_end(pidfds: list[int]) -> None:
    for process in pidfds:
        ended, _, _ = select.select([process], [], [], 30)
        assert ended, "a process is left behind"
        os.close(process)


PARENT = """
import sys
import time
from functools import partial
from pathlib import Path
import numpy as np
from tests.support.datasets import number_records
from tests.support.recipes_decode import Misbehaves
from workers.data.decoding.pool import ProcessDecoder

if __name__ == "__main__":
    how, begun = sys.argv[1:]
    processes = ProcessDecoder(partial(Misbehaves, how=how, at=4, once=begun), 0, 2)
    idle = processes.begin(0, number_records(0, 2), np.arange(2))
    busy = processes.begin(0, number_records(4, 1), np.arange(4, 5))
    idle.result()
    while not Path(begun).exists():
        time.sleep(0.01)
    print(*processes.pids, flush=True)
    busy.result()
"""


@needs_pidfd
@pytest.mark.parametrize(("how", "stopped"), [("hang", False), ("spin", False), ("hang", True)])
def test_processes_end_with_their_parent_however_it_ends(tmp_path: Path, how: str, stopped: bool) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), how, str(tmp_path / "begun")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        alive = [os.pidfd_open(pid) for pid in pids]
        if stopped:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        parent.send_signal(signal.SIGKILL)
        assert_all_end(alive)
