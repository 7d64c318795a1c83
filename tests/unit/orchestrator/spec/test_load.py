from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec import JobSpec, SpecError, load_job
from workers.errors import InputError
from workers.protocol import Numerics

SMALL = """\
name: small
recipe: recipe:Net
batch: {size: 16}
stop: {steps: 3}
"""

FULL = """\
name: pydoc-text
recipe: recipe:CharModel
params: {width: 256, lr: 1e-3}
seed: 7
data: {train: {uri: ./data/train, shuffle: windowed, window: 4}, eval: {uri: s3://bucket/eval/}}
batch: {size: 64, virtual_ranks: 4, max_grad_norm: 1}
stop: {epochs: 2}
workers: {min: 1, max: 4, cpus: 2.5, gpus: 0.5}
checkpoint:
  uri: file:///runs
  every: 50
  keep: 5
  keep_every: 1000
  keep_best: {metric: accuracy, mode: max, count: 2}
  if_busy: wait
  patience: 1h
evaluate: {every: 100}
numerics: relaxed
queue: night
priority: -2
"""


def test_a_small_job_gets_the_documented_defaults(job):
    spec = job(SMALL)
    assert (spec.seed, spec.params, spec.queue, spec.priority) == (0, {}, "default", 0)
    assert (spec.batch.virtual_ranks, spec.batch.max_grad_norm) == (8, None)
    assert (spec.workers.min, spec.workers.max, spec.workers.threads, spec.workers.device) == (1, 1, 1, "cpu")
    assert (spec.checkpoint.uri, spec.checkpoint.keep, spec.evaluate) == (None, 3, None)
    assert spec.numerics is Numerics.ELASTIC


def test_every_field_of_a_full_job_arrives(job, tmp_path):
    spec = job(FULL)
    assert spec.params == {"width": 256, "lr": 0.001}
    assert spec.data.train.uri == (tmp_path / "data/train").as_uri()
    assert (spec.data.train.shuffle, spec.data.train.window) == ("windowed", 4)
    assert spec.data.eval.uri == "s3://bucket/eval"
    assert (spec.stop.epochs, spec.stop.steps) == (2, None)
    assert (spec.workers.threads, spec.workers.device) == (2, "cuda")
    assert spec.checkpoint.model_dump() == {
        "uri": "file:///runs",
        "every": 50,
        "keep": 5,
        "if_busy": "wait",
        "patience": "1h",
        "keep_every": 1000,
        "keep_best": {"metric": "accuracy", "mode": "max", "count": 2},
    }
    assert (spec.evaluate.every, spec.numerics, spec.queue, spec.priority) == (100, "relaxed", "night", -2)


MIXED = (
    "data: {train: {mix: [{uri: a, weight: 3}, {uri: s3://b/c, shuffle: windowed, window: 2}], epoch: first}}"
)


def test_a_mixture_is_a_list_of_sources_with_weights(job, tmp_path):
    train = job(SMALL + MIXED).data.train
    assert [(part.uri, part.weight, part.window) for part in train.mix] == [
        ((tmp_path / "a").as_uri(), 3, None),
        ("s3://b/c", 1, 2),
    ]
    assert (train.uri, train.epoch) == (None, "first")


