"""A job that is stopped at every step, and resumed on other workers each time, comes to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.prepare import resolve
from orchestrator.spec import load_job
from tests.support.bits_jobs import STEPS_PER_EPOCH, BitsJob
from tests.support.residents import Residents
from workers.checkpoint.load import history
from workers.checkpoint.sidecar import metrics_of, read_sidecar
from workers.processes import launch
from workers.protocol import Evaluated, Finished, Saved, StepDone, TrainJob
from workers.storage import Store

pytestmark = pytest.mark.slow

STEPS = 2 * STEPS_PER_EPOCH + 1  # both kinds of step: full ones, and the short last one of an epoch
WORKERS = (3, 1, 4, 2)  # taken in turn


@dataclass
class Told:
    """What workers reported: of each step, what is logged; of each evaluation, its metrics; the end."""

    steps: dict[int, Any] = field(default_factory=dict)
    evaluations: dict[int, Any] = field(default_factory=dict)
    digest: str | None = None

    def hear(self, event: Any) -> None:
        """Two workers, or two runs, that say different things of one step are a failure."""
        if isinstance(event, StepDone):
            said = (event.epoch, event.samples, event.loss, dict(event.values))
            assert self.steps.setdefault(event.step, said) == said
        if isinstance(event, Evaluated):
            metrics = dict(event.metrics)
            assert self.evaluations.setdefault(event.step, metrics) == metrics
        if isinstance(event, Finished):
            self.digest = event.state_digest or self.digest


@pytest.fixture(scope="module")
def residents() -> Iterator[Residents]:
    with closing(Residents(max(WORKERS))) as processes:
        yield processes


@pytest.fixture(scope="module")
def job(bits: BitsJob, tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """Saves after every step, and keeps everything."""
    copy = bits.copy(tmp_path_factory.mktemp("restore") / "job")
    copy.change(stop={"steps": STEPS}, checkpoint={"uri": "runs", "every": 1, "keep": 100, "if_busy": "wait"})
    copy.change(evaluate={"every": 4})
    return resolve(load_job(copy.file, []), copy.file)


@pytest.fixture(scope="module")
def undisturbed(job: TrainJob, residents: Residents) -> Told:
    told = Told()
    for event in launch(job, 1, crew=residents.crew(job)):
        told.hear(event)
    assert [*told.steps] == [*range(1, STEPS + 1)]
    assert told.digest is not None
    return told


def test_what_an_evaluation_gave_stands_beside_the_checkpoint_of_its_step(
    job: TrainJob, undisturbed: Told
) -> None:
    assert job.checkpoint_uri is not None
    store = Store(job.checkpoint_uri)
    noted = {step: metrics_of(read_sidecar(store, step)) for step in history(store)}
    evaluated = {step: metrics for step, metrics in noted.items() if metrics}
    assert evaluated == undisturbed.evaluations, "the last step's too, which is evaluated in any case"
    assert len(undisturbed.evaluations) == STEPS // 4 + 1


@pytest.mark.parametrize("step", range(STEPS))
def test_from_every_step_the_rest_is_the_same(
    job: TrainJob, residents: Residents, undisturbed: Told, step: int
) -> None:
    """Each save of the rest meets the one of the undisturbed run, and is refused unless it is the same."""
    told = Told()
    for event in launch(job, WORKERS[step % len(WORKERS)], step or None, crew=residents.crew(job)):
        told.hear(event)
    assert told.steps == {n: said for n, said in undisturbed.steps.items() if n > step}
    assert told.evaluations.items() <= undisturbed.evaluations.items()
    assert told.digest == undisturbed.digest


def test_a_job_that_is_stopped_at_every_step_comes_to_the_same_end(
    job: TrainJob, residents: Residents, undisturbed: Told, tmp_path: Path
) -> None:
    fresh = replace(job, checkpoint_uri=tmp_path.as_uri())
    told = Told()
    for step in range(STEPS):
        assert history(Store(tmp_path.as_uri()))[-1:] == ([step] if step else [])
        workers = WORKERS[step % len(WORKERS)]
        run = launch(fresh, workers, step or None, crew=residents.crew(fresh))
        for event in until_saved(run, step + 1, workers):
            told.hear(event)
    assert told.steps == undisturbed.steps
    assert told.digest == undisturbed.digest


def until_saved(run: Iterator[Any], step: int, workers: int) -> Iterator[Any]:
    """The events of a run that is broken off once this step is committed, wherever its workers are then."""
    saved = 0
    with closing(run):  # type: ignore[type-var]
        for event in run:
            if saved == workers and step < STEPS:
                return
            saved += isinstance(event, Saved) and event.step == step
            yield event
