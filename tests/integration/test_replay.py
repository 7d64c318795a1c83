"""`lockstep replay`: one process shows any step of a job that four have trained."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.support.again_jobs import MICRO, AgainJob, V, again_job, numbers_at, numbers_in
from tests.support.checkpoints import folder_store, objects
from tests.support.lockstep import LOCKSTEP, Lockstep, Result
from workers.checkpoint.load import read_manifest
from workers.numerics.randomness import derive
from workers.processes import launch
from workers.protocol import StepDone

pytestmark = pytest.mark.slow

#: The step that goes wrong, and where in it.
STEP, VRANK, POSITION = 137, 5, 1


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Lockstep:
    return Lockstep(folder=tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return numbers_in(tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[AgainJob, dict[int, StepDone]]:
    """What four workers have trained, past the step that spoils it; and what they said of each step."""
    poison = numbers_at(data, STEP, VRANK)[POSITION]
    folder = tmp_path_factory.mktemp("job") / "job"
    job = again_job(folder, data, steps=STEP + 3, every=60, poison=poison)
    steps = {event.step: event for event in launch(job.resolved(), 4) if isinstance(event, StepDone)}
    assert len(steps) == STEP + 3
    return job, steps


def shown(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.err
    return result.json


def test_the_sample_the_layer_and_the_step_of_a_nan_are_named(command: Lockstep, trained, data: str) -> None:
    job, _ = trained
    before = objects(job.checkpoints)
    seen = shown(command("replay", job.file, "--step", STEP, "--json"))
    assert (seen["step"], seen["from"], seen["loss"]) == (STEP, 120, "nan")
    culprit = seen["first_non_finite"]
    assert (culprit["kind"], culprit["name"], culprit["type"]) == ("output", "scale", "Scale")
    assert (culprit["vrank"], culprit["narrowed_to"], culprit["positions"]) == (VRANK, "sample", [POSITION])
    [sample] = culprit["samples"]
    number = numbers_at(data, STEP, VRANK)[POSITION]
    assert sample == seen["vranks"][VRANK]["samples"][POSITION]
    assert number_of(command, data, sample) == number
    assert [one["vrank"] for one in seen["vranks"] if one["non_finite"]] == [VRANK]
    assert objects(job.checkpoints) == before


def number_of(command: Lockstep, data: str, sample: dict[str, Any]) -> int:
    """The number that a data set has in a row of an object: they are numbered in stored order."""
    index = ["data", "order", data, "--seed", 0, "--epoch", 0, "--vranks", 1, "--json"]
    lines = [json.loads(line) for line in command(*index).out.splitlines()]
    places = sorted((line["object"], line["row"]) for line in lines)
    return places.index((sample["object"], sample["row"]))


def test_a_later_step_is_not_reached_unless_one_insists(command: Lockstep, trained) -> None:
    job, _ = trained
    text = command("replay", job.file, "--step", STEP + 2)
    assert text.code == 0, text.err
    assert f"stopped before step {STEP + 2}" in text.out
    assert f"first non-finite number: step {STEP}, nan in the output of scale (Scale)" in text.out
    seen = shown(command("replay", job.file, "--step", STEP + 3, "--go-on", "--json"))
    assert (seen["step"], seen["earlier_non_finite_step"]) == (STEP + 3, STEP)
    assert "head.weight" in seen["non_finite_parameters_before"]
    assert seen["first_non_finite"]["narrowed_to"] == "micro-batch"
    assert seen["equals_checkpoint"] is True  # spoilt as it is


def test_a_step_is_seen_as_it_was(command: Lockstep, trained, tmp_path: Path) -> None:
    """To the bit: what four workers logged, and the checkpoint that they wrote after it."""
    job, steps = trained
    seen = shown(command("replay", job.file, "--step", 120, "--save", tmp_path, "--layers", "--json"))
    assert (seen["loss"], seen["values"]) == (steps[120].loss, dict(steps[120].values))
    assert seen["state_digest"] == read_manifest(folder_store(job.checkpoints), 120).state_digest
    assert (seen["from"], seen["equals_checkpoint"], seen["first_non_finite"]) == (60, True, None)
    assert [one["count"] for one in seen["vranks"]] == [MICRO] * V
    assert seen["gradient_norm"] == pytest.approx(seen["values"]["grad_norm"], rel=1e-6)
    kept = load_file(tmp_path / "vrank-0005.safetensors")
    whole = load_file(tmp_path / "gradients.safetensors")
    assert {key for key in kept if not key.startswith("gradient/")} == {
        "batch/inputs", "batch/weight", "inputs/0", "inputs/1",
    }  # fmt: skip
    for name, norm in seen["vranks"][5]["gradient_norms"].items():
        assert kept[f"gradient/{name}"].norm().item() == pytest.approx(norm, rel=1e-5, abs=1e-7)
        every = [load_file(tmp_path / f"vrank-{v:04d}.safetensors")[f"gradient/{name}"] for v in range(V)]
        mean = sum(every) / V
        assert (mean - whole[f"gradient/{name}"]).abs().max() < 1e-6
    said = json.loads((tmp_path / "step.json").read_text())
    assert said["not_tensors"]["vrank 5"]["batch/name/0"]["type"] == "str"


def test_from_nothing_it_comes_to_the_same(command: Lockstep, trained) -> None:
    job, steps = trained
    seen = shown(command("replay", job.file, "--step", 7, "--from", 0, "--vrank", 2, "--json"))
    assert (seen["from"], seen["loss"]) == (0, steps[7].loss)
    assert [one["vrank"] for one in seen["vranks"]] == [2]


@pytest.mark.parametrize(
    ("how", "kind", "narrowed"), [("root", "gradient", True), ("alone", "output", False)]
)
def test_gradients_and_whole_micro_batches_may_be_to_blame(
    command: Lockstep, trained, data: str, tmp_path: Path, how: str, kind: str, narrowed: bool
) -> None:
    """Of other steps of the same job: nothing was saved of it, so it begins from nothing."""
    poison = numbers_at(data, 3, VRANK)[0]
    job = again_job(tmp_path / "job", data, steps=5, every=5, poison=poison, how=how)
    seen = shown(command("replay", job.file, "--step", 4, "--from", 0, "--json"))
    culprit = seen["first_non_finite"]
    assert (seen["step"], culprit["kind"], culprit["vrank"]) == (3, kind, VRANK)
    assert culprit["positions"] == ([0] if narrowed else None)
    assert len(culprit["samples"]) == (1 if narrowed else MICRO)


OWN_DATA = """
import torch
from workers import Recipe

