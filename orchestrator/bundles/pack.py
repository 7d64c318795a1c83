"""A folder → a bundle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.bundles.folder import look_through, read
from workers.bundles.archive import encode
from workers.bundles.limits import LIMITS, Limits


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A packed folder.

    Attributes:
        sha256: of the archive; its name everywhere.
        data: the archive.
        files: how many it has.
        notes: what was left out though no ignore file says so: for the user to read.
    """

    sha256: str
    data: bytes
    files: int
    notes: tuple[str, ...] = ()


def pack(folder: Path, limits: Limits = LIMITS) -> Bundle:
    """Everything of a job's folder that counts; the same content gives the same bytes, on every machine.

    What `.gitignore` and `.lockstepignore` name is left out, and so are histories, caches, environments of
    venv and conda, `node_modules`, and what looks like a secret: the last with a note.

    Raises:
        InputError: there is no such folder; it has links out of it, devices or impossible names; or it is too
            large, with its largest files named.
        AccessError: a part of it cannot be read.
    """
    listing = look_through(folder, limits)
    entries = list(read(listing))
    data = encode(entries)
    return Bundle(
        sha256=hashlib.sha256(data).hexdigest(), data=data, files=len(entries), notes=tuple(listing.notes)
    )
