"""Reads a whole data set and says which of its blocks are not what the manifest says."""

from __future__ import annotations

from dataclasses import dataclass

from workers.data.dataset import Dataset
from workers.data.fetch import fetch
from workers.data.parallel import at_once
from workers.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    Attributes:
        blocks: how many were read.
        by_checksum: how many of them were compared with their checksums; of the others only the object's
            entity tag and length are known.
        damage: one message per block that is not as it should be, in the manifest's order.
    """

    blocks: int
    by_checksum: int
    damage: tuple[str, ...]


def verify(dataset: Dataset) -> Verification:
    """Read and check every block.

    Raises:
        AccessError, UnreachableError: from the store.
    """

    def check(number: int) -> tuple[bool, str | None]:
        block = dataset.manifest.block(number)
        try:
            fetch(dataset, block)
        except DataError as error:
            return block.crc32c is not None, f"{error.where}: {error.what}"
        return block.crc32c is not None, None

    checked = list(at_once(check, range(len(dataset.manifest))))
    return Verification(
        blocks=len(checked),
        by_checksum=sum(summed for summed, _ in checked),
        damage=tuple(message for _, message in checked if message is not None),
    )
