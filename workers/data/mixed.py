"""Several data sets behind one reader: the sources of a mixture, with their blocks counted through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from workers.data.manifest import Manifest
from workers.data.order import edges
from workers.data.permutation import Int64
from workers.data.reader import BlockReader, Gathering
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

    def begin(self, blocks: Int64, rows: Int64) -> Gathering:
        """Start to fetch samples; see `workers.data.reader.BlockReader.begin`. Blocks are counted through."""
        sources = np.searchsorted(self._first_block, blocks, side="right") - 1
        places = np.empty_like(blocks)
        begun: list[Gathering] = []
        count = 0
        for source in np.unique(sources).tolist():
            mine = sources == source
            part = self._readers[source].begin(blocks[mine] - self._first_block[source], rows[mine])
            places[mine] = part.places + count
            count += len(part.flights)
            begun.append(part)
        return Gathering(
            readers=[reader for part in begun for reader in part.readers],
            flights=[flight for part in begun for flight in part.flights],
            places=places,
            rows=np.asarray(rows),
            missing_bytes=sum(part.missing_bytes for part in begun),
            large=any(part.large for part in begun),
        )

    def close(self) -> None:
        """See `workers.data.reader.BlockReader.close`."""
        for reader in self._readers:
            reader.close()


def common_schema(uris: Sequence[str], manifests: Sequence[Manifest]) -> pa.Schema:
    """The columns that the sources of a mixture share, without what may differ: metadata and nullability.

    Args:
        uris, manifests: of the sources.

    Raises:
        DataError: they have other columns, or in another order.
    """
    first, schema = uris[0], manifests[0].schema
    for uri, manifest in zip(uris, manifests, strict=True):
        difference = next(_differences(schema, manifest.schema), None)
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