@pytest.mark.parametrize("text", [FULL, SMALL + MIXED])
def test_a_job_survives_the_way_through_json(job, text):
    spec = job(text)
    assert JobSpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_a_job_cannot_be_changed(job):
    with pytest.raises(ValueError, match="frozen"):
        job(SMALL).seed = 3


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("data", "{folder}/data"),
        ("./a b", "{folder}/a%20b"),
        ("../x", "{parent}/x"),
        ("/abs/x/", "file:///abs/x"),
        ("file:///abs/x/", "file:///abs/x"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_paths_start_from_the_job_files_folder(job, tmp_path, uri, resolved):
    spec = job(SMALL, f"data.train.uri='{uri}'", f"checkpoint.uri='{uri}'")
    assert spec.data.train.uri == resolved.format(folder=tmp_path.as_uri(), parent=tmp_path.parent.as_uri())
    assert spec.checkpoint.uri == spec.data.train.uri


def test_paths_mean_the_same_from_every_working_directory(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/job.yaml").write_text(SMALL + "data: {train: {uri: d}}")
    monkeypatch.chdir(tmp_path)
    spec = load_job(Path("inner/job.yaml"), [])
    assert spec.data.train.uri == (tmp_path / "inner/d").as_uri()


@pytest.mark.parametrize("uri", ["''", "ftp://bucket/x", "s3://", "file://", "file://host/x", "s3:///x"])
def test_an_address_that_we_cannot_open_is_refused(problems, uri):
    (problem,) = problems(SMALL + f"data: {{train: {{uri: {uri}}}}}")
    assert problem.startswith("job.yaml:5: data.train.uri:")
    assert "is not an address of a folder -> write s3://bucket/prefix" in problem


def test_overrides_are_yaml_and_the_last_one_wins(job):
    spec = job(SMALL, "batch.size=32", "batch.size=64", "params.lr=1e-2", "params.deep={a: [1, x]}", "seed=4")
    assert (spec.batch.size, spec.seed) == (64, 4)
    assert spec.params == {"lr": 0.01, "deep": {"a": [1, "x"]}}


def test_an_override_can_add_and_take_away(job):
    spec = job(
        FULL,
        "evaluate=null",
        "checkpoint.keep_best=null",
        "stop.epochs=null",
        "stop.steps=9",
        "workers={max: 2}",
    )
    assert spec.evaluate is None
    assert (spec.stop.steps, spec.workers.min, spec.workers.max) == (9, 1, 2)


def test_an_equals_sign_in_a_value_is_part_of_it(job):
    assert job(SMALL, "params.text=a=b").params == {"text": "a=b"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.siez=3", "--set batch.siez=3: batch.siez: unknown field -> did you mean size?"),
        ("batch.size=x", "--set batch.size=x: batch.size: should be a whole number, not 'x' -> None"),
        ("batch={sise: 3, size: 8}", "batch.sise: unknown field -> did you mean size?"),
        ("batch", "--set batch: : not a field and a value -> write --set section.field=value"),
        ("=3", "--set =3: : not a field and a value"),
        ("seed.x=3", "--set seed.x=3: seed.x: seed is a value, not a section"),
        ("seed=[1", "--set seed=[1: seed: not valid YAML"),
    ],
)
def test_what_is_wrong_with_an_override_names_it(problems, override, message):
    found = problems(SMALL + "seed: 3\n", override)
    assert any(message in problem for problem in found), found


def test_an_override_takes_the_files_place_in_messages(problems):
    assert problems(FULL, "workers={min: x}")[0].startswith("--set workers={min: x}: workers.min:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("parms: {}", "5: parms: unknown field -> did you mean params?"),
        ("steps: 5", "5: steps: unknown field -> did you mean stop.steps?"),
        ("zebra: 5", "5: zebra: unknown field -> valid fields here: name, recipe,"),
        ("command: [python, x.py]", "5: command: a recipe is given too -> give exactly one"),
        ("seed: true", "5: seed: should be a whole number, not true"),
        ("seed: 1.5", "5: seed: should be a whole number, not 1.5"),
        ("seed: '3'", "5: seed: should be a whole number, not '3'"),
        ("seed: -1", "5: seed: should be at least 0, not -1"),
        ("seed:", "5: seed: should be a whole number, not empty"),
        ("seed: {a: 1}", "5: seed: should be a whole number, not a section"),
        ("workers: 3", "5: workers: should be a section with fields, not 3"),
        ("workers: {cpus: 0}", "5: workers.cpus: should be above 0.0, not 0"),
        ("workers: {gpus: 1.5}", "5: workers.gpus: 1.5 GPUs cannot be given to one worker"),
        ("workers: {min: 3, max: 2}", "5: workers.min: min is 3, but max is 2"),
        ("workers: {max: 9}", "5: workers.max: 9 workers cannot share 8 virtual ranks -> use at most 8"),
        ("workers: {min: 9}", "5: workers.max: 9 workers cannot share 8 virtual ranks"),
        ("numerics: elastc", "'relaxed', not 'elastc' -> did you mean elastic?"),
        ("evaluate: {every: 3}", "5: evaluate: there is no held-out set to evaluate -> add data.eval.uri"),
        ("evaluate: {}", "5: evaluate.every: missing -> add it"),
        ("checkpoint: {every: 3}", "5: checkpoint.every: there is no checkpoint.uri to save to"),
        ("checkpoint: {uri: x, every: 5x}", "5: checkpoint.every: '5x' is not a time"),
        ("checkpoint: {uri: x, every: 0m}", "5: checkpoint.every: '0m' is not a time"),
        ("checkpoint: {uri: x, patience: soon}", "5: checkpoint.patience: 'soon' is not a time"),
        ("evaluate: {every: 5m}", "5: evaluate.every: '5m' is a time; only steps are supported"),
        ("checkpoint: {uri: x, every: 0}", "5: checkpoint.every: should be at least 1, not 0"),
        ("checkpoint: {uri: x, keep: 0}", "5: checkpoint.keep: should be at least 1, not 0"),
        ("checkpoint: {uri: x, keep_every: 5m}", "5: checkpoint.keep_every: '5m' is a time"),
        ("checkpoint: {keep_best: {metric: loss}}", "5: checkpoint.keep_best.mode: missing -> add it"),
        ("checkpoint: {keep_best: {metric: loss, mode: mn}}", "'max', not 'mn' -> did you mean min?"),
        ("checkpoint: {keep_best: {metric: loss, mode: min}}", "checkpoint.keep_best: nothing is evaluated"),
        ("queue: My Queue", "5: queue: 'My Queue' cannot name files and actors everywhere"),
        ("data: {train: {uri: x, window: 3}}", "5: data.train.window: a window has no meaning"),
        ("data: {train: {uri: x, shuffle: windowd}}", "did you mean windowed?"),
        ("data: {train: {}}", "5: data.train.uri: missing -> add it, or mix: with several data sets"),
        ("data: {train: {uri: x, version: abc}}", "5: data.train.version: 'abc' is not how a digest begins"),
        ("data: {train: {uri: x, epoch: last}}", "5: data.train.epoch: only the epochs of a mixture"),
        ("data: {train: {uri: x}, tokens: ids}", "5: data.tokens: a column of tokens has no meaning without"),
        ("data: {train: {uri: x}, seq_len: 1}", "5: data.seq_len: should be at least 2, not 1"),
        ("data: {train: {mix: []}}", "5: data.train.mix: 0 data sets are no mixture -> name 1 to 100"),
        ("data: {train: {mix: x}}", "5: data.train.mix: should be a list, not 'x'"),
        (
            "data: {train: {mix: [{uri: a}], uri: b}}",
            "5: data.train.uri: with a mix, every source has its own",
        ),
        (
            "data: {train: {mix: [{uri: a}], shuffle: global}}",
            "5: data.train.shuffle: with a mix, every source",
        ),
        (
            "data: {train: {mix: [{uri: a}], epoch: lst}}",
            "should be 'first' or 'last', not 'lst' -> did you mean",
        ),
        ("data: {train: {mix: [{uri: a}, {uri: ./a}]}}", "/a is there twice -> name it once"),
        (
            "data: {train: {mix: [{uri: a, weigth: 2}]}}",
            "5: data.train.mix.0.weigth: unknown field -> did you mean",
        ),
        ("data: {train: {mix: [{uri: a}, {weight: 2}]}}", "5: data.train.mix.1.uri: missing -> add it"),
        (
            "data: {train: {mix: [{uri: a, weight: 0}]}}",
            "5: data.train.mix.0.weight: should be above 0.0, not 0",
        ),
        (
            "data: {train: {mix: [{uri: a, window: 2}]}}",
            "5: data.train.mix.0.window: a window has no meaning",
        ),
        ("name: again", "5: name: given twice; the first is on line 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_line_and_what_would_be_right(problems, change, message):
    (problem,) = problems(f"{SMALL}{change}\n")
    assert problem.startswith("job.yaml:")
    assert message in problem


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch.size=60"], "8 virtual ranks do not divide a batch of 60 evenly -> make batch.size 56 or 64"),
        (["batch.size=3"], "8 virtual ranks do not divide a batch of 3 evenly -> make batch.size 8"),
        (["stop.epochs=1"], "stop: both steps and epochs are given"),
        (["stop.steps=null"], "stop: neither steps nor epochs is given"),
        (
            ["stop={epochs: 1}"],
            "stop.epochs: without a training set there are no epochs -> add data.train.uri",
        ),
        (["name=My Job!"], "name: 'My Job!' cannot name files and actors everywhere -> use lower-case"),
        (["name=" + "x" * 64], "at most 63: " + "x" * 63),
        (
            ["recipe=recipe.Net"],
            "recipe: 'recipe.Net' does not name a class in a module -> write module:Class",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(problems, overrides, message):
    (problem,) = problems(SMALL, *overrides)
    assert message in problem


def test_all_problems_come_at_once_in_the_order_of_the_file(problems):
    text = "name: A\nrecipe: x\nbatch: {size: 16}\nworkers: {max: 99}\nzebra: 1\nstop: {}\n"
    text += "evaluate: {every: 1}\n"
    found = problems(text, "seed=x")
    places = [problem.split(" ")[0] + " " + problem.split(" ")[1] for problem in found]
    assert places == [
        "job.yaml:1: name:",
        "job.yaml:2: recipe:",
        "job.yaml:4: workers.max:",
        "job.yaml:5: zebra:",
        "job.yaml:6: stop:",
        "job.yaml:7: evaluate:",
        "--set seed=x:",
    ]


def test_missing_fields_are_named(problems):
    assert [p.split(" ")[1] for p in problems("seed: 1\n")] == ["name:", "recipe:", "batch:", "stop:"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"- a\n", "not a list of fields"), (b"\xff\xfe", "not a text file in UTF-8")],
)
def test_a_file_that_is_no_job_is_refused(tmp_path, content, message):
    (tmp_path / "job.yaml").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_job(tmp_path / "job.yaml", [])
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such job file"):
        load_job(tmp_path / "none.yaml", [])
    with pytest.raises(InputError, match="cannot be read"):
        load_job(tmp_path, [])


def test_the_error_crosses_process_boundaries(job):
    with pytest.raises(SpecError) as caught:
        job(SMALL, "seed=x")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.problems == caught.value.problems


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 500), ranks=st.integers(1, 40), low=st.integers(1, 40), high=st.integers(1, 40))
def test_a_job_is_accepted_exactly_when_its_numbers_fit(tmp_path_factory, size, ranks, low, high):
    path = tmp_path_factory.getbasetemp() / "numbers.yaml"
    path.write_text(SMALL)
    overrides = [f"batch={{size: {size}, virtual_ranks: {ranks}}}", f"workers={{min: {low}, max: {high}}}"]
    if size % ranks == 0 and low <= high <= ranks:
        assert load_job(path, overrides).batch.size == size
    else:
        with pytest.raises(SpecError):
            load_job(path, overrides)


def test_a_job_built_in_python_keeps_the_same_rules():
    values = {"name": "x", "recipe": "a:B", "batch": {"size": 8}, "stop": {"steps": 1}, "workers": {"min": 9}}
    with pytest.raises(ValueError, match="9 workers cannot share 8 virtual ranks"):
        JobSpec.model_validate(values)


def test_the_json_schema_describes_every_field():
    schema = JobSpec.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    fields = [(name, text) for section in sections for name, text in section.get("properties", {}).items()]
    assert {"size", "virtual_ranks", "every", "cpus", "priority"} <= {name for name, _ in fields}
    assert [name for name, text in fields if not text.get("description")] == []
