"""A small script job for tests: what its program does is in a file beside it, and can be changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROGRAM = """\
import json, os, signal, sys, time
from pathlib import Path

attempt, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
shared = Path(os.environ["SHARED"])                       # what all machines see

def save(*_):
    print("saving")
    (shared / f"saved-{attempt}-{rank}").touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
told = {name: os.environ.get(name) for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "RAY_AUTH_TOKEN")}
print("told", json.dumps({**told, "folder": os.getcwd(), "files": sorted(os.listdir())}))
print("warned", file=sys.stderr)
exec(Path("do.py").read_text())
"""


@dataclass(frozen=True, kw_only=True)
class ScriptFolder:
    """A job's folder, and one that all its processes can write to."""

    folder: Path
    shared: Path

    @property
    def file(self) -> Path:
        """The job file."""
        return self.folder / "job.yaml"

    def does(self, code: str) -> None:
        """What the program does, after it has said what it was told."""
        (self.folder / "do.py").write_text(code)


def script_folder(base: Path, **fields: Any) -> ScriptFolder:
    """A job of three ranks that does nothing."""
    folder, shared = base / "job", base / "shared"
    folder.mkdir(parents=True)
    shared.mkdir()
    job = ScriptFolder(folder=folder, shared=shared)
    spec = {
        "name": "script",
        "command": ["python", "train.py"],
        "env": {"SHARED": str(shared)},
        "workers": {"min": 2, "max": 4, "cpus": 1},
        "grace": "20s",
        **fields,
    }
    job.file.write_text(yaml.safe_dump(spec))
    (folder / "train.py").write_text(PROGRAM)
    (folder / ".env").write_text("SECRET=1")
    job.does("")
    return job


def written(log: list[dict[str, Any]], text: str, attempt: int | None = None) -> list[dict[str, Any]]:
    """Lines of output that begin so."""
    return [
        entry
        for entry in log
        if entry["kind"] == "log" and entry["text"].startswith(text) and attempt in (None, entry["attempt"])
    ]


def told(log: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each rank was told at its latest start."""
    return {
        entry["worker"]: json.loads(entry["text"].removeprefix("told ")) for entry in written(log, "told ")
    }
