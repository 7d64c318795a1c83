"""Which jobs have checkpoints below an address."""

from __future__ import annotations

from workers.checkpoint.objects import step_of
from workers.errors import CheckpointError
from workers.storage import Store, as_uri


def job_folders(address: str) -> list[Store]:
    """The checkpoint folders at or below an address, in name order.

    Args:
        address: a URI or a local path: a job's own checkpoint folder, or one that holds several.

    Raises:
        CheckpointError: there is none.
    """
    store = Store(as_uri(address))
    found = set()
    for info in store.list():
        folder, name = _split(info.name)
        if step_of(name) is not None:
            found.add(folder)
    if not found:
        raise CheckpointError(
            "there are no checkpoints here", where=store.uri, fix="name a job's checkpoint folder"
        )
    return [Store(store.url(folder)) for folder in sorted(found)]


def one_job(address: str) -> Store:
    """The one checkpoint folder at or below an address.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    folders = job_folders(address)
    if len(folders) > 1:
        names = ", ".join(folder.uri for folder in folders)
        raise CheckpointError(
            f"{len(folders)} jobs have checkpoints here", where=as_uri(address), fix=f"choose one: {names}"
        )
    return folders[0]


def _split(name: str) -> tuple[str, str]:
    """`a/b/manifests/000000000001.json` → `a/b`, `manifests/000000000001.json`."""
    *folder, kind, last = ["", *name.split("/")] if "/" not in name else name.split("/")
    return "/".join(folder), f"{kind}/{last}"
