"""The commands that ask a server, against a real one: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from orchestrator.cli.main import entry
from orchestrator.cli.options import complete_job
from orchestrator.records.facts import JobState
from orchestrator.sessions import Session, announced
from orchestrator.store.database import Database
from tests.support.service import make_service, serving


@pytest.fixture
def service(tmp_path):
    made = make_service(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def server(service, monkeypatch, tmp_path):
    """A server that the environment names, with sam's token."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with serving(service.app) as url:
        monkeypatch.setenv("LOCKSTEP_SERVER", url)
        monkeypatch.setenv("LOCKSTEP_TOKEN", service.secrets["sam"])
        yield service


@pytest.fixture
def lockstep(monkeypatch, capsys):
    """Runs a command: its exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lockstep", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        code = 0
        try:
            entry()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def job_file(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "recipe.py").write_text("class Net: ...\n")
    path = folder / "job.yaml"
    path.write_text("name: toy\nrecipe: recipe:Net\nbatch: {size: 8, virtual_ranks: 4}\nstop: {steps: 3}\n")
    return str(path)


def test_a_job_is_handed_in_and_looked_at(server, lockstep, job_file):
    code, out, _ = lockstep("submit", job_file, "--json")
    job = json.loads(out)
    assert (code, job["state"]) == (0, "queued")
    code, out, _ = lockstep("submit", job_file, "--set", "name=other")
    assert (code, out.startswith("other is job ")) == (0, True)
    code, out, _ = lockstep("jobs", "--json")
    assert [json.loads(line)["job"] for line in out.splitlines()] == ["other", "toy"]
    code, out, _ = lockstep("jobs")
    assert out.splitlines()[0].split()[:4] == ["job", "id", "queue", "user"]
    assert out.splitlines()[2].split()[:4] == ["toy", job["id"], "default", "sam"]
    code, out, _ = lockstep("jobs", "--state", "done")
    assert len(out.splitlines()) == 1
    assert json.loads(lockstep("status", "toy", "--json")[1]) == job
    assert "toy  queued" in lockstep("status", job["id"])[1]


def test_the_same_key_hands_in_once(server, lockstep, job_file):
    ids = [json.loads(lockstep("submit", job_file, "--key", "k", "--json")[1])["id"] for _ in range(2)]
    assert ids[0] == ids[1]


def test_why_a_job_waits_is_said(server, lockstep):
    id = server.submit()
    why = {
        "code": "no_room",
        "sentence": "2 workers need room",
        "facts": {},
        "remedy": "more room",
        "eta": 5.0,
    }
    with server.database.transaction() as tx:
        tx.jobs.explain({id: why})
    code, out, _ = lockstep("explain", "toy")
    assert code == 0
    assert out.splitlines()[:2] == [
        "toy waits: 2 workers need room (no_room)",
        "what would have to change: more room",
    ]
    assert json.loads(lockstep("explain", "toy", "--json")[1])["explain"] == why
    assert "2 workers need room" in lockstep("jobs")[1]


def test_wishes_reach_the_server(server, lockstep):
    id = server.submit()
    assert lockstep("resize", "toy", "3")[:2] == (0, "toy: 3 workers wanted\n")
    assert lockstep("resize", "toy", "--min", "1", "--json")[:2] == (0, '{"job": "toy", "min_workers": 1}\n')
    assert lockstep("pause", "toy")[0] == 0
    server.move(id, JobState.PAUSED)
    assert lockstep("resume", "toy")[0] == 0
    assert lockstep("save", "toy")[0] == 0
    assert lockstep("cancel", "toy", "--json")[:2] == (0, '{"job": "toy"}\n')
    out = lockstep("events", "toy", "--json")[1]
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert kinds == ["submitted", "resize", "resize", "pause", "state", "resume", "cancel"]
    assert "queued → paused" in lockstep("events", "toy")[1]
    assert server.loop.asked == [("save", id)]


def test_a_session_of_the_same_name_comes_first(server, lockstep):
    """An embedded job of this machine: its cluster is asked, not the server."""
    server.submit()
    with announced(Session(job="toy", address="127.0.0.1:1", token="", pid=os.getpid())):
        from orchestrator.cli.options import on_server

        with on_server("toy", None, None) as there:
            assert there is None
        with on_server("toy", None, os.environ["LOCKSTEP_SERVER"]) as there:
            assert there is not None
    with on_server("toy", "auto", None) as there:
        assert there is None


@pytest.mark.parametrize(
    ("state", "outcome", "code"),
    [
        (JobState.DONE, {"exit_code": 0}, 0),
        (JobState.FAILED, {"exit_code": 1, "message": "the loss is NaN"}, 1),
        (JobState.FAILED, {"exit_code": 2, "message": "no such recipe"}, 2),
        (JobState.CANCELLED, None, 1),
    ],
)
def test_waiting_exits_as_the_job_ended(server, lockstep, state, outcome, code):
    id = server.submit()
    server.move(id, JobState.STARTING)
    server.move(id, state, outcome=outcome)
    found, out, _ = lockstep("wait", "toy", "--json")
    assert (found, json.loads(out)["state"]) == (code, state.value)
    assert (outcome or {}).get("message", "") in lockstep("wait", "toy")[1]


def test_waiting_can_be_limited(server, lockstep):
    server.submit()
    code, _, err = lockstep("wait", "toy", "--timeout", "0.05")
    assert (code, "not over" in err) == (124, True)


def test_logs_are_printed_as_they_are(server, lockstep):
    id = server.submit()
    server.logs.text[id] = b"one\ntwo\n"
    server.move(id, JobState.CANCELLED)
    assert lockstep("logs", "toy")[:2] == (0, "one\ntwo\n")
    assert lockstep("logs", "toy", "-f")[:2] == (0, "one\ntwo\n")
    assert json.loads(lockstep("logs", "toy", "--json")[1]) == {"text": "one\ntwo\n"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "nobody"], 2, "no job"),
        (["submit", "nowhere.yaml"], 2, "no such job file"),
        (["submit", "x.yaml", "--resume", "--fresh"], 2, "contradict"),
        (["resize", "toy"], 2, "not one size"),
        (["resize", "toy", "99"], 2, "virtual ranks"),
        (["drain", "toy", "n1"], 2, "lockstep node drain n1"),
        (["status", "toy", "--cluster", "auto", "--server", "http://127.0.0.1:1"], 2, "contradict"),
        (["queue", "set", "green"], 2, "admin"),
        (["queue", "set", "green", "--limit", "gpus=many"], 2, "no amount"),
        (["wait", "toy", "--server", "http://127.0.0.1:1"], 3, "does not answer"),
        (["jobs", "--server", "http://10.1.1.1"], 2, "in the clear"),
    ],
)
def test_what_goes_wrong_has_an_exit_code_and_words(server, lockstep, monkeypatch, arguments, code, words):
    monkeypatch.setattr("orchestrator.cli.options._PATIENCE_SECONDS", 0.2)
    server.submit()
    found, out, err = lockstep(*arguments)
    assert (found, words in err) == (code, True), err
    found, out, _ = lockstep(*arguments, "--json")
    assert found == code
    assert json.loads(out)["error"].keys() == {"what", "where", "fix"}


def test_a_server_is_looked_after_from_the_command_line(server, lockstep, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_TOKEN", server.secrets["ada"])
    assert (
        lockstep("queue", "set", "green", "--weight", "2", "--quota", "gpus=8", "--limit", "memory=64")[0]
        == 0
    )
    out = lockstep("queue", "list")[1]
    row = next(line for line in out.splitlines() if line.startswith("green"))
    assert row.split()[:6] == ["green", "2", "8", "GPUs", "64", "GiB"]
    assert lockstep("queue", "delete", "green")[0] == 0
    _, out, _ = lockstep(
        "token", "create", "--user", "new", "--role", "viewer", "--queue", "red", "--days", "1", "--json"
    )
    token = json.loads(out)
    assert (token["queues"], token["secret"].startswith("lockstep_")) == (["red"], True)
    assert token["expires_at"] == pytest.approx(time.time() + 86_400, abs=60)
    assert f"{token['id']}: revoked" in lockstep("token", "revoke", token["id"])[1]
    assert "revoked" in next(
        line for line in lockstep("token", "list")[1].splitlines() if token["id"] in line
    )
    assert lockstep("node", "list")[1].splitlines()[1].split()[:2] == ["one", "up"]
    assert lockstep("node", "drain", "one")[0] == 0
    actions = [json.loads(line)["action"] for line in lockstep("audit", "--json")[1].splitlines()]
    assert actions == ["drain", "revoke token", "token", "delete queue", "queue"]
    assert "revoke token" in lockstep("audit")[1]
    assert json.loads(lockstep("debug", "snapshot")[1]) == {"now": 1}


def test_a_servers_history_can_be_simulated(server, lockstep, tmp_path):
    file = str(tmp_path / "trace.csv")
    code, _, err = lockstep("debug", "trace", file)
    assert (code, "no job that ran is over yet" in err) == (2, True)
    for name, seconds in (("short", 60.0), ("long", 600.0)):
        id = server.submit(name)
        server.move(id, JobState.STARTING, JobState.RUNNING)
        server.move(id, JobState.DONE, attained_service=seconds)
    assert lockstep("debug", "trace", file)[1] == f"2 jobs in {file}\n"
    assert lockstep("simulate", file, "--nodes", "1", "--gpus-per-node", "8")[0] == 0
    code, _, err = lockstep("debug", "trace", file)
    assert (code, "File exists" in err) == (2, True), "nothing is overwritten"


def test_the_first_token_comes_from_the_database_itself(lockstep, tmp_path):
    url = f"sqlite:///{tmp_path}/new.db"
    code, out, err = lockstep("token", "create", "--user", "root", "--role", "admin", "--database", url)
    assert (code, "cannot be shown again" in err) == (0, True)
    with Database(url) as database, database.reading() as tx:
        token, _ = tx.tokens.find(out.strip(), 0.0)
        assert (token.user, token.queues) == ("root", None)
    assert lockstep("token", "create", "--user", "x", "--queue", "nowhere", "--database", url)[0] == 2
    assert lockstep("token", "create", "--user", "x", "--role", "king", "--database", url)[0] == 2


def test_names_of_jobs_are_completed_and_no_trouble_reaches_the_shell(server, monkeypatch):
    server.submit("train-a")
    server.submit("train-b")
    with announced(Session(job="train-here", address="127.0.0.1:1", token="", pid=os.getpid())):
        assert complete_job("train-") == ["train-a", "train-b", "train-here"]
        assert complete_job("train-b") == ["train-b"]
        monkeypatch.setenv("LOCKSTEP_TOKEN", "wrong")
        assert complete_job("train-") == ["train-here"]


def test_without_a_terminal_top_is_one_look(server, lockstep):
    server.submit("waiting")
    code, out, _ = lockstep("top")
    assert code == 0
    assert "1 queued" in out
    assert "CPUs ██████" in out
    assert json.loads(lockstep("top", "--json")[1])["jobs"][0]["job"] == "waiting"


def test_on_a_terminal_top_is_live_until_q(server):
    """In a real terminal: it shows what there is, then what is new, ends at `q`, and leaves it as it was."""
    import termios

    server.submit("first")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [
        sys.executable,
        "-c",
        "from orchestrator.cli.main import entry; entry()",
        "top",
        "--every",
        "0.1",
    ]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    try:
        read_until(ours, b"first")
        server.submit("second")
        read_until(ours, b"second")
        os.write(ours, b"q")
        read_until(ours, b"\x1b[?1049l")  # the screen that was there before
        assert process.wait(20) == 0
        assert termios.tcgetattr(theirs)[3] == before[3]
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def read_until(terminal: int, text: bytes) -> None:
    seen, give_up_at = b"", time.monotonic() + 30
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, give_up_at - time.monotonic()))
        assert ready, f"no {text!r} in {seen[-2000:]!r}"
        seen += os.read(terminal, 65536)
