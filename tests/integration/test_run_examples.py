"""The examples: equal bits for every number of workers, on files and on S3, and the accuracy they promise."""

from __future__ import annotations

import os

import pytest

from tests.support.example_jobs import index, options, prepare
from tests.support.example_modules import EXAMPLES
from tests.support.lockstep import Lockstep, Result

pytestmark = [pytest.mark.ray, pytest.mark.slow]

#: Of digits, one epoch of 15 and a part of the next.
STEPS = {"digits": 20, "text": 10}
HELD_OUT = {"digits": "test", "text": None}  # that of the text takes longer than the steps
WORKERS = (1, 3, 4)  # two learn all of the digits, below


@pytest.fixture(scope="session")
def data(lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The folder of each example's data."""
    roots = {example: str(tmp_path_factory.mktemp(example)) for example in HELD_OUT}
    for example, root in roots.items():
        prepare(example, root, dict(os.environ))
    index(lockstep, f"{roots['digits']}/train", f"{roots['digits']}/test")
    return roots


@pytest.fixture(scope="session")
def short_runs(data: dict[str, str], lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory):
    """Short runs of an example, made when they are first asked for."""
    made: dict[str, dict[int, Result]] = {}

    def of(example: str) -> dict[int, Result]:
        if example not in made:
            job, runs = EXAMPLES / example / "job.yaml", {}
            for workers in WORKERS:
                folder = tmp_path_factory.mktemp(f"{example}-{workers}")
                where = options(data[example], HELD_OUT[example], folder, STEPS[example])
                runs[workers] = (job, "--workers", workers, *where)
            made[example] = lockstep.run_each(runs)
        return made[example]

    return of


@pytest.mark.parametrize("example", HELD_OUT)
def test_an_example_has_the_same_bits_for_every_number_of_workers(short_runs, example: str) -> None:
    results = short_runs(example)
    first = results[1]
    assert [*first.steps] == [*range(1, STEPS[example] + 1)]
    for workers, result in results.items():
        assert result.code == 0, result.err
        assert len(result.json["workers"]) == workers
        assert result.json["state_digest"] == first.json["state_digest"]
        assert result.json["metrics"] == first.json["metrics"]
        assert result.steps == first.steps


@pytest.mark.s3
def test_digits_has_the_same_bits_on_s3(short_runs, alone: Lockstep, s3, bucket: str) -> None:
    on_s3 = alone.with_environment(s3.environment())  # a cluster's workers have credentials of their own
    root = f"{bucket}/digits"
    prepare("digits", root, {**os.environ, **s3.environment()})
    index(on_s3, f"{root}/train", f"{root}/test")
    where = options(root, "test", f"{bucket}/runs", STEPS["digits"])
    result = on_s3.run(EXAMPLES / "digits" / "job.yaml", "--workers", 3, *where)
    assert result.code == 0, result.err
    on_files = short_runs("digits")[1]
    assert result.json["state_digest"] == on_files.json["state_digest"]
    assert result.steps == on_files.steps
    assert result.json["checkpoint"] == {"uri": f"{bucket}/runs/digits", "step": STEPS["digits"]}
    verified = on_s3("checkpoint", "verify", f"{bucket}/runs/digits", "--all")
    assert verified.code == 0, verified.err


def test_digits_learns_what_it_promises(
    short_runs, data: dict[str, str], lockstep: Lockstep, tmp_path
) -> None:
    where = options(data["digits"], "test", tmp_path)
    result = lockstep.run(EXAMPLES / "digits" / "job.yaml", "--workers", 2, *where)
    assert result.code == 0, result.err
    assert result.json["metrics"]["accuracy"] >= 0.97
    begin = short_runs("digits")[1].steps
    assert {step: result.steps[step] for step in begin} == begin, "the same bits"
