"""A shard that is damaged: found when it is read, and no step is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tests.support.bits_jobs import TRAIN_ROWS, BitsJob
from tests.support.checkpoints import flip
from tests.support.lockstep import Lockstep
from workers.data.dataset import Dataset
from workers.data.manifest import BlockSpec
from workers.data.order import OrderSettings
from workers.data.schedule import Schedule
from workers.data.shards import write_shards

pytestmark = pytest.mark.ray

SCHEMA = pa.schema([("key", pa.string()), ("data", pa.large_binary())])
EVERY = 2  # steps between checkpoints


@dataclass(frozen=True, kw_only=True)
class Victim:
    """The last block of a shard, and the step in which it is first read."""

    path: Path
    block: BlockSpec
    step: int


@pytest.fixture
def victim(job: BitsJob, bits: BitsJob, tmp_path: Path) -> Victim:
    """The job on a packed data set, and a block of it that is needed only after the first checkpoint."""
    folder = tmp_path / "packed"
    objects = sorted(path for path in (bits.folder / "train").iterdir() if path.name[0].isdigit())
    samples = ({"key": path.name, "data": path.read_bytes()} for path in objects)
    write_shards(samples, SCHEMA, folder.as_uri(), block_bytes=1, shard_bytes=800)
    checkpoint = {"uri": "runs", "every": EVERY, "if_busy": "wait"}
    job.change(data={"train": {"uri": str(folder)}}, evaluate=None, checkpoint=checkpoint)
    dataset = Dataset.open(folder.as_uri())
    blocks = [dataset.manifest.block(number) for number in range(dataset.rows)]
    ends = {block.object: block for block in blocks}.values()
    first_read = steps_by_block(dataset)
    block = max(ends, key=lambda block: first_read[block.number])
    assert first_read[block.number] > EVERY
    return Victim(path=folder / block.object, block=block, step=first_read[block.number])


def steps_by_block(dataset: Dataset) -> dict[int, int]:
    """Each block's first step, counted from 1, with the job's seed and batch."""
    schedule = Schedule(rows=dataset.rows, vranks=8, micro_batch=5)
    order = OrderSettings(seed=5).epoch(0, dataset.manifest.block_rows, 8)
    found: dict[int, int] = {}
    for step in range(schedule.steps_per_epoch):
        piece = schedule.at(step)
        for vrank, count in enumerate(piece.counts):
            blocks = order.addresses(vrank, piece.start, piece.start + count).blocks
            found |= dict.fromkeys(blocks.tolist(), step + 1)
    return found


def alter(victim: Victim) -> None:
    flip(victim.path, victim.block.offset + victim.block.length - 20)


def truncate(victim: Victim) -> None:
    content = victim.path.read_bytes()
    victim.path.write_bytes(content[: victim.block.offset + 10])


@pytest.mark.parametrize(("harm", "word"), [(alter, "altered"), (truncate, "truncated")])
def test_a_damaged_shard_stops_the_job_when_it_is_read(
    lockstep: Lockstep, job: BitsJob, victim: Victim, harm: Callable[[Victim], None], word: str
) -> None:
    harm(victim)
    result = lockstep.run(job.file, "--workers", 2)
    assert result.code == 2
    assert max(result.steps) == victim.step - 1
    assert f"{victim.path.as_uri()} at byte {victim.block.offset}: block" in result.err
    assert word in result.err
    assert "lockstep data verify" in result.err
    assert "Traceback" not in result.err
    good = (victim.step - 1) // EVERY * EVERY
    assert f"the last good checkpoint is of step {good}: continue from it with --resume" in result.err


@pytest.mark.slow
def test_a_job_that_may_leave_a_block_out_does_so_from_the_same_step_on_whatever_happens(
    lockstep: Lockstep, job: BitsJob, victim: Victim
) -> None:
    """With any number of workers, if it is resumed, and if the block is mended meanwhile."""
    whole = lockstep.run(job.file, "--workers", 1, "--fresh")
    alter(victim)
    settings = ("--set", "data.train.damaged_blocks=1")
    first = lockstep.run(job.file, "--workers", 1, *settings, "--fresh")
    assert first.code == 0, first.err
    (told,) = first.events("damaged")
    assert told["step"] == victim.step
    assert f"{victim.path.as_uri()} at byte {victim.block.offset}: block" in told["reason"]
    assert first.steps[victim.step - 1] == whole.steps[victim.step - 1], "nothing happened before"
    assert first.json["state_digest"] != whole.json["state_digest"], "a sample less"

    until = ("--set", f"stop.steps={victim.step + 1}")
    half = lockstep.run(job.file, "--workers", 3, *settings, *until, "--fresh")
    assert half.code == 0, half.err
    assert len(half.events("damaged")) == 1
    alter(victim)  # back
    rest = lockstep.run(job.file, "--workers", 4, *settings, "--resume")
    assert {**half.steps, **rest.steps} == first.steps
    assert rest.json["state_digest"] == first.json["state_digest"]
    refused = lockstep.run(job.file, "--resume")
    assert refused.code == 2
    assert "was trained without 1 damaged blocks, more than the job allows" in refused.err

    proof = lockstep("verify", job.file, *settings, "--from", 0, "--workers", 3)
    assert proof.code == 0, proof.err
    assert "proven equal" in proof.out
    sight = lockstep("replay", job.file, *settings, "--step", victim.step, "--from", 0, "--json").json
    taken = [sample for vrank in sight["vranks"] for sample in vrank["samples"]]
    show = lockstep("checkpoint", "show", job.checkpoints, "--samples", "--step", victim.step, "--json")
    rows = {(sample["object"], sample["row"]) for sample in show.json["samples"]}
    assert rows == {(sample["object"], sample["row"]) for sample in taken}
    counts = Schedule(rows=TRAIN_ROWS, vranks=8, micro_batch=5).at(victim.step - 1).counts
    assert len(rows) == sum(counts) - 1, "all but the damaged one"


def test_one_block_more_than_may_be_left_out_ends_the_job(
    lockstep: Lockstep, job: BitsJob, victim: Victim
) -> None:
    victim.path.unlink()  # with all blocks in it
    result = lockstep.run(job.file, "--workers", 3, "--set", "data.train.damaged_blocks=1")
    assert result.code == 2
    assert "more than 1 damaged blocks: repair the data set" in result.err
    assert "Traceback" not in result.err
