"""Job files that are written and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.spec import JobSpec, SpecError, load_job


@pytest.fixture
def job(tmp_path):
    """Writes a job file and loads it."""

    def load(text: str, *overrides: str) -> JobSpec:
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return load_job(path, overrides)

    return load


@pytest.fixture
def problems(job):
    """Loads a job that is wrong; gives one line for each problem, without the file's folder."""

    def load(text: str, *overrides: str) -> list[str]:
        with pytest.raises(SpecError) as caught:
            job(text, *overrides)
        return [
            f"{Path(p.where).name if ':' in p.where else p.where}: {p.field}: {p.what} -> {p.fix}"
            for p in caught.value.problems
        ]

    return load
