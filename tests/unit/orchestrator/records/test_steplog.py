from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.records.steplog import EventEntry, Kind, StepEntry, StepLog
from workers.errors import AccessError


def step(number: int, loss: float = 0.1) -> StepEntry:
    return StepEntry(step=number, epoch=0, samples=number * 64, loss=loss, values={"lr": 0.3})


def test_lines_of_steps_and_events_have_their_public_keys(tmp_path: Path) -> None:
    with StepLog(tmp_path / "new" / "log.jsonl") as log:
        log.write(step(1))
        log.write(EventEntry(time=5.0, kind=Kind.WORKER_LOST, step=1, worker="w0", cause="died", reason="é"))
        log.write(EventEntry(time=6.0, kind=Kind.EVALUATED, values={"accuracy": 0.5}))
    lines = [json.loads(line) for line in (tmp_path / "new" / "log.jsonl").read_text("utf-8").splitlines()]
    assert lines[0] == {
        "kind": "step",
        "step": 1,
        "epoch": 0,
        "samples": 64,
        "loss": 0.1,
        "values": {"lr": 0.3},
    }
    assert lines[1] == {
        "time": 5.0,
        "kind": "worker_lost",
        "step": 1,
        "worker": "w0",
        "cause": "died",
        "reason": "é",
    }
    assert lines[2]["values"] == {"accuracy": 0.5}


@given(st.floats(allow_nan=True))
def test_every_float_comes_back_bit_for_bit(loss: float) -> None:
    text = json.dumps(step(1, loss).to_json(), allow_nan=False)
    assert repr(float(json.loads(text)["loss"])) == repr(loss)


def test_a_log_is_appended_to_and_can_be_followed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for number in (1, 2):
        log = StepLog(path)
        log.write(step(number))
        assert len(path.read_text().splitlines()) == number  # before it is closed
        log.close()


def test_a_file_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="the log cannot be written"):
        StepLog(tmp_path)  # a folder


def test_a_full_disk_is_the_users_error() -> None:
    log = StepLog(Path("/dev/full"))
    with pytest.raises(AccessError, match="No space left"):
        log.write(step(1))
