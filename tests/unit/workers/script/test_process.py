"""Real processes, each of them for a fraction of a second."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from workers.script.process import LINE_BYTES_MAX, End, ScriptProcess, as_shown
from workers.script.runner import environment_of

_SECONDS = 20


class Watched:
    """A program that runs, and all that is heard of it."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.lines: list[tuple[str, str]] = []
        self.pid = 0
        self.end: End | None = None
        self._started, self._ended, self._wrote = threading.Event(), threading.Event(), threading.Condition()
        self.process = ScriptProcess(
            command,
            environment_of(environment),
            folder,
            files={"stdout": folder / "logs/out", "stderr": folder / "logs/err"},
            on_line=self._line,
            on_start=self._start,
            on_end=self._end,
        )

    def started(self) -> int:
        assert self._started.wait(_SECONDS)
        return self.pid

    def said(self, text: str) -> str:
        """The first line with this text in it."""
        with self._wrote:
            assert self._wrote.wait_for(lambda: any(text in line for _, line in self.lines), _SECONDS), (
                self.lines
            )
        return next(line for _, line in self.lines if text in line)

    def over(self) -> End:
        assert self._ended.wait(_SECONDS)
        assert self.end is not None
        return self.end

    def _line(self, stream: str, text: str) -> None:
        with self._wrote:
            self.lines.append((stream, text))
            self._wrote.notify_all()

    def _start(self, pid: int) -> None:
        self.pid = pid
        self._started.set()

    def _end(self, end: End) -> None:
        self.end = end
        self._ended.set()


def _python(folder: Path, code: str, **environment: str) -> Watched:
    (folder / "script.py").write_text(code)
    return Watched(folder, "python", "script.py", **environment)


def _is_gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_lines_of_both_streams_are_heard_and_kept(tmp_path):
    code = "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c', end='')\n"
    watched = _python(tmp_path, code)
    assert watched.over() == End(code=0, last="b")
    assert sorted(watched.lines) == [("stderr", "b"), ("stdout", "a"), ("stdout", "c")]
    assert (tmp_path / "logs/out").read_bytes() == b"a\nc"
    assert (tmp_path / "logs/err").read_bytes() == b"b\n"


def test_a_runner_may_have_any_number_of_files_open(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2000)), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert max(files) > 1024, "where select(2) ends"
        assert _python(tmp_path, "print('a')").over() == End(code=0)
    finally:
        for file in files:
            os.close(file)


def test_exit_codes_signals_and_tracebacks_are_told(tmp_path):
    assert _python(tmp_path, "raise SystemExit(7)").over() == End(code=7)
    assert _python(tmp_path, "import os; os.kill(os.getpid(), 11)").over() == End(signal=11)
    end = _python(tmp_path, "def f():\n    raise ValueError('no')\nf()\n").over()
    assert end.code == 1
    assert end.trace is not None
    assert end.trace.startswith("Traceback (most recent call last):")
    assert end.trace.endswith("ValueError: no\n")


def test_a_program_that_does_not_exist(tmp_path):
    end = Watched(tmp_path, "no-such-program").over()
    assert end.error == "No such file or directory"


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        ScriptProcess(
            ("true",),
            {},
            tmp_path / "nothing",
            files={},
            on_line=lambda *_: None,
            on_start=lambda *_: None,
            on_end=lambda *_: None,
        )


def test_the_environment_is_the_machines_without_what_is_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("LOCKSTEP_CACHE", "/x")
    monkeypatch.setenv("MINE", "1")
    code = "import os, sys\nprint(os.environ.get('RAY_AUTH_TOKEN'), os.environ.get('LOCKSTEP_CACHE'))\n"
    code += "print(os.environ['MINE'], os.environ['LR'], sys.executable)\n"
    watched = _python(tmp_path, code, LR="0.1")
    watched.over()
    assert watched.lines == [("stdout", "None None"), ("stdout", f"1 0.1 {sys.executable}")]


def test_signals_are_as_a_program_expects_them(tmp_path):
    code = "import signal\n"
    code += "print([signal.getsignal(s) is signal.SIG_DFL for s in (signal.SIGTERM, signal.SIGHUP)])\n"
    code += "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    watched = _python(tmp_path, code)
    watched.over()
    assert [line for _, line in watched.lines] == ["[True, True]", "True"]


def test_sigterm_is_a_request_and_sigkill_is_not(tmp_path):
    code = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('saving'))\nprint('up')\n"
    watched = _python(tmp_path, code + "time.sleep(60)\ntime.sleep(60)\n")
    watched.said("up")
    watched.process.terminate()
    watched.said("saving")
    watched.process.kill()
    assert watched.over().signal == signal.SIGKILL


