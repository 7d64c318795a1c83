"""One copy of a job's whole state: model, buffers, optimizer, schedule and whatever else the recipe keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from workers.checkpoint.tensors import RawTensor, TensorSpec
from workers.digest import state_digest
from workers.errors import CheckpointError, RecipeError
from workers.numerics.randomness import seed_everything
from workers.patterns import chosen, nearest
from workers.recipe import Recipe
from workers.training import plain

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.complex64: "C64",
}  # fmt: skip
_TORCH_DTYPES = {name: dtype for dtype, name in _DTYPES.items()}
#: Slots that count steps or products over steps, in torch's optimizers.
_COUNTS = frozenset({"step", "mu_product"})


class Replica:
    """The state of a job after `step` committed steps, on one worker.

    Args:
        recipe: the user's recipe.
        seed: the job's seed; the initial weights depend on it alone.
        device: where the model lives.
        freeze: patterns of parameter names. These are not trained, as if `build_model` had turned
            `requires_grad` off.

    Raises:
        RecipeError: the recipe does not keep its contract, or a pattern matches no parameter.
    """

    def __init__(self, recipe: Recipe, seed: int, device: torch.device, freeze: Sequence[str] = ()) -> None:
        seed_everything("init", seed)
        self.recipe = recipe
        self.model = _checked(recipe.build_model(), nn.Module, "build_model").to(device)
        frozen = freeze_parameters(self.model, freeze)
        self.optimizer = _checked(
            recipe.build_optimizer(self.model), torch.optim.Optimizer, "build_optimizer"
        )
        self.schedule = _checked_schedule(recipe.build_schedule(self.optimizer))
        self.step = 0
        self._names = {parameter: name for name, parameter in self.model.named_parameters()}
        if not any(parameter.requires_grad for parameter in self._names):
            fix = "leave requires_grad on, and out of `freeze`, what is to be trained"
            raise RecipeError("the model of build_model has no parameter to train", fix=fix)
        if any(parameter.requires_grad for parameter in frozen):
            what = "build_optimizer turns requires_grad on again for what the job freezes"
            raise RecipeError(what, where="freeze", fix="leave it as it is there, or out of `freeze`")
        if any(parameter not in self._names for parameter in self._optimized()):
            raise RecipeError(
                "build_optimizer uses a parameter that is not in the model",
                fix="put every trained parameter into the module that build_model returns",
            )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by its key; live tensors, not copies.

        Buffers are all included, persistent or not: one that changes belongs to the state, whatever its flag.
        Tied parameters appear once, under the first of their names.
        """
        found = {f"model/{name}": tensor.detach() for name, tensor in self.model.named_parameters()}
        found |= {f"model/{name}": tensor for name, tensor in self.model.named_buffers()}
        for parameter, slots in self.optimizer.state.items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    found[f"optimizer/{self._names[parameter]}/{slot}"] = value
        return found | {f"extra/{name}": value for name, value in self.recipe.extra_state().items()}

    def specs(self) -> dict[str, TensorSpec]:
        """Key → dtype, shape, and whether training ever changes it."""
        frozen = {n for n, p in self.model.named_parameters() if not p.requires_grad}
        return {
            key: TensorSpec(dtype=_dtype_name(key, t), shape=tuple(t.shape), frozen=_parameter(key) in frozen)
            for key, t in self.tensors().items()
        }

    def steady_keys(self) -> set[str]:
        """Keys of what nothing but an update changes: parameters, and what the optimizer keeps of them."""
        parameters = {f"model/{name}" for name, _ in self.model.named_parameters()}
        return parameters | {key for key in self.tensors() if key.startswith("optimizer/")}

    def raw(self) -> dict[str, RawTensor]:
        """Every tensor as bytes: without a copy where it is contiguous and on the CPU."""
        return {key: to_raw(key, tensor) for key, tensor in self.tensors().items()}

    def digest(self) -> str:
        """The state digest."""
        return state_digest(self.raw())

    def scalars(self) -> dict[str, Any]:
        """All state that is not tensors, as JSON values.

        Raises:
            RecipeError: the schedule or the optimizer keeps something that JSON cannot hold.
        """
        schedule = self.schedule.state_dict() if self.schedule is not None else None
        groups = [
            {name: _unwrap(value) for name, value in group.items() if name != "params"}
            for group in self.optimizer.param_groups
        ]
        slots = {
            self._names[p]: {slot: v for slot, v in values.items() if not isinstance(v, Tensor)}
            for p, values in self.optimizer.state.items()
        }
        try:
            return {
                "schedule": plain.encode(schedule, "build_schedule's state"),
                "optimizer_groups": plain.encode(groups, "optimizer.param_groups"),
                "optimizer_slots": plain.encode({n: s for n, s in slots.items() if s}, "optimizer.state"),
            }
        except plain.NotPlain as error:
            raise RecipeError(
                f"state that cannot be saved: {error}", fix="keep numbers, strings, lists, dicts and tensors"
            ) from error

    def adopt(
        self, tensors: Mapping[str, RawTensor], scalars: Mapping[str, Any], step: int, *, own: bool = False
    ) -> None:
        """Take over a saved state, in place.

        Args:
            tensors: all of them, by key.
            scalars: all else.
            step: after how many steps it is the state.
            own: each tensor's bytes are in memory that is nobody else's and may be kept.

        Raises:
            CheckpointError: its tensors are not those of this recipe.
        """
        _check_same_tensors(self._fixed(), tensors)
        self.fill({key: raw for key, raw in tensors.items() if not key.startswith("optimizer/")})
        self._adopt_optimizer(tensors, plain.decode(dict(scalars)), own)
        self.step = step

    def fill(self, tensors: Mapping[str, RawTensor]) -> None:
        """Copy bytes into some `model/` and `extra/` tensors. They must have their types and shapes."""
        own = self._fixed()
        with torch.no_grad():
            for key, raw in tensors.items():
                own[key].copy_(view_raw(raw))

    def _fixed(self) -> dict[str, Tensor]:
        """The tensors that are there from the start, unlike the optimizer's."""
        model = {f"model/{n}": t for n, t in [*self.model.named_parameters(), *self.model.named_buffers()]}
        return model | {f"extra/{name}": tensor for name, tensor in self.recipe.extra_state().items()}

    def _adopt_optimizer(
        self, tensors: Mapping[str, RawTensor], scalars: Mapping[str, Any], own: bool
    ) -> None:
        slots = {name: dict(values) for name, values in scalars["optimizer_slots"].items()}
        by_name = {name: parameter for parameter, name in self._names.items()}
        counts_on_cpu = {  # where torch keeps step counts, unless asked otherwise
            self._names[parameter]
            for group in self.optimizer.param_groups
            if not (group.get("fused") or group.get("capturable"))
            for parameter in group["params"]
        }
        for key, raw in tensors.items():
            if key.startswith("optimizer/"):
                name, slot = key.removeprefix("optimizer/").rsplit("/", 1)
                value, parameter = view_raw(raw) if own else from_raw(raw), by_name[name]
                if slot not in _COUNTS or name not in counts_on_cpu:
                    value = _laid_out_like(parameter, value)
                slots.setdefault(name, {})[slot] = value
        self.optimizer.state.clear()
        for name, values in slots.items():
            self.optimizer.state[by_name[name]] = values
        for group, saved in zip(self.optimizer.param_groups, scalars["optimizer_groups"], strict=True):
            for name, value in saved.items():
                if isinstance(group.get(name), Tensor):
                    group[name].fill_(value)
                else:
                    group[name] = value
        if self.schedule is not None:
            self.schedule.load_state_dict(scalars["schedule"])

    def _optimized(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> list[Tensor]:
    """Turn `requires_grad` off for the parameters that have a name that matches; returns them.

    Raises:
        RecipeError: patterns that match nothing.
    """
    named = dict(model.named_parameters(remove_duplicate=False))  # a tied one has several names
    names, idle = chosen(patterns, named)
    if idle:
        said = "; ".join(f"{pattern} matches no parameter{nearest(pattern, named)}" for pattern in idle)
        fix = "use names as model.named_parameters() gives them, without `model/`"
        raise RecipeError(said, where="freeze", fix=fix)
    return [named[name].requires_grad_(False) for name in sorted(names)]


def to_raw(key: str, tensor: Tensor) -> RawTensor:
    """A tensor's bytes, little-endian and contiguous; shares memory with a contiguous CPU tensor."""
    data = octets(tensor).cpu().numpy().data
    return RawTensor(dtype=_dtype_name(key, tensor), shape=tuple(tensor.shape), data=data)


def octets(tensor: Tensor) -> Tensor:
    """A tensor's bytes in C order, flat and where it is; they share its memory if that is in this order."""
    settled = tensor.detach().resolve_conj().resolve_neg()  # torch may conjugate and negate lazily
    return settled.contiguous().reshape(-1).view(torch.uint8)


def from_raw(raw: RawTensor) -> Tensor:
    """A fresh CPU tensor with a copy of these bytes."""
    flat = torch.empty(len(raw.data), dtype=torch.uint8)
    flat.numpy()[:] = np.frombuffer(raw.data, dtype=np.uint8)
    return _as_tensor(flat, raw)


def view_raw(raw: RawTensor) -> Tensor:
    """A CPU tensor of these bytes; it shares their memory if that may be written to."""
    if raw.data.readonly or not len(raw.data):
        return from_raw(raw)
    return _as_tensor(torch.frombuffer(raw.data, dtype=torch.uint8), raw)


def _as_tensor(flat: Tensor, raw: RawTensor) -> Tensor:
    return flat.view(_TORCH_DTYPES[raw.dtype]).reshape(raw.shape)


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Where and how an optimizer lays out a slot: like its parameter, if they have the same shape.

    Kernels run in memory order, and their vectorised and their scalar parts may round differently.
    """
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    if value.device == parameter.device and value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parameter(key: str) -> str | None:
    """Whose tensor a key names: a parameter's (or buffer's) own, or one of its optimizer's slots."""
    kind, _, name = key.partition("/")
    return {"model": name, "optimizer": name.rpartition("/")[0]}.get(kind)


