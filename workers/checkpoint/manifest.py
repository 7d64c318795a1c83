"""The manifest of a checkpoint: a small immutable object whose presence is the commit.

It says everything that the state after a step depends on and where its bytes are, and nothing that varies
between two runs of one job: no time, no number of workers, no host. So two runs give the same manifest, byte
for byte. It carries its own SHA-256 and the hash of its parent, as a commit does in git.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from workers.checkpoint.layout import Piece
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError, LockstepError
from workers.protocol import LeftOut

Json = Any

FORMAT = 1
_DAMAGED = "choose an earlier step, or copy it again from where it came"


@dataclass(frozen=True, kw_only=True)
class ChunkRecord:
    """One chunk of a checkpoint: the SHA-256 and size in bytes of its object, and what it holds."""

    sha256: str
    size: int
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, record: Mapping[str, Json]) -> ChunkRecord:
        """From its JSON form."""
        return cls(
            sha256=record["sha256"], size=record["size"], pieces=tuple(Piece(*p) for p in record["pieces"])
        )

    def json(self) -> dict[str, Json]:
        """`{"sha256", "size", "pieces": [[key, start, stop], ...]}`."""
        return {"sha256": self.sha256, "size": self.size, "pieces": [list(piece) for piece in self.pieces]}


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The checkpoint that training came from: its step and the SHA-256 of its manifest."""

    step: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One committed checkpoint.

    Attributes:
        job: the job's name.
        step: committed steps; also the position in the data.
        epoch: passes over the data that were begun.
        samples: seen since the start of the job, by all virtual ranks.
        numerics: what the job promised when it wrote this: "elastic", "fast" or "relaxed".
        data: for "train" and "evaluation": digest of its manifest, rows, window of the shuffle; or null. Of a
            mixture, `mix` has these of each source, and its weight.
        fingerprint: the environment that bits depend on.
        left_out: damaged blocks of the training set, each with the first step that was done without it.
        init_from: whose tensors the job began with: uri, step, digest of the manifest or file, patterns and
            renamed beginnings of keys, see `workers.protocol.InitFrom`; null if with the recipe's own alone.
        freeze: patterns of parameters that are not trained, sorted.
        recipe: "module:Class".
        sources: SHA-256 of each Python file that came with the recipe, by path.
        scalars: state that is not tensors: the schedule's, the optimizer's hyperparameters.
        tensors: what the state consists of, by key.
        chunks: where its bytes are; together each element of each tensor once.
        state_digest: SHA-256 over all tensors, see `workers.digest`.

    Raises:
        CheckpointError: the chunks do not hold each element once, or the parent is not earlier.
    """

    job: str
    step: int
    epoch: int
    samples: int
    seed: int
    virtual_ranks: int
    batch_size: int
    max_grad_norm: float | None
    numerics: str
    data: Mapping[str, Json]
    fingerprint: Mapping[str, Json]
    left_out: tuple[LeftOut, ...]
    init_from: Mapping[str, Json] | None
    freeze: Sequence[str]
    recipe: str
    sources: Mapping[str, str]
    params: Mapping[str, Json]
    scalars: Mapping[str, Json]
    tensors: Mapping[str, TensorSpec]
    chunks: tuple[ChunkRecord, ...]
    state_digest: str
    parent: Parent | None = None

    def __post_init__(self) -> None:
        if self.parent is not None and self.parent.step >= self.step:
            raise CheckpointError(f"step {self.step} cannot follow step {self.parent.step}")
        _check_covered(self.tensors, self.chunks)

    def json(self) -> dict[str, Json]:
        """The manifest as JSON values, without its own hash."""
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        return body | {
            "format": FORMAT,
            "tensors": {key: asdict(spec) for key, spec in self.tensors.items()},
            "chunks": [chunk.json() for chunk in self.chunks],
            "left_out": [list(each) for each in self.left_out],
            "parent": asdict(self.parent) if self.parent else None,
        }

    def to_bytes(self) -> bytes:
        """The one way to write this manifest: ASCII JSON, keys sorted, no spaces, a final newline."""
        body = self.json()
        return _canonical(body | {"sha256": _sha256(_canonical(body))})

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest's bytes; what a child names its parent by."""
        return _sha256(self.to_bytes())

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(spec.nbytes for spec in self.tensors.values())

    @classmethod
    def compose(
        cls, draft: Mapping[str, Json], chunks: Mapping[int, Mapping[str, Json]], parent: Manifest | None
    ) -> Manifest:
        """A manifest from what rank 0 drafted and what all ranks wrote, by chunk number.

        Raises:
            CheckpointError: chunks are missing, or do not hold each element once.
        """
        link = {"step": parent.step, "sha256": parent.digest} if parent else None
        return _from_json({**draft, "chunks": [chunks[number] for number in sorted(chunks)], "parent": link})

    @classmethod
    def parse(cls, data: bytes, where: str | None = None) -> Manifest:
        """Read a manifest and prove that not one byte of it was changed.

        Args:
            data: the object.
            where: its address, for messages.

        Raises:
            CheckpointError: altered, cut short, or written by another version of Lockstep.
        """
        try:
            body = json.loads(data)
            stated = body.pop("sha256")
            intact = stated == _sha256(_canonical(body)) and data == _canonical(body | {"sha256": stated})
        except (ValueError, KeyError, TypeError, AttributeError):
            intact = False
        if not intact:
            raise CheckpointError("the manifest was altered or cut short", where=where, fix=_DAMAGED)
        if body["format"] != FORMAT:
            fix = "use the version of Lockstep that wrote it"
            raise CheckpointError(
                f"the manifest has format {body['format']}; this version reads {FORMAT}", where=where, fix=fix
            )
        try:
            return _from_json(body)
        except LockstepError as error:
            raise CheckpointError(error.what, where=where, fix=_DAMAGED) from error


def _from_json(body: Mapping[str, Json]) -> Manifest:
    parent = body["parent"]
    values = {key: value for key, value in body.items() if key != "format"}
    values["tensors"] = {
        key: TensorSpec(dtype=spec["dtype"], shape=tuple(spec["shape"]), frozen=spec["frozen"])
        for key, spec in body["tensors"].items()
    }
    values["chunks"] = tuple(ChunkRecord.of(record) for record in body["chunks"])
    values["left_out"] = tuple(LeftOut(*each) for each in body["left_out"])
    values["parent"] = Parent(**parent) if parent else None
    return Manifest(**values)


def _check_covered(tensors: Mapping[str, TensorSpec], chunks: tuple[ChunkRecord, ...]) -> None:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for chunk in chunks:
        for piece in chunk.pieces:
            spans[piece.key].append((piece.start, piece.stop))
    for key in sorted(tensors.keys() | spans.keys()):
        end = 0
        for start, stop in sorted(spans[key]):
            end = stop if start == end else -1
        if key not in tensors or not spans[key] or end != tensors[key].elements:
            raise CheckpointError(f"the chunks do not hold {key} exactly once")


def _canonical(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
