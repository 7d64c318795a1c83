"""Where a checkpoint comes from: its parent, that one's parent, and so on, back to step 0.

A manifest names its parent by step and hash. Retention removes parents, and with each of them would go what
only it said: the name of its own parent. So the sidecar of a checkpoint notes the names of all its ancestors,
as far as they were known to whoever wrote it. Where manifests are still there, they prove the chain; of the
others their names are told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workers.checkpoint.load import history, read_manifest
from workers.checkpoint.manifest import Manifest, Parent
from workers.checkpoint.sidecar import read_sidecar
from workers.errors import CheckpointError
from workers.storage import Store

Json = Any


class State(StrEnum):
    """What there is of an ancestor."""

    INTACT = "intact"  # its manifest is there, and its hash is the one that its child names
    GONE = "gone"  # removed
    ANOTHER = "another"  # a manifest of this step is there, and it is not the one that its child names
    ALTERED = "altered"  # its manifest is there, and cannot be read


@dataclass(frozen=True, kw_only=True)
class Link:
    """An ancestor: its step, the SHA-256 of its manifest, and what there is of it."""

    step: int
    sha256: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A checkpoint's ancestors, its parent first.

    Attributes:
        whole: the last of them (without any, the checkpoint itself) is known to be the first after step 0.
    """

    links: tuple[Link, ...]
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Ancestors:
    """The names of a checkpoint's ancestors, its parent first; `whole` as in `Lineage`."""

    names: tuple[Parent, ...] = ()
    whole: bool = False

    def after(self, name: Parent) -> Ancestors:
        """Those that follow `name`, if it is the first of them."""
        return Ancestors(names=self.names[1:], whole=self.whole) if self.names[:1] == (name,) else Ancestors()

    def child_of(self, manifest: Manifest) -> Ancestors:
        """Of a child of `manifest`, if these are the ancestors of that one."""
        name = Parent(step=manifest.step, sha256=manifest.digest)
        return Ancestors(names=(name, *self.names), whole=self.whole)

    def json(self) -> dict[str, Json]:
        """`{"names": [[step, sha256], ...], "whole": bool}`, for a sidecar."""
        return {"names": [[name.step, name.sha256] for name in self.names], "whole": self.whole}


def lineage(store: Store, manifest: Manifest) -> Lineage:
    """The chain back to step 0, or as far as it is known."""
    steps, links = set(history(store)), list[Link]()
    parent, known = manifest.parent, None
    while parent is not None:
        state, found = _look(store, parent, steps)
        links.append(Link(step=parent.step, sha256=parent.sha256, state=state))
        if found is not None:
            manifest, parent, known = found, found.parent, None
            continue
        known = (noted(store, manifest) if known is None else known).after(parent)
        if not known.names:
            return Lineage(links=tuple(links), whole=known.whole)
        parent = known.names[0]
    return Lineage(links=tuple(links), whole=True)


def ancestors(store: Store, manifest: Manifest) -> Ancestors:
    """The names of a checkpoint's ancestors: from its sidecar, or else from their manifests."""
    found = noted(store, manifest)
    if found.names or found.whole:
        return found
    chain = lineage(store, manifest)
    names = tuple(Parent(step=link.step, sha256=link.sha256) for link in chain.links)
    return Ancestors(names=names, whole=chain.whole)


def noted(store: Store, manifest: Manifest) -> Ancestors:
    """What the sidecar of a checkpoint says of its ancestors; nothing if that does not fit its manifest."""
    if manifest.parent is None:
        return Ancestors(whole=True)
    try:
        entry = read_sidecar(store, manifest.step)["ancestors"]
        names = tuple(Parent(step=int(step), sha256=str(sha256)) for step, sha256 in entry["names"])
        whole = entry["whole"] is True
    except (KeyError, TypeError, ValueError):
        return Ancestors()
    return Ancestors(names=names, whole=whole) if names[:1] == (manifest.parent,) else Ancestors()


def _look(store: Store, parent: Parent, steps: set[int]) -> tuple[State, Manifest | None]:
    if parent.step not in steps:
        return State.GONE, None
    try:
        found = read_manifest(store, parent.step)
    except CheckpointError:
        return State.ALTERED, None
    return (State.INTACT, found) if found.digest == parent.sha256 else (State.ANOTHER, None)
