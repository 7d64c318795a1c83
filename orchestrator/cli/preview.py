"""The first samples of a data set, for `lockstep data show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli.format import plural, size

if TYPE_CHECKING:
    from workers.data.dataset import Dataset

#: What is shown without being asked for: it takes a moment even from a store that is far away.
SAMPLES, BYTES_MAX = 3, 32 << 20


def first_samples(dataset: Dataset, samples: int | None) -> tuple[list[dict[str, Any]], str | None]:
    """See `workers.data.preview`; and if there are none, why: the rest is worth showing all the same.

    Args:
        samples: how many, however large they are; `SAMPLES`, within `BYTES_MAX`, if not given.
    """
    from workers.data.preview import preview
    from workers.errors import LockstepError

    count, limit = (SAMPLES, BYTES_MAX) if samples is None else (samples, None)
    try:
        found = preview(dataset, count, bytes_max=limit)
    except LockstepError as error:
        return [], str(error)
    if count and not found:
        return [], f"the first block has more than {size(BYTES_MAX)}; ask with --samples"
    return found, None


def sample_line(sample: dict[str, Any]) -> str:
    """A sample in one line."""
    columns = ", ".join(f"{name}: {_cell(cell)}" for name, cell in sample["columns"].items())
    return f"{sample['object']} row {sample['row']}: {columns}"


def _cell(cell: dict[str, Any]) -> str:
    words = [cell["type"]]
    if "bytes" in cell:
        words.append(f"of {size(cell['bytes'])}")
    if "length" in cell:
        words.append(f"of {plural(cell['length'], 'item')}")
    if "image" in cell:
        words.append("image of {} × {}".format(*cell["image"]))
    if "text" in cell:
        words.append(repr(cell["text"]))
    if "hex" in cell:
        words.append(f"0x{cell['hex']}")
    if "items" in cell:
        more = ", …" if cell["length"] > len(cell["items"]) else ""
        words.append(f"[{', '.join(cell['items'])}{more}]")
    if "value" in cell:
        words.append(str(cell["value"]))
    return " ".join(words)
