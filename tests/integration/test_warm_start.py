"""A job that begins with another one's tensors: the same bits on any workers, whatever happens to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.gang.commands import Form
from orchestrator.gang.events import Committed
from orchestrator.prepare import resolve
from orchestrator.spec import load_job
from tests.support.bits_jobs import BitsJob
from tests.support.checkpoints import folder_store, objects
from tests.support.residents import Residents
from tests.support.supervised import Seen, supervised
from workers.checkpoint.load import history, read_manifest, read_tensors
from workers.processes import ProcessCrew, launch
from workers.protocol import Finished, Formed, InitFrom, StepDone, TrainJob

pytestmark = pytest.mark.slow

PRETRAINED_STEPS, STEPS, EVERY = 8, 40, 5
TAKEN = ["model/0.*", "model/1.*", "model/4.*", "model/5.*"]

#: The trunk of the bits job under another head. Slow as long as there is a file: time for things to happen.
TUNED = """
import os

from recipe import Bits
from torch import nn

class Tuned(Bits):
    slow = ""

    def build_model(self):
        model = super().build_model()
        model[9] = nn.Linear(4 * self.width, 6)
        return model

    def loss(self, model, batch):
        self.pause = 0.1 if os.path.exists(self.slow) else 0.0
        return super().loss(model, batch)
