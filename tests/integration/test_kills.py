"""A few of the cases that `python -m tests.kills` lives by the hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kills.case import draw
from tests.kills.run import Calm, survive, undisturbed
from tests.support.s3 import S3Server

pytestmark = pytest.mark.slow
LOCAL, S3 = range(1000, 1020), range(2000, 2008)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    return undisturbed(tmp_path_factory.mktemp("calm").as_uri())


@pytest.mark.parametrize("seed", LOCAL)
def test_whoever_dies_in_a_save_nothing_that_was_committed_is_lost(seed: int, tmp_path: Path, calm: Calm):
    found = survive(draw(seed), (tmp_path / "runs").as_uri(), tmp_path, calm)
    assert not found.problems, "\n".join([str(draw(seed)), *found.story, *found.problems])


@pytest.mark.s3
@pytest.mark.parametrize("seed", S3)
def test_nor_in_a_bucket(seed: int, tmp_path: Path, calm: Calm, s3: S3Server, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    found = survive(draw(seed), f"s3://{s3.make_bucket()}/runs", tmp_path, calm)
    assert not found.problems, "\n".join([str(draw(seed)), *found.story, *found.problems])
