from __future__ import annotations

import pytest

from orchestrator.spec import JobSpec, ScriptSpec, SpecError, check_job, load_recipe_job
from workers.errors import InputError

SCRIPT = """\
name: tune
command: [python, train.py, --lr, "0.1"]
"""
RECIPE = "name: a\nrecipe: recipe:Net\nbatch: {size: 8}\nstop: {steps: 1}\n"


def test_a_job_with_a_command_is_a_script_job(job):
    spec = job(SCRIPT + "env: {WANDB_MODE: offline}\nworkers: {min: 2, max: 4, gpus: 1}\npriority: 3\n")
    assert isinstance(spec, ScriptSpec)
    assert spec.command == ("python", "train.py", "--lr", "0.1")
    assert (spec.workers.min, spec.workers.max, spec.workers.gpus) == (2, 4, 1)
    assert (spec.env, spec.queue, spec.priority, spec.grace_seconds) == (
        {"WANDB_MODE": "offline"},
        "default",
        3,
        30.0,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("recipe: recipe:Net", "job.yaml:2: command: a recipe is given too -> give exactly one"),
        ("batch: {size: 8}", "3: batch: means nothing to a script job -> leave it out, or give a recipe"),
        ("stop: {steps: 8}", "3: stop: means nothing to a script job"),
        ("checkpoint: {uri: x}", "3: checkpoint: means nothing to a script job"),
        ("workers: {standby: false}", "3: workers.standby: means nothing to a script job"),
        ("workers: {gpus: 0.5}", "3: workers.gpus: should be a whole number, not 0.5"),
        ("workers: {min: 3, max: 2}", "3: workers.min: min is 3, but max is 2"),
        ("grase: 5s", "3: grase: unknown field -> did you mean grace?"),
        ("grace: soon", "3: grace: 'soon' is not a time"),
        ("grace: 2h", "3: grace: 2h is too long"),
        ("env: {RANK: '1'}", "3: env.RANK: RANK is told to each process by Lockstep, as by torchrun"),
        ("env: {LR: 0.1}", '3: env.LR: should be text, not 0.1 -> write it in quotes: "0.1"'),
        ("env: {a b: x}", "3: env: 'a b' cannot be an environment variable"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(problems, change, message):
    found = problems(SCRIPT + change + "\n")
    assert [problem for problem in found if message in problem], found
    assert len(found) == (3 if change.startswith("recipe") else 1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python train.py", "job.yaml:2: command: should be a list, not 'python train.py'"),
        ("[python, 3]", 'job.yaml:2: command.1: should be text, not 3 -> write it in quotes: "3"'),
        ("[]", "job.yaml:2: command: nothing to run -> write a list"),
        ("['']", "job.yaml:2: command: nothing to run"),
    ],
)
def test_a_command_is_a_list_of_texts(problems, command, message):
    (problem,) = problems(f"name: tune\ncommand: {command}\n")
    assert message in problem


def test_a_misspelt_command_is_recognised(problems):
    misspelt, missing = problems("name: tune\ncomand: [python, x.py]\n")
    assert misspelt == "job.yaml:2: comand: unknown field -> did you mean command?"
    assert missing.endswith("job.yaml: command: missing -> add it")


def test_neither_a_recipe_nor_a_command(problems):
    (problem,) = problems("name: tune\nbatch: {size: 8}\nstop: {steps: 1}\n")
    assert problem.endswith("recipe: missing -> add it; or, for a script job, command: [python, train.py]")


def test_what_is_only_for_script_jobs(problems):
    (problem,) = problems(RECIPE + "grace: 5s\n")
    assert problem.endswith(
        "grace: is only for script jobs -> leave it out, or give a command instead of a recipe"
    )


def test_an_override_turns_one_kind_into_the_other(job):
    assert isinstance(job(RECIPE, "recipe=a:B", "command=null"), JobSpec)
    assert isinstance(job(SCRIPT, "recipe=null"), ScriptSpec)


def test_what_needs_steps_refuses_a_script_job(tmp_path):
    (tmp_path / "job.yaml").write_text(SCRIPT)
    with pytest.raises(InputError, match="nothing is known of its steps"):
        load_recipe_job(tmp_path / "job.yaml")


@pytest.mark.parametrize("text", [SCRIPT + "env: {A: b}\n", RECIPE + "freeze: [a.*]\n"])
def test_a_job_sent_as_json_is_the_same_job(job, text):
    spec = job(text)
    assert check_job(spec.model_dump(mode="json")) == spec


def test_a_job_sent_as_json_that_is_wrong_is_refused():
    with pytest.raises(SpecError, match="zebra: unknown field"):
        check_job({"name": "a", "command": ["x"], "zebra": 1})


def test_every_field_is_described():
    schema = ScriptSpec.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    fields = [(name, text) for section in sections for name, text in section["properties"].items()]
    assert [name for name, text in fields if not text.get("description")] == []
