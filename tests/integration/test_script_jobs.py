"""Script jobs as real processes, here and on real Ray: they start, fail, end and begin again as a whole."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.lockstep import Lockstep, Running, pids_of, until
from tests.support.script_jobs import ScriptFolder, script_folder, told, written

FOREVER = "print('up')\nwhile True: time.sleep(60)\n"


@pytest.fixture
def here(tmp_path) -> Lockstep:
    return Lockstep(folder=tmp_path)


@pytest.fixture(params=["here", pytest.param("ray", marks=pytest.mark.ray)])
def anywhere(request) -> Lockstep:
    """On this machine, and on a cluster."""
    return request.getfixturevalue("here" if request.param == "here" else "lockstep")


@pytest.fixture
def job(tmp_path) -> ScriptFolder:
    return script_folder(tmp_path)


def lines(text: str, count: int, attempt: int | None = None) -> Callable[[list[dict[str, Any]]], bool]:
    """A log in which so many lines begin so."""
    return lambda log: len(written(log, text, attempt)) >= count


def assert_gone(pids: list[int]) -> None:
    """No process of these is left."""
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    assert alive == []


def test_every_rank_runs_once_and_the_job_is_done(anywhere: Lockstep, job: ScriptFolder) -> None:
    result = anywhere.run(job.file, "--workers", 3)
    assert result.code == 0, result.err
    assert set(told(result.log)) == {"rank-0", "rank-1", "rank-2"}
    each = list(told(result.log).values())
    assert {facts["WORLD_SIZE"] for facts in each} == {"3"}
    assert len({facts["MASTER_PORT"] for facts in each}) == 1
    assert {facts["RAY_AUTH_TOKEN"] for facts in each} == {None}
    assert sorted(facts["LOCAL_RANK"] for facts in each) == ["0", "1", "2"]
    assert len(written(result.log, "warned")) == 3
    status = result.json
    assert (status["state"], status["numerics"], status["generations"]) == ("done", "none", 1)
    assert [(w["id"], w["state"], w["exit_code"]) for w in status["workers"]] == [
        (f"rank-{rank}", "finished", 0) for rank in range(3)
    ]
    seconds = {name: spent for name, spent in status["goodput"].items() if name != "elapsed"}
    assert sum(seconds.values()) == pytest.approx(status["goodput"]["elapsed"])
    assert any("nothing is promised" in entry["reason"] for entry in result.events("note"))
    assert "[rank-2] told" in result.err


def test_on_this_machine_it_runs_in_its_own_folder_and_its_output_is_kept(here: Lockstep, job: ScriptFolder):
    result = here.run(job.file, "--workers", 2)
    assert {facts["folder"] for facts in told(result.log).values()} == {str(job.folder)}
    (note,) = [e["reason"] for e in result.events("note") if "output is kept in" in e["reason"]]
    logs = Path(note.split("kept in ")[1]) / "attempt-0"
    assert sorted(path.name for path in logs.iterdir()) == [
        "rank-0.err",
        "rank-0.out",
        "rank-1.err",
        "rank-1.out",
    ]
    assert (logs / "rank-1.err").read_text() == "warned\n"


def test_a_rank_that_is_killed_takes_the_group_with_it_and_all_begin_again(
    anywhere: Lockstep, job: ScriptFolder
) -> None:
    job.does(f"if attempt == 0:\n    {FOREVER.splitlines()[0]}\n    time.sleep(600)\nprint('again')\n")
    with anywhere.running(job.file, "--workers", 3) as running:
        pids = pids_of(running.wait_for(lines("up", 3), "three ranks"))
        os.kill(pids["rank-1"], signal.SIGKILL)
        result = running.result()
    assert result.code == 0, result.err
    assert len(written(result.log, "again", attempt=1)) == 3
    assert sorted(path.name for path in job.shared.iterdir()) == ["saved-0-0", "saved-0-2"], "SIGTERM first"
    (retry,) = [e for e in result.events("note") if e["cause"] == "crash"]
    assert "rank 1 was ended by SIGKILL" in retry["reason"]
    assert result.json["generations"] == 2
    assert_gone(list(pids.values()))


def test_the_same_error_twice_ends_the_job_with_its_traceback(anywhere: Lockstep, job: ScriptFolder) -> None:
    job.does("if rank == 1: raise ValueError(f'no {os.getpid()}')\ntime.sleep(600)\n")
    result = anywhere.run(job.file, "--workers", 2)
    assert result.code == 1
    failure = result.json["failure"]
    assert (failure["fault"], failure["worker"]) == ("user", "rank-1")
    assert "twice in a row" in failure["message"]
    assert failure["trace"].startswith("Traceback (most recent call last):")
    assert "ValueError: no" in failure["trace"]
    report = result.err[result.err.rindex("✘ script failed") :]
    assert report.index("Traceback") < report.index("rank-1 failed (user)")
    assert result.json["generations"] == 2


def test_a_program_that_does_not_exist_is_wrong_input(anywhere: Lockstep, tmp_path) -> None:
    job = script_folder(tmp_path / "x", command=["pyhton", "train.py"])
    result = anywhere.run(job.file)
    assert result.code == 2
    assert "'pyhton' cannot be started: No such file or directory" in result.err


def test_who_is_stopped_by_its_user_gets_the_time_to_save(anywhere: Lockstep, job: ScriptFolder) -> None:
    job.does(FOREVER)
    with anywhere.running(job.file, "--workers", 2) as running:
        pids = pids_of(running.wait_for(lines("up", 2), "two ranks"))
        running.process.send_signal(signal.SIGINT)
        result = running.result()
    assert (result.code, result.json["state"]) == (130, "cancelled")
    assert sorted(path.name for path in job.shared.iterdir()) == ["saved-0-0", "saved-0-1"]
    assert_gone(list(pids.values()))


def test_who_does_not_end_in_its_grace_time_is_killed(anywhere: Lockstep, tmp_path) -> None:
    job = script_folder(tmp_path / "x", grace="1s")
    job.does("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER)
    with anywhere.running(job.file, "--workers", 2) as running:
        pids = pids_of(running.wait_for(lines("up", 2), "two ranks"))
        running.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        result = running.result()
    assert time.monotonic() - began >= 1
    assert result.code == 130
    assert {worker["exit_code"] for worker in result.json["workers"]} == {-signal.SIGKILL}
    assert_gone(list(pids.values()))


def test_when_lockstep_itself_is_killed_nothing_is_left(here: Lockstep, job: ScriptFolder) -> None:
    job.does(FOREVER)
    with here.running(job.file, "--workers", 2) as running:
        pids = pids_of(running.wait_for(lines("up", 2), "two ranks"))
        running.process.kill()
        running.process.wait()
    assert_gone(list(pids.values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", 1), "1 workers are not between the job's 2 and 4"),
        (("--fresh",), "a script job's checkpoints are its program's own"),
        (("--set", "workers.gpus=3"), "2 workers with 1 CPU and 3 GPU each need"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(here, job, options, message) -> None:
    result = here.with_environment({"CUDA_VISIBLE_DEVICES": ""}).run(job.file, *options)
    assert result.code == 2
    assert message in result.err


# --- what only a cluster has ---


def _command(running: Running, cluster: Lockstep, *arguments: object) -> str:
    done = running.command(*arguments, *cluster.cluster)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.ray
def test_on_a_cluster_it_runs_in_a_copy_of_its_folder_without_secrets(lockstep, job) -> None:
    (job.folder / ".gitignore").write_text("data/\n")
    (job.folder / "data").mkdir()
    (job.folder / "data/big").touch()
    result = lockstep.run(job.file, "--workers", 2)
    assert result.code == 0, result.err
    for facts in told(result.log).values():
        assert facts["files"] == [".gitignore", "do.py", "job.yaml", "train.py"]
        assert not Path(facts["folder"]).exists(), "it is removed when the job is over"
    assert any(e["reason"].startswith("left out .env: it looks like") for e in result.events("note"))


@pytest.mark.ray
def test_a_pause_ends_the_ranks_and_resume_starts_them_again(lockstep, job) -> None:
    job.does("if attempt == 0:\n    print('up')\n    time.sleep(600)\n")
    with lockstep.running(job.file, "--workers", 2) as running:
        pids = pids_of(running.wait_for(lines("up", 2), "two ranks"))
        _command(running, lockstep, "pause", "script")
        running.wait_for(lines("saving", 2), "them to save")
        assert_gone(list(pids.values()))
        until(
            lambda: '"paused"' in _command(running, lockstep, "status", "script", "--json") or None,
            "it",
            running,
        )
        _command(running, lockstep, "resume", "script")
        result = running.result()
    assert result.code == 0, result.err
    assert result.json["generations"] == 2
    assert [e["cause"] for e in result.events("hold")] == ["pause"]


@pytest.mark.ray
def test_a_resize_starts_the_group_with_the_new_size(lockstep, job) -> None:
    job.does("if attempt == 0:\n    print('up')\n    time.sleep(600)\n")
    with lockstep.running(job.file, "--workers", 2) as running:
        running.wait_for(lines("up", 2), "two ranks")
        refused = running.command("resize", "script", 9, *lockstep.cluster)
        assert refused.returncode == 2
        assert "not between its 2 and 4" in refused.stderr
        _command(running, lockstep, "resize", "script", 3)
        result = running.result()
    assert result.code == 0, result.err
    assert {facts["WORLD_SIZE"] for facts in told(result.log).values()} == {"3"}
    assert len(written(result.log, "told", attempt=1)) == 3


@pytest.mark.ray
def test_a_save_is_refused_and_a_cancel_is_not(lockstep, job) -> None:
    job.does(FOREVER)
    with lockstep.running(job.file, "--workers", 2) as running:
        running.wait_for(lines("up", 2), "two ranks")
        refused = running.command("save", "script", *lockstep.cluster)
        assert "saves its state by itself" in refused.stderr
        assert "Running(since=" in _command(running, lockstep, "events", "script", "--story")
        _command(running, lockstep, "cancel", "script")
        result = running.result()
    assert result.json["state"] == "cancelled"
    assert len(written(result.log, "saving")) == 2


@pytest.mark.ray
def test_a_supervisor_that_dies_finds_its_ranks_again(lockstep, job) -> None:
    job.does("print('up')\nwhile not (shared / 'go').exists(): time.sleep(0.05)\nprint('went')\n")
    with lockstep.running(job.file, "--workers", 3) as running:
        log = running.wait_for(lines("up", 3), "three ranks")
        pids = pids_of(log)
        _only_supervisor().kill()
        found = "found 3 of its ranks"
        running.wait_for(lambda log: any(found in (e.get("reason") or "") for e in log), "a new supervisor")
        (job.shared / "go").touch()
        result = running.result()
    assert result.code == 0, result.err
    assert {worker["pid"] for worker in result.json["workers"]} == set(pids.values())
    assert result.json["generations"] == 1
    assert len(written(result.log, "went")) == 3


def _only_supervisor() -> psutil.Process:
    """That of the job; those of jobs that have just ended are about to go."""
    deadline = time.monotonic() + 60
    while True:
        found = [p for p in psutil.process_iter() if "ScriptJobActor" in " ".join(_cmdline(p))]
        if len(found) == 1:
            return found[0]
        assert found, "there is none"
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
