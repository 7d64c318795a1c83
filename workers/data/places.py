"""Where samples are stored, in the words of people: an object and a row in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from workers.data.dataset import Dataset
from workers.data.manifest import Manifest
from workers.data.order import edges
from workers.data.packing import block_rows
from workers.data.permutation import Int64
from workers.data.runs import Runs
from workers.data.samples import Addresses
from workers.protocol import DataMixture, DataSource

Json = Any


def places(manifest: Manifest, first: Int64, runs: Runs) -> list[dict[str, Json]]:
    """Where each sample of a data set begins; a packed one's pieces, too.

    Args:
        first: of each block, the number of its first row within its object, see `Manifest.first_of_object`.

    Returns:
        for each sample `object` and `row`; of a packed one `object`, `token` and its `pieces`.
    """
    names = manifest.object_names.take(manifest.objects[runs.blocks]).to_pylist()
    within = (first[runs.blocks] + runs.rows).tolist()
    if runs.bounds is None or runs.lengths is None:
        return [{"object": name, "row": row} for name, row in zip(names, within, strict=True)]
    pieces = [
        {"object": name, "token": token, "tokens": count}
        for name, token, count in zip(names, within, runs.lengths.tolist(), strict=True)
    ]
    return [
        {"object": pieces[begin]["object"], "token": pieces[begin]["token"], "pieces": pieces[begin:end]}
        for begin, end in pairwise(runs.bounds.tolist())
    ]


class TrainingPlaces:
    """Names the samples of a job's training set.

    Args:
        train: a data set, or a mixture, whose blocks are counted through all of its sources.

    Raises:
        DataError, AccessError, UnreachableError: a manifest cannot be read, or is another version.
    """

    def __init__(self, train: DataSource | DataMixture) -> None:
        self._mixed = isinstance(train, DataMixture)
        sources: Sequence[DataSource] = train.sources if isinstance(train, DataMixture) else (train,)
        datasets = [Dataset.open(source.uri, digest=source.manifest_digest) for source in sources]
        self._uris = [source.uri for source in sources]
        self._manifests = [dataset.manifest for dataset in datasets]
        self._first_rows = [
            dataset.manifest.first_of_object(block_rows(dataset, source.packing))
            for dataset, source in zip(datasets, sources, strict=True)
        ]
        self._first_block = edges(np.array([len(manifest) for manifest in self._manifests], dtype=np.int64))

    def of(self, addresses: Addresses) -> list[dict[str, Json]]:
        """See `places`; samples of a mixture say their `source`, too."""
        runs = addresses.runs
        if not self._mixed:
            return places(self._manifests[0], self._first_rows[0], runs)
        blocks, _ = runs.starts
        numbers = np.searchsorted(self._first_block, blocks, side="right") - 1
        return [self._of_source(int(number), runs.part(i, i + 1)) for i, number in enumerate(numbers)]

    def _of_source(self, number: int, runs: Runs) -> dict[str, Json]:
        """The one sample of these runs."""
        own = Runs(
            blocks=runs.blocks - self._first_block[number],
            rows=runs.rows,
            lengths=runs.lengths,
            bounds=runs.bounds,
        )
        [place] = places(self._manifests[number], self._first_rows[number], own)
        return {"source": self._uris[number], **place}
