"""Runs a job with the real supervisor over real processes, without Ray, and keeps what its workers said."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.checkpointing import JobCheckpoints
from orchestrator.gang import Outcome, Policy
from orchestrator.gang.commands import Form
from orchestrator.prepare import resolve
from orchestrator.spec import load_job
from orchestrator.supervisor import Happening as Heard
from orchestrator.supervisor import Supervisor
from workers.processes import ProcessCrew
from workers.protocol import Evaluated, Failed, Finished, StepDone, TrainJob

NODES = ("node-a", "node-b", "node-c")


@dataclass(kw_only=True)
class Seen:
    """What a run's workers said.

    Attributes:
        steps: step → (loss, values), as first reported.
        evaluations: step → metrics.
        longest_seconds: of the step that took longest.
        failures: what workers said that could not go on.
        disagreements: steps that were reported differently later, in words.
    """

    steps: dict[int, tuple[float, dict[str, float]]] = field(default_factory=dict)
    evaluations: dict[int, dict[str, float]] = field(default_factory=dict)
    digest: str | None = None
    disagreements: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    generations: int = 0
    rank_0: str | None = None
    outcome: Outcome | None = None
    story: list[str] = field(default_factory=list)

    def happened(self, what: Heard) -> None:
        """See `orchestrator.supervisor.Observer`."""
        match what:
            case StepDone():
                self.longest_seconds = max(self.longest_seconds, what.seconds)
                self._compare(self.steps, what.step, (what.loss, dict(what.values)))
            case Evaluated():
                self._compare(self.evaluations, what.step, dict(what.metrics))
            case Finished():
                self.digest = what.state_digest or self.digest
            case Failed():
                self.failures.append(what.message)
            case Form():
                self.generations, self.rank_0 = self.generations + 1, what.membership.workers[0]

    def _compare(self, table: dict, step: int, numbers: object) -> None:
        if table.setdefault(step, numbers) != numbers:
            self.disagreements.append(f"step {step}: {table[step]} and then {numbers}")


def load(folder: Path, uri: str | None) -> TrainJob:
    """The job of a folder, with its checkpoints elsewhere, or without any."""
    job = resolve(load_job(folder / "job.yaml", []), folder / "job.yaml")
    return replace(job, checkpoint_uri=uri)


@contextmanager
def supervised(
    job: TrainJob, workers: int, resume_step: int | None = None
) -> Iterator[tuple[Supervisor, ProcessCrew, Seen]]:
    """All that it takes to run a job with so many workers; call the supervisor's `run`."""
    crew, seen = ProcessCrew(job, NODES), Seen()
    with ThreadPoolExecutor(1) as pool:
        supervisor = Supervisor(
            crew=crew,
            policy=Policy(virtual_ranks=job.virtual_ranks, saves=job.checkpoint_uri is not None),
            workers=workers,
            resume_step=resume_step,
            checkpointing=JobCheckpoints(
                job.checkpoint_uri, resume_step=resume_step, keep=job.checkpoint_keep, sidecar={}
            ),
            observers=[seen],
            aside=lambda work, then: pool.submit(lambda: then(work())),
        )
        try:
            yield supervisor, crew, seen
        finally:
            crew.close()
            seen.story = supervisor.story()