"""


@pytest.fixture(scope="module")
def residents() -> Iterator[Residents]:
    with closing(Residents(3)) as processes:
        yield processes


@pytest.fixture(scope="module")
def pretrained(bits: BitsJob, residents: Residents, tmp_path_factory: pytest.TempPathFactory) -> BitsJob:
    """A job that has a checkpoint."""
    job = bits.copy(tmp_path_factory.mktemp("pretrained") / "job")
    job.change(stop={"steps": PRETRAINED_STEPS}, checkpoint={"uri": "runs", "every": 5, "if_busy": "wait"})
    events = [*launch(_job(job), 2, crew=residents.crew(_job(job)))]
    assert isinstance(events[-1], Finished)
    return job


def _job(job: BitsJob) -> TrainJob:
    return resolve(load_job(job.file), job.file)


@pytest.fixture(scope="module")
def tuned(pretrained: BitsJob, tmp_path_factory: pytest.TempPathFactory) -> BitsJob:
    """A job that begins with the trunk of the other."""
    job = pretrained.copy(tmp_path_factory.mktemp("tuned") / "job")
    (job.folder / "tuned.py").write_text(TUNED)
    job.change(
        name="tuned",
        recipe="tuned:Tuned",
        params={"slow": str(job.folder / "slow")},
        stop={"steps": STEPS},
        checkpoint={"uri": "runs", "every": EVERY, "keep": 100, "if_busy": "wait"},
        init_from={"uri": str(pretrained.checkpoints), "tensors": TAKEN},
        freeze=["0.*", "4.*"],
    )
    return job


@dataclass
class Told:
    """What an undisturbed run came to."""

    steps: dict[int, Any] = field(default_factory=dict)
    digest: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def committed(folder: Path) -> dict[str, bytes]:
    """Manifests and chunks of a checkpoint folder."""
    return {n: data for n, data in objects(folder).items() if n.startswith(("manifests/", "chunks/"))}


def to_its_end(job: TrainJob, residents: Residents, workers: int, folder: Path) -> Told:
    told = Told()
    saving = replace(job, checkpoint_uri=folder.as_uri())
    for event in launch(saving, workers, crew=residents.crew(saving)):
        match event:
            case StepDone():
                told.steps[event.step] = (event.loss, dict(event.values))
            case Finished():
                told.digest = event.state_digest or told.digest
    return replace(told, files=committed(folder))


@pytest.fixture(scope="module")
def undisturbed(tuned: BitsJob, residents: Residents, tmp_path_factory: pytest.TempPathFactory) -> Told:
    return to_its_end(_job(tuned), residents, 1, tmp_path_factory.mktemp("undisturbed"))


def test_frozen_tensors_are_the_other_jobs_to_the_end_and_manifests_say_whose(
    pretrained: BitsJob, tuned: BitsJob, undisturbed: Told, tmp_path: Path
) -> None:
    for name, data in undisturbed.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source, own = folder_store(pretrained.checkpoints), folder_store(tmp_path)
    manifest = read_manifest(source, PRETRAINED_STEPS)
    frozen = ["model/0.weight", "model/0.bias", "model/4.weight", "model/4.bias"]
    for step in history(own):
        saved = read_manifest(own, step)
        assert saved.init_from == {
            "uri": pretrained.checkpoints.as_uri(),
            "step": PRETRAINED_STEPS,
            "digest": manifest.digest,
            "tensors": TAKEN,
            "rename": {},
        }
        assert saved.freeze == ["0.*", "4.*"]
        assert read_tensors(own, saved, frozen) == read_tensors(source, manifest, frozen)
        assert {key for key, spec in saved.tensors.items() if spec.frozen} == set(frozen)
        assert not [key for key in saved.tensors if key.startswith(("optimizer/0.", "optimizer/4."))]


def test_other_beginnings_are_other_jobs(
    tuned: BitsJob, residents: Residents, undisturbed: Told, tmp_path: Path
) -> None:
    job = _job(tuned)
    for number, other in enumerate((replace(job, init_from=None), replace(job, freeze=()))):
        assert to_its_end(other, residents, 1, tmp_path / f"{number}").digest != undisturbed.digest


def test_three_undisturbed_workers_come_to_the_same_files(
    tuned: BitsJob, residents: Residents, undisturbed: Told, tmp_path: Path
) -> None:
    assert to_its_end(_job(tuned), residents, 3, tmp_path) == undisturbed


def test_a_whole_state_goes_on_with_its_optimizer_and_schedule_from_step_0(
    pretrained: BitsJob, residents: Residents, tmp_path: Path
) -> None:
    digest = read_manifest(folder_store(pretrained.checkpoints), PRETRAINED_STEPS).digest
    whole = InitFrom(
        uri=pretrained.checkpoints.as_uri(), step=PRETRAINED_STEPS, digest=digest, tensors=("*",)
    )
    job = replace(_job(pretrained), name="forked", seed=6, init_from=whole)
    one, three = (to_its_end(job, residents, workers, tmp_path / f"{workers}") for workers in (1, 3))
    assert one == three
    manifest = read_manifest(folder_store(tmp_path / "1"), 5)
    assert manifest.scalars["schedule"]["last_epoch"] == PRETRAINED_STEPS + 5
    assert to_its_end(replace(job, init_from=None), residents, 1, tmp_path / "new").digest != one.digest


@dataclass
class Kill:
    """Kills workers once something has happened, and takes away what the job began with, if told to.

    An observer of the supervisor, in whose thread it acts. The job is slow until a newcomer trains with it.
    """

    when: Callable[[object], bool]
    which: Sequence[int]
    slow: Path
    source: Path | None = None
    crew: ProcessCrew | None = None
    killed: list[str] = field(default_factory=list)
    first: set[str] = field(default_factory=set)
    newcomers: list[Formed] = field(default_factory=list)

    def happened(self, what: object) -> None:
        """See `orchestrator.supervisor.Observer`."""
        if isinstance(what, Form):
            self.first = self.first or set(what.membership.workers)
        if isinstance(what, Formed) and what.worker not in self.first:
            self.newcomers.append(what)
            self.slow.unlink(missing_ok=True)
        if not self.killed and self.when(what):
            self._kill()

    def _kill(self) -> None:
        assert self.crew is not None
        if self.source is not None:
            self.source.rename(aside(self.source))
        self.killed = [self.crew.workers[place] for place in self.which]
        for worker in self.killed:
            os.kill(self.crew.pid(worker), signal.SIGKILL)


def aside(path: Path) -> Path:
    return path.with_name(f"{path.name}-aside")


@pytest.fixture
def disturbed(
    tuned: BitsJob, pretrained: BitsJob, tmp_path: Path
) -> Iterator[Callable[..., tuple[Seen, Kill]]]:
    """Runs the job with the real supervisor over processes of its own, and kills some."""

    def run(workers: int, *which: int, when: Callable[[object], bool], gone: bool) -> tuple[Seen, Kill]:
        kill = Kill(when, which, tuned.folder / "slow", pretrained.checkpoints if gone else None)
        kill.slow.touch()
        saving = replace(_job(tuned), checkpoint_uri=tmp_path.as_uri())
        with supervised(saving, workers) as (supervisor, kill.crew, seen):
            supervisor.observers = [seen, kill]
            seen.outcome = supervisor.run()
        return seen, kill

    yield run
    if aside(pretrained.checkpoints).exists():
        aside(pretrained.checkpoints).rename(pretrained.checkpoints)


def after_step(number: int) -> Callable[[object], bool]:
    return lambda what: isinstance(what, StepDone) and what.step >= number


def committed_one(what: object) -> bool:
    return isinstance(what, Committed)


def assert_same(seen: Seen, undisturbed: Told, folder: Path) -> None:
    assert seen.outcome is not None
    assert seen.outcome.done, seen.outcome
    assert seen.disagreements == []
    assert (seen.steps, seen.digest) == (undisturbed.steps, undisturbed.digest)
    assert committed(folder) == undisturbed.files


@pytest.mark.parametrize(("workers", "which"), [(3, [1]), (4, [0, 2])])
def test_who_joins_later_gets_it_from_another_worker_and_reads_no_store(
    disturbed, undisturbed: Told, tmp_path: Path, workers: int, which: list[int]
) -> None:
    seen, kill = disturbed(workers, *which, when=after_step(3), gone=True)
    assert_same(seen, undisturbed, tmp_path)
    assert len(kill.killed) == len(which)
    assert kill.newcomers
    assert all(formed.healed and not formed.restored for formed in kill.newcomers)


def test_a_job_that_loses_everything_before_its_first_checkpoint_begins_again_with_the_same(
    disturbed, undisturbed: Told, tmp_path: Path
) -> None:
    seen, kill = disturbed(1, 0, when=after_step(2), gone=False)
    assert_same(seen, undisturbed, tmp_path)
    (again,) = kill.newcomers
    assert (again.step, again.restored, again.healed) == (0, False, False)


def test_a_job_with_a_checkpoint_of_its_own_goes_on_from_that_and_never_looks_back(
    disturbed, undisturbed: Told, tmp_path: Path
) -> None:
    seen, kill = disturbed(1, 0, when=committed_one, gone=True)
    assert_same(seen, undisturbed, tmp_path)
    (again,) = kill.newcomers
    assert again.restored
    assert again.step >= EVERY


def test_other_shapes_end_the_job_before_its_first_step_with_one_clean_error(
    tuned: BitsJob, tmp_path: Path
) -> None:
    job = _job(tuned)
    assert job.init_from is not None
    everything = replace(
        job, init_from=replace(job.init_from, tensors=None), checkpoint_uri=tmp_path.as_uri()
    )
    with supervised(everything, 3) as (supervisor, _, seen):
        outcome = supervisor.run()
    assert (outcome.done, outcome.exit_code, outcome.trace) == (False, 2, None)
    assert "model/9.weight is F32 (4, 96) there and F32 (6, 96) here" in outcome.message
    assert "model/9.bias is F32 (4,) there and F32 (6,) here" in outcome.message
    assert seen.steps == {}
    assert objects(tmp_path) == {}