class Own(Recipe):
    def build_model(self):
        return torch.nn.Linear(1, 1)

    def build_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(self, model, batch):
        bad = batch["step"] == 4 and batch["seed"] == self.bad
        return model(torch.full((batch["size"], 1), float("inf") if bad else 1.0)).mean()
"""


def test_of_a_recipe_that_makes_its_own_data_the_micro_batch_is_named(
    command: Lockstep, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN_DATA)
    spec = {"name": "own", "recipe": "own:Own", "params": {"bad": derive("batch", 0, 4, 2)}}
    rest = {"batch": {"size": 8, "virtual_ranks": 4}, "stop": {"steps": 6}, "numerics": "fast"}
    (tmp_path / "job.yaml").write_text(json.dumps({**spec, **rest}))
    result = command("replay", tmp_path / "job.yaml", "--step", 6, "--from", 0, "--json")
    culprit = shown(result)["first_non_finite"]
    assert (result.json["step"], culprit["vrank"], culprit["name"]) == (5, 2, "")
    assert (culprit["narrowed_to"], culprit["samples"]) == ("micro-batch", [])
    assert "numerics: fast" in result.json["notes"][0]
    assert "the output of the model (Linear)" in result.err


COMMANDS = b"p batch['name']\np type(model).__name__\nc\n"


def test_pdb_stops_inside_the_loss_of_a_virtual_rank(command: Lockstep, trained, data: str) -> None:
    job, steps = trained
    line = [LOCKSTEP, "replay", str(job.file), "--step", "61", "--vrank", "3", "--pdb", "--json"]
    run = subprocess.run(line, input=COMMANDS, capture_output=True, timeout=200)
    out = run.stdout.decode()
    assert run.returncode == 0, run.stderr.decode()
    assert "loss()\n-> weight = batch" in out
    assert str([f"number {number}" for number in numbers_at(data, 61, 3)]) in out
    assert "DistributedDataParallel" in out
    assert json.loads(out.splitlines()[-1])["loss"] == steps[61].loss


def test_pdb_can_be_left_at_a_terminal(trained) -> None:
    job, _ = trained
    ours, theirs = pty.openpty()
    line = [LOCKSTEP, "replay", str(job.file), "--step", "61", "--pdb"]
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as run:
        os.close(theirs)
        said = b""
        while b"(Pdb)" not in said:
            said += os.read(ours, 4096)
        os.write(ours, b"q\n")
        assert run.wait(60) == 0
    os.close(ours)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--step", 60), "there is no checkpoint before step 60"),
        (("--step", 500), "job again ends at step 140"),
        (("--step", 70, "--vrank", V), "job again has 8 virtual ranks"),
        (("--step", 70, "--set", "batch.size=32"), "batch_size: 16 → 32"),
    ],
)
def test_what_cannot_be_shown_is_refused(command: Lockstep, trained, options, words: str) -> None:
    job, _ = trained
    result = command("replay", job.file, *options)
    assert result.code == 2
    assert words in result.err
    assert "Traceback" not in result.err


def test_a_changed_recipe_is_refused_unless_one_insists(command: Lockstep, trained, tmp_path: Path) -> None:
    job = trained[0].copy(tmp_path / "job")
    job.recipe.write_text(job.recipe.read_text() + "\n# changed\n")
    refused = command("replay", job.file, "--step", 61)
    assert refused.code == 2
    assert "recipe.py changed" in refused.err
    seen = shown(command("replay", job.file, "--step", 61, "--allow-changes", "--json"))
    assert seen["notes"] == ["recipe.py changed"]
    assert seen["loss"] == trained[1][61].loss