def _dtype_name(key: str, tensor: Tensor) -> str:
    if tensor.dtype not in _DTYPES:
        raise RecipeError(f"tensors of type {tensor.dtype} cannot be saved", where=key)
    return _DTYPES[tensor.dtype]


def _unwrap(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _checked(value: Any, kind: type, method: str) -> Any:
    if not isinstance(value, kind):
        raise RecipeError(
            f"{method} returned a {type(value).__name__}", fix=f"return a torch {kind.__name__}"
        )
    return value


def _checked_schedule(schedule: Any) -> LRScheduler | None:
    if schedule is None:
        return None
    if isinstance(schedule, ReduceLROnPlateau):
        fix = "use a schedule that depends on the step alone"
        raise RecipeError("build_schedule returned a ReduceLROnPlateau, which needs a metric", fix=fix)
    checked: LRScheduler = _checked(schedule, LRScheduler, "build_schedule")
    return checked


def _check_same_tensors(own: Mapping[str, Tensor], saved: Mapping[str, RawTensor]) -> None:
    theirs = {key for key in saved if not key.startswith("optimizer/")}
    for problem, keys in (("lacks", own.keys() - theirs), ("has an unknown", theirs - own.keys())):
        if keys:
            raise CheckpointError(
                f"the checkpoint {problem} {min(keys)}", fix="resume with the recipe that wrote it"
            )
    for key, tensor in own.items():
        if tuple(tensor.shape) != tuple(saved[key].shape) or _dtype_name(key, tensor) != saved[key].dtype:
            raise CheckpointError(
                f"{key} is {saved[key].dtype} {tuple(saved[key].shape)} in the checkpoint "
                f"and {_dtype_name(key, tensor)} {tuple(tensor.shape)} in the recipe",
                fix="resume with the recipe that wrote it",
            )
