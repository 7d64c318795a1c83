"""What one worker copies and writes of one save."""

from __future__ import annotations

from collections.abc import Callable

from workers.checkpoint.layout import assign, plan_chunks
from workers.checkpoint.save import Written, write_chunks
from workers.digest import digest_of_pieces
from workers.storage import Store
from workers.training.replica import Replica
from workers.training.staging import Staging


class Share:
    """One worker's share of the state that a replica holds when this is made.

    Rank 0 writes its chunks as all others do, but copies everything: it takes the digest of the whole.

    Args:
        replica: whose state is saved.
        staging: where copies go; it belongs to this share until that is written.
        rank, world: of the worker, among how many.
    """

    def __init__(self, replica: Replica, staging: Staging, rank: int, world: int) -> None:
        self.specs, self._tensors, self._staging = replica.specs(), replica.tensors(), staging
        self._chunks = plan_chunks(self.specs)
        self._numbers = assign(self._chunks, world)[rank]
        wanted = range(len(self._chunks)) if rank == 0 else self._numbers
        self._pieces = [piece for number in wanted for piece in self._chunks[number].pieces]
        self._steady = replica.steady_keys()
        staging.lay_out(self.specs, self._pieces)

    def copy(self) -> None:
        """Copy what the next step may change before its update."""
        self._staging.copy(self._tensors, (p for p in self._pieces if p.key not in self._steady))

    def copy_rest(self) -> None:
        """Copy what is left; before the next update."""
        self._staging.copy(self._tensors, (p for p in self._pieces if p.key in self._steady))

    def write(self, store: Store, intact: set[str], given_up: Callable[[], bool]) -> Written:
        """Make this worker's chunks durable, once or again; see `workers.checkpoint.save.write_chunks`."""
        return write_chunks(
            store, self._chunks, self._numbers, self._staging.raw, intact=intact, given_up=given_up
        )

    def digest(self) -> str:
        """The state digest, on rank 0."""
        return digest_of_pieces(self.specs, self._pieces, self._staging.raw)
