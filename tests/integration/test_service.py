"""A server on a real cluster: jobs give way to a more urgent one, and the server is killed meanwhile.

The whole scenario is `python -m tests.service --real --jobs 11 --kills 20` (about four minutes on two cores).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.real import play

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_jobs_give_way_and_come_to_the_same_though_the_server_is_killed(tmp_path: Path) -> None:
    digest, result = play(tmp_path, jobs=6, kills=3, steps=80)
    assert len(digest) == 64
    assert result.kills == 3
