"""Columns whose cells are lists of integers, tokens mostly, and how many values they hold."""

from __future__ import annotations

import pyarrow as pa


def is_list_of_integers(kind: pa.DataType) -> bool:
    """Whether a column of this type can be packed."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in lists) and pa.types.is_integer(kind.value_type)


def counted_columns(schema: pa.Schema) -> list[str]:
    """The columns whose values are counted, block by block: lists of integers, of no fixed length."""
    return [
        field.name
        for field in schema
        if is_list_of_integers(field.type) and not pa.types.is_fixed_size_list(field.type)
    ]


def count_values(batch: pa.RecordBatch) -> dict[str, int]:
    """How many values the lists of each such column hold."""
    return {name: len(batch[name].flatten()) for name in counted_columns(batch.schema)}
