"""Which jobs have checkpoints below an address."""

from __future__ import annotations

from workers.checkpoint.load import history
from workers.checkpoint.objects import step_of
from workers.errors import CheckpointError
from workers.storage import Store


def job_folders(store: Store) -> list[Store]:
    """The checkpoint folders at or below an address, in name order.

    Args:
        store: a job's own checkpoint folder, or a prefix that holds several.

    Raises:
        CheckpointError: there is none.
    """
    if history(store):
        return [store]
    names = [info.name.split("/") for info in store.list()]
    found = {"/".join(parts[:-2]) for parts in names if step_of("/".join(parts[-2:])) is not None}
    if not found:
        fix = "name a job's checkpoint folder, or a prefix that holds some"
        raise CheckpointError("there are no checkpoints here", where=store.uri, fix=fix)
    return [Store(store.url(folder)) for folder in sorted(found)]


def one_job(store: Store) -> Store:
    """The one checkpoint folder at or below an address.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    folders = job_folders(store)
    if len(folders) > 1:
        fix = "name one of them: " + ", ".join(folder.uri for folder in folders)
        raise CheckpointError(f"{len(folders)} jobs have checkpoints here", where=store.uri, fix=fix)
    return folders[0]
