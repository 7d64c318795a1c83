"""What a job keeps, and what it says of the steps that it went through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.checkpoint import app
from tests.support.bits_jobs import BitsJob
from tests.support.checkpoints import folder_store
from tests.support.lockstep import Lockstep
from workers.checkpoint.load import history
from workers.checkpoint.sidecar import read_sidecar

pytestmark = pytest.mark.ray

KEEP = {"keep": 1, "keep_every": 9, "keep_best": {"metric": "loss", "mode": "max"}}


def shown(folder: Path, *options: str) -> dict:
    result = CliRunner().invoke(app, ["show", str(folder), *options, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_multiples_and_the_best_stay_across_a_resume_and_the_chain_is_whole(
    job: BitsJob, lockstep: Lockstep
) -> None:
    job.change(
        checkpoint={"uri": "runs", "every": 3, "if_busy": "wait", **KEEP},
        evaluate={"every": 3},
        stop={"steps": 6},
    )
    first = lockstep.run(job.file, "--workers", 2)
    assert first.code == 0, first.err
    job.change(stop={"steps": 15})
    second = lockstep.run(job.file, "--workers", 3, "--resume")
    assert second.code == 0, second.err
    store = folder_store(job.checkpoints)
    losses = {
        entry["step"]: entry["values"]["loss"]
        for result in (first, second)
        for entry in result.log
        if entry["kind"] == "evaluated"
    }
    worst = max(losses, key=lambda step: losses[step])
    assert history(store) == sorted({worst, 9, 15})
    assert read_sidecar(store, worst)["metrics"]["loss"] == losses[worst]
    lineage = shown(job.checkpoints)["lineage"]
    assert lineage["whole"]
    assert [(link["step"], link["state"]) for link in lineage["ancestors"]] == [
        (step, "intact" if step in history(store) else "gone") for step in (12, 9, 6, 3)
    ]
    samples = [
        line
        for step in range(1, 7)
        for line in shown(job.checkpoints, "--samples", "--step", str(step))["samples"]
    ]
    assert len({line["object"] for line in samples}) == len(samples) == 201, "an epoch, each sample once"


def test_a_metric_that_does_not_exist_is_said(job: BitsJob, lockstep: Lockstep) -> None:
    keep = {"metric": "f1", "mode": "max"}
    job.change(
        checkpoint={"uri": "runs", "every": 3, "if_busy": "wait", "keep_best": keep},
        stop={"steps": 3},
        evaluate={"every": 3},
    )
    result = lockstep.run(job.file, "--workers", 1)
    assert result.code == 0, result.err
    notes = [entry["reason"] for entry in result.events("note")]
    assert "checkpoint.keep_best keeps nothing: there is no metric f1; there is accuracy, loss" in notes
