"""Writes what a step was given and what came of it: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from workers.checkpoint import safetensors_file
from workers.checkpoint.tensors import RawTensor
from workers.errors import AccessError, RecipeError
from workers.recipe import Batch
from workers.replay.finite import leaves
from workers.training.replica import to_raw

#: Of a value that is no tensor.
_WORDS_MAX = 200


class FolderKeeper:
    """Keeps a step in a folder (`workers.replay.watch.Keeper`).

    gradients.safetensors      gradient/<parameter>: of the step, before clipping
    vrank-0003.safetensors     batch/<path>, inputs/<path>, gradient/<parameter>: of one virtual rank
    step.json                  what is to be seen of the step, and parts of batches that are not tensors

    Args:
        folder: is made if need be; files of these names are replaced.
        vrank: keep this virtual rank alone.

    Raises:
        AccessError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, vrank: int | None = None) -> None:
        self._folder, self._vrank = folder, vrank
        self._tensors: dict[int | None, dict[str, RawTensor]] = {}
        self._others: dict[str, dict[str, Any]] = {}
        self._write("step.json", b"")

    def batch(self, vrank: int, batch: Batch) -> None:
        """See `Keeper.batch`."""
        self._keep(vrank, "batch", batch)

    def inputs(self, vrank: int, inputs: Any) -> None:
        """See `Keeper.inputs`; of several calls, the last."""
        self._keep(vrank, "inputs", inputs)

    def gradient(self, vrank: int | None, name: str, gradient: Tensor) -> None:
        """See `Keeper.gradient`."""
        if vrank is None or self._is_kept(vrank):
            self._add(vrank, f"gradient/{name}", gradient)

    def ends(self, vrank: int) -> None:
        """See `Keeper.ends`."""
        if self._is_kept(vrank):
            self._flush(vrank, f"vrank-{vrank:04d}.safetensors")

    def close(self, sight: dict[str, Any]) -> None:
        """Write what belongs to no virtual rank.

        Args:
            sight: `StepSight.json()`.
        """
        self._flush(None, "gradients.safetensors")
        text = json.dumps({**sight, "not_tensors": self._others}, indent=1, allow_nan=False)
        self._write("step.json", text.encode())

    def _is_kept(self, vrank: int) -> bool:
        return self._vrank in (None, vrank)

    def _keep(self, vrank: int, kind: str, value: Any) -> None:
        if not self._is_kept(vrank):
            return
        for path, leaf in leaves(value, kind):
            if isinstance(leaf, Tensor):
                self._add(vrank, path, leaf)
            else:
                self._describe(vrank, path, leaf)

    def _add(self, vrank: int | None, key: str, tensor: Tensor) -> None:
        try:
            raw = to_raw(key, tensor)
        except (RecipeError, RuntimeError):  # of a type or layout that safetensors does not have
            self._describe(vrank, key, tensor)
            return
        copy = memoryview(bytes(raw.data))  # recipes may write into a batch, and DDP does into gradients
        self._tensors.setdefault(vrank, {})[key] = RawTensor(dtype=raw.dtype, shape=raw.shape, data=copy)

    def _describe(self, vrank: int | None, path: str, value: Any) -> None:
        name = "step" if vrank is None else f"vrank {vrank}"
        said = repr(value)[:_WORDS_MAX]
        self._others.setdefault(name, {})[path] = {"type": type(value).__name__, "value": said}

    def _flush(self, vrank: int | None, name: str) -> None:
        self._write(name, b"".join(safetensors_file.encode(self._tensors.pop(vrank, {}))))

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(data)
        except OSError as error:
            fix = "choose a folder that can be written to, with enough space"
            raise AccessError(error.strerror or str(error), where=str(self._folder), fix=fix) from error
