from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec import load_job
from tests.support.example_modules import EXAMPLES, example_module

corpus = example_module("text", "corpus")
ngram = example_module("text", "ngram")
recipe = example_module("text", "recipe")
demo = example_module("text", "demo")


@pytest.fixture
def job():
    return load_job(EXAMPLES / "text/job.yaml", [])


@pytest.fixture
def model(job):
    torch.manual_seed(0)
    return recipe.ByteModel(**job.params).build_model()


def record_batch(windows: np.ndarray) -> pa.RecordBatch:
    column = pa.array([row.tobytes() for row in windows], type=pa.binary(windows.shape[1]))
    return pa.record_batch([column], names=["window"])


@settings(max_examples=100, deadline=None)
@given(text=st.binary(max_size=200), context=st.integers(1, 20))
def test_each_byte_but_the_first_is_predicted_once(text, context):
    windows = corpus.windows(text, context)
    predicted = windows[:, 1:].tobytes()
    assert text[1:].startswith(predicted)
    assert len(text) - 1 - len(predicted) < max(context, 1)
    assert all(windows[i, -1] == windows[i + 1, 0] for i in range(len(windows) - 1))


def test_every_document_is_in_one_part_and_the_parts_are_real_text():
    names = [name for name, _ in corpus.documents()]
    assert len(names) == len(set(names)) > 300
    held_out = [name for name in names if corpus.part_of(name) == "eval"]
    assert 0.02 < len(held_out) / len(names) < 0.08
    assert len(corpus.text_of("train")) > 4_000_000
    assert len(corpus.text_of("eval")) > 100_000


def test_the_packed_copy_of_the_topics_is_not_trained_on():
    assert not [name for name, _ in corpus.documents() if "pydoc_data" in name]


@settings(max_examples=6, deadline=None)
@given(st.binary(min_size=20, max_size=300), st.sampled_from(ngram.DISCOUNTS))
def test_the_3_gram_model_gives_each_context_a_distribution(text, discount):
    counts = np.frombuffer(text, dtype=np.uint8) % 3
    model = ngram.Trigram(**ngram._count(counts), discount=discount)
    everything = np.array([[a, b, c] for a in (1,) for b in (2, 3) for c in range(256)], dtype=np.uint8)
    bits = np.array([model.bits_per_byte(triple) for triple in everything])
    np.testing.assert_allclose((2.0**-bits).reshape(2, 256).sum(axis=1), 1.0)


def test_the_3_gram_model_learns_what_its_context_tells():
    pattern = np.tile(np.frombuffer(b"abcd", dtype=np.uint8), 500)
    noise = np.random.default_rng(0).integers(0, 256, 2000).astype(np.uint8)
    assert ngram.fit(pattern).bits_per_byte(pattern) < 0.05
    assert 7.5 < ngram.fit(noise).bits_per_byte(noise[::-1]) < 9


def test_a_record_batch_decodes_to_its_windows_also_when_it_is_a_slice(job):
    windows = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
    decode = recipe.ByteModel(**job.params).decode_batch
    records = record_batch(windows)
    assert torch.equal(decode(records), torch.from_numpy(windows.astype(np.int64)))
    assert torch.equal(decode(records.slice(2, 3)), torch.from_numpy(windows[2:5].astype(np.int64)))


def test_no_score_depends_on_the_byte_it_predicts_or_on_later_ones(model):
    text = torch.randint(0, 256, (1, 64))
    changed = text.clone()
    changed[0, 40:] = (changed[0, 40:] + 1) % 256
    with torch.no_grad():
        before, after = model(text), model(changed)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.equal(before[:, 40], after[:, 40])


def test_the_network_looks_as_far_back_as_it_says(model, job):
    reach = job.params["lookback"] + sum(job.params["dilations"])
    text = torch.randint(0, 256, (1, 100))
    scores = []
    for back in (reach, reach - 1):
        changed = text.clone()
        changed[0, 99 - back] = (changed[0, 99 - back] + 1) % 256
        with torch.no_grad():
            scores.append(torch.equal(model(changed)[0, 99], model(text)[0, 99]))
    assert scores == [True, False]


def test_evaluation_sums_what_the_loss_averages(model, job):
    byte_model = recipe.ByteModel(**job.params)
    batch = torch.randint(0, 256, (3, 20))
    with torch.no_grad():
        loss, values = byte_model.loss(model, batch)
        sums = byte_model.evaluate(model, batch)
    assert sums["count"] == 3 * 19
    mean = float(sums["bits_per_byte"] / sums["count"])
    assert mean == pytest.approx(float(values["bits_per_byte"]), rel=1e-5)
    assert mean == pytest.approx(float(loss) / math.log(2), rel=1e-5)


def test_the_schedule_is_as_long_as_the_job_and_its_last_step_still_counts(job, model):
    byte_model = recipe.ByteModel(**job.params)
    assert job.params["steps"] == job.stop.steps
    optimizer = byte_model.build_optimizer(model)
    schedule = byte_model.build_schedule(optimizer)
    rates = []
    for _ in range(job.stop.steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert max(rates) <= job.params["learning_rate"]
    assert min(rates) > 0
    assert rates[-1] == min(rates)


def test_the_verdict_says_who_won():
    assert "2.050" in demo.verdict(2.05, 2.7)
    assert "network wins" in demo.verdict(2.05, 2.7)
    assert "network loses" in demo.verdict(2.71, 2.7)