def test_a_program_that_is_stopped_can_be_ended(tmp_path):
    watched = _python(tmp_path, "import os, signal\nprint('up')\nos.kill(os.getpid(), signal.SIGSTOP)\n")
    watched.said("up")
    watched.process.terminate()
    assert watched.over().signal == signal.SIGTERM


_DAEMON = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
up, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", os.getpid())
        os.write(tell, b"!")
        time.sleep(60)
    os._exit(0)
os.read(up, 1)
print("child", child.pid)
"""


@pytest.mark.parametrize("end", ["by itself", "killed", "asked to end"])
def test_nothing_that_a_program_has_started_outlives_it(tmp_path, end):
    """Not even what has left its process group."""
    watched = _python(tmp_path, _DAEMON + ("" if end == "by itself" else "time.sleep(60)\n"))
    pids = [int(watched.said(name).split()[1]) for name in ("child", "daemon")]
    if end == "killed":
        watched.process.kill()
    if end == "asked to end":
        watched.process.terminate()
    watched.over()
    assert [_is_gone(pid) for pid in pids] == [True, True]


def test_helpers_are_left_alone_as_long_as_the_program_saves(tmp_path):
    """A DataLoader's processes, say: SIGTERM is for the program, which may need them."""
    code = """
import signal, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", "input(); print('helped')"], stdin=subprocess.PIPE)
def save(*_):
    helper.communicate(b"\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up")
time.sleep(60)
"""
    watched = _python(tmp_path, code)
    watched.said("up")
    watched.process.terminate()
    assert watched.over().code == 0
    assert ("stdout", "helped") in watched.lines


def test_a_program_in_a_shell_has_its_time_to_save_too(tmp_path):
    code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved')))\n"
    (tmp_path / "script.py").write_text(code + "print('up')\nsignal.pause()\n")
    watched = Watched(tmp_path, "sh", "-c", "python script.py; true")
    watched.said("up")
    watched.process.terminate()
    watched.over()
    assert ("stdout", "saved") in watched.lines


def test_when_whoever_runs_it_is_killed_all_of_it_ends(tmp_path):
    (tmp_path / "script.py").write_text(_DAEMON + "time.sleep(60)\n")
    runner = (
        "import pathlib, sys, time\n"
        "from workers.script.process import ScriptProcess\n"
        "from workers.script.runner import environment_of\n"
        f"ScriptProcess(('python', 'script.py'), environment_of({{}}), pathlib.Path({str(tmp_path)!r}),\n"
        "    files={}, on_line=lambda s, line: print(line, flush=True), on_start=print, on_end=print)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", runner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids: dict[str, int] = {}
        for line in process.stdout:
            if line.split()[0] in ("child", "daemon"):
                pids[line.split()[0]] = int(line.split()[1])
            if len(pids) == 2:
                break
        handles = [psutil.Process(pid) for pid in pids.values()]
        process.kill()
    _, alive = psutil.wait_procs(handles, timeout=_SECONDS)
    assert alive == []


def test_when_its_guard_is_killed_it_ends_and_that_is_told(tmp_path):
    watched = _python(tmp_path, "import os, time\nprint('guard', os.getppid())\ntime.sleep(60)\n")
    guard = int(watched.said("guard").split()[1])
    os.kill(guard, signal.SIGKILL)
    assert watched.over().signal == signal.SIGKILL
    deadline = time.monotonic() + _SECONDS
    while not _is_gone(watched.started()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _is_gone(watched.started())


def test_endless_lines_come_in_pieces(tmp_path):
    watched = _python(tmp_path, f"print('x' * {LINE_BYTES_MAX * 3})\n")
    watched.over()
    assert [len(line) for _, line in watched.lines if line] == [LINE_BYTES_MAX] * 3


def test_a_progress_bar_is_shown_as_it_stands():
    assert as_shown("10 %\r20 %\r30 %\n") == "30 %"
    assert as_shown("done\r\n") == "done"
    assert as_shown("\r\n") == ""


def test_what_torchs_record_has_written_comes_first(tmp_path):
    error = tmp_path / "error.json"
    stack = 'Traceback (most recent call last):\n  File "t.py", line 1, in f\nValueError: inner\n'
    code = f"import json, os\nstack = {stack!r}\n"
    code += "told = {'message': {'message': 'x', 'extraInfo': {'py_callstack': stack}}}\n"
    code += "json.dump(told, open(os.environ['TORCHELASTIC_ERROR_FILE'], 'w'))\nraise RuntimeError('outer')\n"
    end = _python(tmp_path, code, TORCHELASTIC_ERROR_FILE=str(error)).over()
    assert end.trace is not None
    assert end.trace.endswith("ValueError: inner\n")
