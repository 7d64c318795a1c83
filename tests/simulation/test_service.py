"""Seeded lives of a server: the real loop, scheduler and database, killed between any two effects."""

from __future__ import annotations

import pytest

from tests.service.life import live

SEEDS = 20


@pytest.mark.slow
def test_random_lives_lose_nothing_and_start_nothing_twice() -> None:
    lives = [live(seed) for seed in range(SEEDS)]
    assert [life.failure for life in lives if life.failure is not None][:3] == []
    assert sum(life.kills for life in lives) > SEEDS
    ends = {end for life in lives for end in life.ends}
    assert ends == {"done", "failed", "cancelled"}
