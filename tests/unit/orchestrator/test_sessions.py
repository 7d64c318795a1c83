"""Other commands of this user find a running job, and nobody else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

from orchestrator.sessions import Session, announced, find_session


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "lockstep"


def test_a_session_can_be_found_as_long_as_it_lasts(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    session = Session.here("toy", "127.0.0.1:6379")
    assert session.token == "secret"
    with announced(session):
        assert find_session("toy") == session
        assert find_session("other") is None
    assert find_session("toy") is None


def test_it_can_be_found_no_more_when_a_failure_ends_it(runtime):
    with pytest.raises(ZeroDivisionError), announced(Session.here("toy", "here:1")):
        raise ZeroDivisionError
    assert find_session("toy") is None
    assert list(runtime.iterdir()) == []


def test_the_token_is_for_the_eyes_of_this_user_alone(runtime):
    with announced(Session.here("toy", "here:1")):
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert (runtime / "toy.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_can_look_into_is_not_used(runtime):
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(PermissionError, match="not this user's alone"), announced(Session.here("toy", "a:1")):
        pass
    assert list(runtime.iterdir()) == []


def test_a_session_whose_process_is_gone_is_not_found(runtime):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with announced(Session.here("toy", "here:1")):
        path = runtime / "toy.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": child.pid}))
        assert find_session("toy") is None


def test_a_session_that_another_process_has_taken_over_is_left_to_it(runtime):
    with announced(Session.here("toy", "here:1")):
        other = Session(job="toy", address="there:2", token="", pid=os.getppid())
        (runtime / "toy.json").write_text(json.dumps(vars(other)))
    assert find_session("toy") == other


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job": "toy"}', '{"pid": "many"}'])
def test_a_file_that_says_nothing_is_no_session(runtime, text):
    runtime.mkdir(mode=0o700)
    (runtime / "toy.json").write_text(text)
    assert find_session("toy") is None


def test_without_a_runtime_folder_there_is_one_for_this_user_among_the_temporary_ones(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with announced(Session.here("toy", "here:1")):
        (folder,) = tmp_path.glob("lockstep-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert find_session("toy") is not None
