"""The promise: the same bits on any number of workers, and those of plain PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.bits_jobs import SECTIONS, STEPS_PER_EPOCH, BitsJob
from tests.support.exported import digest_of_export
from tests.support.lockstep import Lockstep, Result

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
STEPS = 18
#: V → the batch, and the numbers of workers to compare.
MATRIX = {8: (40, (1, 2, 3, 4)), 12: (36, (1, 3, 5))}


@dataclass(frozen=True, kw_only=True)
class Runs:
    """One job, run with several numbers of workers, each in a folder of its own."""

    jobs: dict[int, BitsJob]
    results: dict[int, Result]

    @property
    def first(self) -> Result:
        return self.results[1]


@pytest.fixture(scope="module", params=MATRIX, ids="V{}".format)
def runs(
    request, bits: BitsJob, trained, lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    V, (size, counts) = request.param, MATRIX[request.param]
    jobs, results = {}, {}
    if SECTIONS["batch"]["virtual_ranks"] == V:  # what others start from, too
        jobs[1], results[1] = trained.job, trained.result
    for workers in counts:
        if workers in results:
            continue
        jobs[workers] = bits.copy(tmp_path_factory.mktemp(f"bits-v{V}") / f"w{workers}")
        jobs[workers].change(batch={"size": size, "virtual_ranks": V, "max_grad_norm": 0.9})
    wanted = {w: (job.file, "--workers", w) for w, job in jobs.items() if w not in results}
    results |= lockstep.run_each(wanted)
    assert {workers: r.code for workers, r in results.items()} == dict.fromkeys(counts, 0), results[1].err
    return Runs(jobs=jobs, results=results)


@pytest.fixture(scope="module")
def oracle(runs: Runs) -> dict:
    command = [sys.executable, "-m", "tests.support.oracle", str(runs.jobs[1].folder)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def test_the_state_digest_is_the_same_for_every_number_of_workers(runs: Runs) -> None:
    digests = {workers: result.json["state_digest"] for workers, result in runs.results.items()}
    assert set(digests.values()) == {runs.first.json["state_digest"]}, digests


def test_all_that_is_logged_of_each_step_is_the_same(runs: Runs) -> None:
    assert [*runs.first.steps] == [*range(1, STEPS + 1)]
    for result in runs.results.values():
        assert result.steps == runs.first.steps


def test_the_run_sees_short_batches_of_several_epochs(runs: Runs) -> None:
    epochs = [epoch for epoch, *_ in runs.first.steps.values()]
    assert epochs == [step // STEPS_PER_EPOCH for step in range(STEPS)]
    seen = [samples for _, samples, *_ in runs.first.steps.values()]
    assert seen[STEPS_PER_EPOCH - 1 :: STEPS_PER_EPOCH] == [201, 402, 603]


def test_evaluations_are_the_same(runs: Runs) -> None:
    found = [[(e["step"], e["values"]) for e in r.events("evaluated")] for r in runs.results.values()]
    assert [step for step, _ in found[0]] == [10, STEPS]
    assert all(other == found[0] for other in found)


def test_manifests_and_chunks_are_the_same_byte_for_byte(runs: Runs) -> None:
    stored = [job.committed() for job in runs.jobs.values()]
    assert sum(name.startswith("manifests/") for name in stored[0]) == 3
    assert all(other == stored[0] for other in stored)


def test_workers_agree_with_one_another_and_host_every_virtual_rank_once(runs: Runs) -> None:
    for workers, result in runs.results.items():
        assert result.json["disagreements"] == []
        hosted = [vrank for worker in result.json["workers"] for vrank in worker["vranks"]]
        assert len(result.json["workers"]) == workers
        assert sorted(hosted) == [*range(len(hosted))]


def test_plain_pytorch_in_one_process_comes_to_the_same_bits(runs: Runs, oracle: dict) -> None:
    logged = [*runs.first.steps.values()]
    assert [loss for _, _, loss, _ in logged] == oracle["losses"]
    assert [values for *_, values in logged] == oracle["values"]
    assert runs.first.json["state_digest"] == oracle["digest"]


def test_a_stranger_finds_the_same_digest_in_the_export(
    runs: Runs, lockstep: Lockstep, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    exported = lockstep("checkpoint", "export", runs.jobs[1].checkpoints, out)
    assert exported.code == 0, exported.err
    assert digest_of_export(out) == runs.first.json["state_digest"]


def test_every_worker_second_is_in_one_category(runs: Runs) -> None:
    for workers, result in runs.results.items():
        seconds = result.json["goodput"]
        elapsed = seconds.pop("elapsed")
        assert sum(seconds.values()) == pytest.approx(elapsed)
        assert 0 < seconds["productive"] < elapsed <= workers * result.json["seconds"]
