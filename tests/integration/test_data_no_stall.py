"""Training whose steps take 50 ms does not wait for data from S3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.support.s3 import S3Server
from tests.support.supervised import load
from workers.data.index import index
from workers.data.parallel import at_once
from workers.data.shards import write_shards
from workers.processes import launch
from workers.protocol import Activity, StepDone
from workers.storage import Store

pytestmark = [pytest.mark.s3, pytest.mark.slow]

BATCH, VRANKS, STEPS, STEP_SECONDS = 16, 4, 200, 0.05
ROWS, ROW_BYTES = BATCH * STEPS, 32 << 10
SHARE_MAX = 0.01

RECIPE = f"""
import time
import torch
from workers import Recipe

class Slow(Recipe):
    def build_model(self):
        return torch.nn.Linear(8, 1)

    def build_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.01)

    def decode(self, sample, rng):
        return torch.frombuffer(bytearray(sample["data"]), dtype=torch.uint8)[:8].float()

    def loss(self, model, batch):
        time.sleep({STEP_SECONDS / VRANKS})
        return model(batch).mean()
"""
JOB = """
name: slow
recipe: recipe:Slow
data: {{train: {{uri: "{uri}"}}}}
batch: {{size: {batch}, virtual_ranks: {vranks}}}
stop: {{epochs: 1}}
workers: {{min: 1, max: 1, cpus: 1}}
"""


def write(uri: str, kind: str) -> None:
    rows = np.random.default_rng(1).integers(0, 256, (ROWS, ROW_BYTES), dtype=np.uint8)
    if kind == "shards":
        schema = pa.schema([("data", pa.large_binary())])
        write_shards(({"data": row.tobytes()} for row in rows), schema, uri)
        return
    store = Store(uri)
    for _ in at_once(lambda n: store.put(f"{n:05d}.bin", rows[n].tobytes()), range(ROWS)):
        pass
    index(uri)


@pytest.mark.parametrize("kind", ["shards", "objects"])
def test_hardly_any_time_is_spent_waiting_for_data(
    bucket: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("LOCKSTEP_CACHE", "off")
    write(f"{bucket}/{kind}", kind)
    (tmp_path / "recipe.py").write_text(RECIPE)
    text = JOB.format(uri=f"{bucket}/{kind}", batch=BATCH, vranks=VRANKS)
    (tmp_path / "job.yaml").write_text(text)
    job = load(tmp_path, None)
    done = [event for event in launch(job, workers=1) if isinstance(event, StepDone)]
    assert [event.step for event in done] == [*range(1, STEPS + 1)]
    first, last = done[0].clock, done[-1].clock
    elapsed = sum(last.values()) - sum(first.values())
    waited = last.get(Activity.DATA_WAIT, 0.0) - first.get(Activity.DATA_WAIT, 0.0)
    print(f"{kind}: waited {waited:.4f} of {elapsed:.2f} s, {100 * waited / elapsed:.2f} %")
    assert elapsed > 0.9 * STEP_SECONDS * (STEPS - 1)
    assert waited < SHARE_MAX * elapsed
