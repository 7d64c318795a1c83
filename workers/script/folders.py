"""Where a script job's folder is unpacked on a machine, and where its output is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def folder_of(name: str) -> Path:
    """Everything that a job has on this machine. The folder above it belongs to the user alone.

    Raises:
        PermissionError: that folder is somebody else's.
    """
    top = Path(tempfile.gettempdir()) / f"lockstep-{os.getuid()}" / "scripts"
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = top.parent.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise PermissionError(f"{top.parent} is not this user's alone")
    return top / name


def job_folder(name: str) -> Path:
    """Where its programs run."""
    return folder_of(name) / "job"


def logs_folder(name: str) -> Path:
    """Where their output is kept."""
    return folder_of(name) / "logs"
