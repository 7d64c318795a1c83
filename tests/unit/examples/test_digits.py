from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from orchestrator.spec import load_job
from tests.support.example_modules import EXAMPLES, example_module

prepare = example_module("digits", "prepare")
recipe = example_module("digits", "recipe")


@pytest.fixture(scope="module")
def objects():
    return dict(prepare.objects())


@pytest.fixture(scope="module")
def job():
    return load_job(EXAMPLES / "digits/job.yaml", [])


def test_every_image_is_in_one_half_in_order(objects):
    train = [int(name.split("/")[1][:4]) for name in objects if name.startswith("train/")]
    test = [int(name.split("/")[1][:4]) for name in objects if name.startswith("test/")]
    assert train == list(range(898))
    assert test == list(range(898, 1797))


def test_an_object_decodes_to_the_image_and_digit_that_it_was_made_of(objects, job):
    images, digits = load_digits(return_X_y=True)
    digits_recipe = recipe.Digits(**job.params)
    for name, png in list(objects.items())[::97]:
        key = name.split("/")[1]
        image, digit = digits_recipe.decode({"key": key, "data": png}, np.random.default_rng(0))
        number = int(key[:4])
        assert digit == digits[number]
        np.testing.assert_allclose(image[0].numpy() * 16, images[number].reshape(8, 8), atol=1e-5)


def test_preparing_twice_writes_the_same_bytes(tmp_path, objects):
    prepare.main(str(tmp_path / "digits"))
    written = {
        path.relative_to(tmp_path / "digits").as_posix(): path
        for path in (tmp_path / "digits").rglob("*.png")
    }
    assert set(written) == set(objects)
    assert all(written[name].read_bytes() == png for name, png in objects.items())


def test_distortion_moves_images_a_little_and_keeps_their_shape():
    torch.manual_seed(0)
    images = torch.rand(5, 1, 8, 8)
    moved = recipe.distort(images)
    assert moved.shape == images.shape
    assert not torch.equal(moved, images)
    assert float((moved.mean() - images.mean()).abs()) < 0.2
    torch.manual_seed(0)
    assert torch.equal(recipe.distort(torch.rand(5, 1, 8, 8)), moved)


def test_the_loss_works_on_a_single_image_as_the_last_step_of_an_epoch_has_it(job):
    digits_recipe = recipe.Digits(**job.params)
    loss, values = digits_recipe.loss(
        digits_recipe.build_model(), (torch.rand(1, 1, 8, 8), torch.tensor([3]))
    )
    assert torch.isfinite(loss)
    assert set(values) == {"accuracy"}


def test_evaluation_counts_images(job):
    digits_recipe = recipe.Digits(**job.params)
    model = digits_recipe.build_model().eval()
    sums = digits_recipe.evaluate(model, (torch.rand(6, 1, 8, 8), torch.arange(6)))
    assert sums["count"] == 6
    assert 0 <= sums["accuracy"] <= 6


def test_the_schedule_is_as_long_as_the_job(job):
    assert job.params["steps"] == job.stop.steps
