"""What users write: a model, its optimizer and loss, and how a stored sample becomes a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.optim.lr_scheduler import LRScheduler

Sample = dict[str, Any]
Batch = Any


class Recipe:
    """Subclass this. A recipe knows nothing of Ray, workers or ranks.

    Required: `build_model`, `build_optimizer`, `loss`. Everything else has a default.

    Args:
        params: the job file's `params:`, as keyword arguments.
    """

    def __init__(self, **params: Any) -> None:
        for name, value in params.items():
            setattr(self, name, value)

    def build_model(self) -> torch.nn.Module:
        """The model, on the CPU, with its initial weights. Random streams are already seeded."""
        raise NotImplementedError("a recipe must define build_model(self)")

    def build_optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer over `model`'s parameters, which are already on their device."""
        raise NotImplementedError("a recipe must define build_optimizer(self, model)")

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
        """A learning-rate schedule that is stepped once per step, or None."""
        return None

    def decode(self, sample: Sample, rng: np.random.Generator) -> Any:
        """One stored sample → what `collate` takes. Runs in threads, ahead of and beside the training.

        With `data.decode.processes` it runs in processes, as do `collate` and `decode_batch`. Each has a
        recipe of its own, on which nothing but `__init__` was called.

        Draw augmentations from `rng`: it depends on the seed, the epoch and the sample alone.

        **Never draw from a global generator here** (`torch.rand`, `np.random.*`, `random.*`, and whatever
        library uses them inside): the training passes draw from the same ones at the same time. Both would
        then depend on timing, and the job would lose its promise about bits without any error. The same holds
        for `collate` and `decode_batch`.
        """
        return sample

    #: Define `decode_batch(self, records: pa.RecordBatch) -> Batch` to turn the rows of one micro-batch
    #: into a batch at once; `decode` and `collate` are then not called. Runs in a thread ahead of the
    #: training: **never draw from a global generator here**, see `decode`.
    decode_batch: Any = None

    def collate(self, samples: list[Any]) -> Batch:
        """Decoded samples → one micro-batch. Runs in a thread ahead of the training.

        **Never draw from a global generator here**, see `decode`.
        """
        from torch.utils.data import default_collate

        return default_collate(samples)

    def loss(
        self, model: torch.nn.Module, batch: Batch
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, Any]]:
        """Mean loss over the micro-batch; optionally with a dict of further scalars to log (means too).

        Call `model(...)` itself and not parts of it: it is wrapped, to collect gradients on the way.
        Global generators are seeded anew before each call: dropout and the like may draw from them.
        """
        raise NotImplementedError("a recipe must define loss(self, model, batch)")

    def evaluate(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Sums over a batch of the held-out set, and `count`, which they are divided by in the end.

        The same names for every batch; `model` is in evaluation mode, and gradients are off.
        """
        raise NotImplementedError("to evaluate, a recipe must define evaluate(self, model, batch)")

    def extra_state(self) -> dict[str, torch.Tensor]:
        """Further tensors to save, heal and digest with the model (a moving average, say).

        The live tensors, the same ones at each call: a saved state is copied into them. Change them once per
        step and not per pass, in `optimizer.register_step_post_hook`, say.
        """
        return {}
