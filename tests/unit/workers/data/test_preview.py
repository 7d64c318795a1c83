"""A preview says what is in the first samples, in words that fit on a line and into JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.datasets import number_set
from workers.data.dataset import Dataset
from workers.data.preview import _said, preview
from workers.data.shards import write_shards


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, format="PNG")
    return file.getvalue()


def cells(folder: Path, schema: pa.Schema, sample: dict[str, Any]) -> dict[str, Any]:
    write_shards([sample], schema, folder.as_uri())
    [found] = preview(Dataset.open(folder.as_uri()), 5)
    columns: dict[str, Any] = found["columns"]
    json.dumps(found, allow_nan=False)
    return columns


def test_every_kind_of_column_is_described(tmp_path: Path) -> None:
    schema = pa.schema(
        {
            "image": pa.large_binary(),
            "caption": pa.binary(),
            "raw": pa.binary(),
            "title": pa.string(),
            "tokens": pa.list_(pa.int32()),
            "score": pa.float64(),
            "bad": pa.float32(),
            "label": pa.int8(),
            "right": pa.bool_(),
            "none": pa.int8(),
            "box": pa.struct({"x": pa.int32()}),
        }
    )
    sample = {
        "image": png(7, 5),
        "caption": "Grüße\naus\x1b[31m".encode()[:12],
        "raw": bytes(range(200, 256)),
        "title": "x" * 100,
        "tokens": list(range(20)),
        "score": 0.5,
        "bad": float("nan"),
        "label": 3,
        "right": True,
        "none": None,
        "box": {"x": 4},
    }
    assert cells(tmp_path, schema, sample) == {
        "image": {"type": "large_binary", "bytes": len(sample["image"]), "image": [7, 5]},
        "caption": {"type": "binary", "bytes": 12, "hex": sample["caption"].hex()},
        "raw": {"type": "binary", "bytes": 56, "hex": bytes(range(200, 216)).hex()},
        "title": {"type": "string", "characters": 100, "text": "x" * 60 + "…"},
        "tokens": {
            "type": "list<item: int32>",
            "length": 20,
            "items": [str(n) for n in range(8)],
        },
        "score": {"type": "double", "value": 0.5},
        "bad": {"type": "float", "value": "nan"},
        "label": {"type": "int8", "value": 3},
        "right": {"type": "bool", "value": True},
        "none": {"type": "int8", "value": None},
        "box": {"type": "struct<x: int32>", "text": "{'x': 4}"},
    }


@given(text=st.text(max_size=400))
def test_bytes_that_are_text_are_shown_as_its_beginning_wherever_that_is_cut(text: str) -> None:
    said = _said(text.encode())
    if all(char.isprintable() or char.isspace() for char in text):
        assert said["text"].removesuffix("…") == "".join(c if c.isprintable() else " " for c in text[:60])
    assert all(char.isprintable() for char in said.get("text", ""))


def test_samples_come_in_stored_order_with_their_places(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, 50)
    found = preview(dataset, 30)
    assert [sample["columns"]["number"]["value"] for sample in found] == list(range(30))
    assert (found[0]["object"], found[0]["row"]) == ("shard-00000.arrow", 0)
    assert len(preview(dataset, 10**9)) == 50
    assert preview(dataset, 0) == []


def test_no_more_bytes_are_read_than_allowed(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, 50)
    lengths, rows = dataset.manifest.lengths, dataset.manifest.block_rows
    two = int(lengths[:2].sum())
    assert len(preview(dataset, 50, bytes_max=two)) == int(rows[:2].sum())
    assert len(preview(dataset, 50, bytes_max=two - 1)) == rows[0]
    assert preview(dataset, 50, bytes_max=int(lengths[0]) - 1) == []
