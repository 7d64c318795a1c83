"""Whose tensors a job begins with: decided once, when it is submitted, and pinned to their bytes."""

from __future__ import annotations

from orchestrator.checkpointing import newest_intact
from orchestrator.spec.initial import FILE_SUFFIX
from orchestrator.spec.initial import InitFrom as Section
from workers.checkpoint.draft import read_init
from workers.checkpoint.folders import job_folders
from workers.checkpoint.load import check_present, chunk_sizes, history, read_manifest
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.sources import file_digest
from workers.errors import CheckpointError
from workers.protocol import InitFrom
from workers.storage import Store


def pin(section: Section, own_uri: str | None) -> InitFrom:
    """What exactly the job begins with.

    A job that has checkpoints of its own began long ago: what they say stands, as far as the job file still
    asks for it, and what it began with is not looked at any more. It may be gone.

    Args:
        section: what the job file says.
        own_uri: the job's own checkpoint folder; None if it has none, or if what is there does not count.

    Raises:
        CheckpointError: there is no such checkpoint or file, or none that is intact.
        AccessError, UnreachableError: the store refused or is gone.
    """
    earlier = _pinned(Store(own_uri)) if own_uri is not None else None
    if earlier is not None and earlier.uri == section.uri and section.step in (None, earlier.step):
        step, digest = earlier.step, earlier.digest
    elif section.uri.endswith(FILE_SUFFIX):
        step, digest = None, file_digest(section.uri)
    else:
        manifest = _checkpoint(Store(section.uri), section.step)
        step, digest = manifest.step, manifest.digest
    return InitFrom(uri=section.uri, step=step, digest=digest, tensors=section.tensors, rename=section.rename)


def describe(start: InitFrom) -> str:
    """For whoever started the job: what it begins with, and what it does not."""
    if start.step is None:
        return f"begins with tensors of {start.uri}, SHA-256 {start.digest}"
    newer = [step for step in history(Store(start.uri)) if step > start.step]
    passed = f"; not of step {', '.join(map(str, newer))}, which is newer" if newer else ""
    return f"begins with tensors of step {start.step} of {start.uri}, manifest {start.digest}{passed}"


def _pinned(own: Store) -> InitFrom | None:
    """What the job's newest readable checkpoint says that it began with."""
    for step in reversed(history(own)):
        try:
            return read_init(read_manifest(own, step).init_from)
        except CheckpointError:  # resuming passes over it, and says so
            continue
    return None


def _checkpoint(store: Store, step: int | None) -> Manifest:
    if not history(store):
        folders = [folder.uri for folder in job_folders(store)]  # or an error that says that there is nothing
        fix = f"name a job's own folder: {', '.join(folders)}"
        raise CheckpointError("this is no job's checkpoint folder", where=f"init_from: {store.uri}", fix=fix)
    if step is None:
        return newest_intact(store)[0]
    manifest = read_manifest(store, step)
    check_present(store, manifest, chunk_sizes(store))  # what chunks hold is verified when they are read
    return manifest
