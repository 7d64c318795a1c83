"""Several data sets behind one reader: the sources of a mixture, with their blocks counted through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from workers.data.gathering import Gathering, Sent
from workers.data.order import edges
from workers.data.reader import BlockReader
from workers.data.runs import Runs
from workers.errors import DataError


class MixedReader:
    """Gathers samples from several data sets that have the same columns. Safe to share between threads.

    Args:
        readers: of the sources, in the mixture's order.
    """

    def __init__(self, readers: Sequence[BlockReader]) -> None:
        self._readers = readers
        self._first_block = edges(np.array([len(reader.dataset.manifest) for reader in readers]))

    @property
    def sample_bytes(self) -> float:
        """Stored bytes of a sample of whichever source has the largest, on average."""
        return max(reader.sample_bytes for reader in self._readers)

    def begin(self, runs: Runs) -> Gathering:
        """Start to fetch samples; see `workers.data.reader.BlockReader.begin`. Blocks are counted through."""
        sources = np.searchsorted(self._first_block, runs.blocks, side="right") - 1
        places = np.empty_like(runs.blocks)
        begun: list[Sent] = []
        count = 0
        for source in np.unique(sources).tolist():
            mine = sources == source
            part = self._readers[source].send(runs.blocks[mine] - self._first_block[source])
            places[mine] = part.places + count
            count += len(part.flights)
            begun.append(part)
        together = Sent(
            readers=[reader for part in begun for reader in part.readers],
            flights=[flight for part in begun for flight in part.flights],
            places=places,
            missing_bytes=sum(part.missing_bytes for part in begun),
            large=any(part.large for part in begun),
        )
        return Gathering.of(together, runs)

    def close(self) -> None:
        """See `workers.data.reader.BlockReader.close`."""
        for reader in self._readers:
            reader.close()


def common_schema(uris: Sequence[str], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns that the sources of a mixture share, without what may differ: metadata and nullability.

    Args:
        uris, schemas: of the sources.

    Raises:
        DataError: they have other columns, or in another order.
    """
    first, schema = uris[0], schemas[0]
    for uri, other in zip(uris, schemas, strict=True):
        difference = next(_differences(schema, other), None)
        if difference is not None:
            fix = "mix data sets with the same columns: pack them so, or leave one out"
            raise DataError(f"{difference}, unlike in {first}", where=uri, fix=fix)
    return pa.schema([pa.field(field.name, field.type) for field in schema])


def _differences(expected: pa.Schema, found: pa.Schema) -> Iterator[str]:
    for field in expected:
        if field.name not in found.names:
            yield f"there is no column {field.name}"
        elif found.field(field.name).type != field.type:
            yield f"the column {field.name} is {found.field(field.name).type} and not {field.type}"
    for name in found.names:
        if name not in expected.names:
            yield f"there is a column {name}"
    if found.names != expected.names:
        yield f"the columns come in the order {', '.join(found.names)}"
