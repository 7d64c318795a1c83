"""Packing: the lists of a column, laid end to end and cut into samples of one length.

Tokens of documents, mostly. A data set is then read as if each value of the lists was a row, and each sample
a run of `length` rows; `workers.data.order` says which. How many values a block holds is in the manifest.
"""

from __future__ import annotations

import pyarrow as pa

from workers.data.dataset import Dataset
from workers.data.lists import is_list_of_integers
from workers.data.permutation import Int64
from workers.errors import DataError
from workers.protocol import Packing


def choose_column(dataset: Dataset, uri: str, wanted: str | None) -> str:
    """The column whose lists are packed: the one that is named, or the only one that can be.

    Args:
        uri: of the data set, for messages.

    Raises:
        DataError: there is no such column, or it holds no lists of integers, or there are several of them.
    """
    schema = dataset.manifest.schema
    names: list[str] = [field.name for field in schema if is_list_of_integers(field.type)]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    fix = f"name one of {', '.join(names)}" if names else "pack the data set's tokens as lists of integers"
    if wanted is None:
        what = f"{len(names)} columns hold lists of integers, and data.tokens names none"
    elif wanted in schema.names:
        what = f"the column {wanted} holds {schema.field(wanted).type} and no lists of integers"
    else:
        what = f"there is no column {wanted}"
    raise DataError(what, where=uri, fix=fix)


def block_rows(dataset: Dataset, packing: Packing | None) -> Int64:
    """Rows in each block: its samples, or the values that are packed.

    Raises:
        DataError: the manifest does not say how many those are.
    """
    manifest = dataset.manifest
    if packing is None:
        return manifest.block_rows
    kind = manifest.schema.field(packing.column).type
    if pa.types.is_fixed_size_list(kind):
        return manifest.block_rows * int(kind.list_size)
    if packing.column not in manifest.values:
        where = dataset.store.uri
        if manifest.format == "arrow":
            fix = "index it again: lockstep data index " + where
        else:
            fix = f"pack it into Arrow shards: lockstep data pack {where} DEST"
        what = f"its manifest does not say how many values of {packing.column} there are in each block"
        raise DataError(what, where=where, fix=fix)
    return manifest.values[packing.column]


def count_samples(dataset: Dataset, packing: Packing | None, uri: str) -> int:
    """Samples in an epoch, at least one.

    Raises:
        DataError: the data set holds fewer values than one sample; or as for `block_rows`.
    """
    rows = int(block_rows(dataset, packing).sum())
    if rows < sample_rows(packing):
        what = f"the data set holds {rows} tokens, fewer than a sample of {sample_rows(packing)}"
        raise DataError(what, where=uri, fix="make data.seq_len smaller")
    return rows // sample_rows(packing)


def sample_rows(packing: Packing | None) -> int:
    """Rows that make a sample."""
    return 1 if packing is None else packing.length


def sample_schema(schema: pa.Schema, packing: Packing | None) -> pa.Schema:
    """The columns of a sample: those that are stored, or one of lists that are all as long."""
    if packing is None:
        return schema
    kind = schema.field(packing.column).type.value_type
    return pa.schema([pa.field(packing.column, pa.list_(kind, packing.length))])


def values(records: pa.RecordBatch, packing: Packing, count: int, *, where: str) -> pa.RecordBatch:
    """The values of a block, one a row, without a copy.

    Args:
        count: how many there should be.
        where: the block's address, for messages.

    Raises:
        DataError: there are others, or null is among them.
    """
    flat = records[packing.column].flatten()
    if len(flat) != count or flat.null_count:
        found = f"{len(flat)} values, and {flat.null_count} nulls among them"
        what = f"the lists of {packing.column} hold {found}, instead of {count}"
        raise DataError(what, where=where, fix="write lists without nulls, and index the data set again")
    return pa.record_batch([flat], names=[packing.column])
