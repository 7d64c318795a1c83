"""What is to be seen of a step, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any

#: In the order in which a step comes to them.
FindingKind = Literal["batch", "output", "loss", "gradient", "reduced"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The first non-finite number of a virtual rank's passes.

    Attributes:
        kind: where it is: in the batch; in a module's output; in the loss, though no output of a module has
            one; in a parameter's gradient, though the loss is finite; in a parameter's gradient over all
            virtual ranks, though each of theirs is finite.
        name: of the module or parameter, or the path in the batch; empty for the loss, and for the model
            itself.
        type: the module's class.
        value: "nan" or "inf".
    """

    kind: FindingKind
    name: str
    value: str
    type: str = ""

    def words(self) -> str:
        """As one says it."""
        name = self.name or "the model"
        where = {
            "batch": f"the batch, at {self.name or 'its root'}",
            "output": f"the output of {name} ({self.type})",
            "loss": "the loss itself: no output of a module has any",
            "gradient": f"the gradient of {self.name}: the loss is finite",
            "reduced": f"the gradient of {self.name} over all virtual ranks: each of theirs is finite",
        }
        return f"{self.value} in {where[self.kind]}"

    def json(self) -> dict[str, Json]:
        """Its fields."""
        return {"kind": self.kind, "name": self.name, "type": self.type, "value": self.value}


@dataclass(frozen=True, kw_only=True)
class VrankSight:
    """A virtual rank's part of a step.

    Attributes:
        count: its samples; 0 in a short last step of an epoch.
        loss, values: means over its samples, as the recipe returned them.
        gradient_norms: L2 norms of the gradient of its loss, by parameter in the order in which the backward
            pass came to them.
        finding: set where its loss or gradient is not finite.
        samples: where they are stored; empty where the recipe makes its own data.
    """

    vrank: int
    count: int
    loss: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    finding: Finding | None = None
    samples: Sequence[Mapping[str, Json]] = ()

    @property
    def gradient_norm(self) -> float:
        """Over all parameters."""
        return total(self.gradient_norms)

    def json(self, *, layers: bool) -> dict[str, Json]:
        """As JSON values.

        Args:
            layers: the norm of each parameter, too.
        """
        return {
            "vrank": self.vrank,
            "count": self.count,
            "loss": number(self.loss),
            "values": numbers(self.values),
            "gradient_norm": number(self.gradient_norm),
            "samples": [dict(sample) for sample in self.samples],
            "non_finite": self.finding.json() if self.finding else None,
        } | ({"gradient_norms": numbers(self.gradient_norms)} if layers else {})


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """What the first non-finite number comes from.

    Attributes:
        vrank: the lowest virtual rank that has one; None where only their sum does.
        positions: of samples in its micro-batch that have one each by itself; None where none has, or where
            that cannot be tried.
        mode: of the model, when those were run by themselves: "eval" or "train".
        samples: where those are stored.
    """

    finding: Finding
    vrank: int | None
    positions: tuple[int, ...] | None = None
    mode: str | None = None
    samples: Sequence[Mapping[str, Json]] = ()

    def json(self) -> dict[str, Json]:
        """As JSON values."""
        return {
            **self.finding.json(),
            "vrank": self.vrank,
            "narrowed_to": "sample" if self.positions is not None else "micro-batch",
            "positions": list(self.positions) if self.positions is not None else None,
            "mode": self.mode,
            "samples": [dict(sample) for sample in self.samples],
        }


@dataclass(frozen=True, kw_only=True)
class StepSight:
    """A step.

    Attributes:
        step: which one, counted from 1.
        asked: the one that was asked for; later where an earlier one is not finite.
        start: the step of the checkpoint that it was reached from; 0 for none.
        notes: what to know first: changes since then, checkpoints that were passed over.
        earlier: the first step on the way with a loss or gradient that is not finite, and was passed by.
        loss, values: of the whole step, as logged.
        gradient_norms: L2 norms of the reduced gradient before clipping, by parameter.
        damaged_state: parameters that were not finite before the step.
        state_digest: after the step.
        equal: whether that is the one of the job's own checkpoint of this step; None if there is none.
    """

    job: str
    step: int
    asked: int
    start: int
    epoch: int
    notes: Sequence[str]
    earlier: int | None
    loss: float
    values: Mapping[str, float]
    vranks: Sequence[VrankSight]
    gradient_norms: Mapping[str, float]
    damaged_state: Sequence[str]
    culprit: Culprit | None
    state_digest: str
    equal: bool | None

    def json(self, *, vrank: int | None = None, layers: bool = False) -> dict[str, Json]:
        """As JSON values; those that are not finite as "nan", "inf" and "-inf".

        Args:
            vrank: of the virtual ranks, this one alone.
            layers: gradient norms of the virtual ranks by parameter, too.
        """
        return {
            "job": self.job,
            "step": self.step,
            "asked": self.asked,
            "from": self.start,
            "epoch": self.epoch,
            "notes": list(self.notes),
            "earlier_non_finite_step": self.earlier,
            "loss": number(self.loss),
            "values": numbers(self.values),
            "vranks": [s.json(layers=layers) for s in self.vranks if vrank in (None, s.vrank)],
            "gradient_norm": number(total(self.gradient_norms)),
            "gradient_norms": numbers(self.gradient_norms),
            "non_finite_parameters_before": list(self.damaged_state),
            "first_non_finite": self.culprit.json() if self.culprit else None,
            "state_digest": self.state_digest,
            "equals_checkpoint": self.equal,
        }


def total(norms: Mapping[str, float]) -> float:
    """The L2 norm of what has these norms."""
    return math.sqrt(sum(norm * norm for norm in norms.values()))


def number(value: float | None) -> float | str | None:
    """For strict JSON."""
    return value if value is None or math.isfinite(value) else str(value)


def numbers(values: Mapping[str, float]) -> dict[str, float | str | None]:
    """For strict JSON."""
    return {name: number(value) for name, value in values.items()}
