"""A replica's state survives being taken down to bytes: what follows has the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler as lrs

from workers import Recipe
from workers.errors import CheckpointError, RecipeError
from workers.training.replica import Replica, from_raw, to_raw

CPU = torch.device("cpu")
Make = Callable[..., Any]


class Net(nn.Module):
    """Odd things that models have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.head.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.temperature = nn.Parameter(torch.tensor(2.0))  # 0-dim
        self.nothing = nn.Parameter(torch.empty(0, 3))
        self.register_buffer("mask", torch.tensor([True, False, True, True]), persistent=False)
        self.register_buffer("absent", None)
        self.register_buffer("sideways", torch.arange(6.0).view(2, 3).t())  # not contiguous
        self.to(memory_format=torch.channels_last)

    def forward(self, batch: Tensor) -> Tensor:
        pooled = self.norm(self.conv(batch)).mean((2, 3))
        return self.frozen(self.tied(self.head(pooled).tanh())) * self.mask / self.temperature


class Toy(Recipe):
    optimizer: Make = staticmethod(lambda parameters: optim.SGD(parameters, lr=0.1))
    schedule: Make = staticmethod(lambda optimizer: None)

    def build_model(self) -> nn.Module:
        self.average = torch.zeros((), dtype=torch.float64)
        return Net()

    def build_optimizer(self, model: nn.Module) -> optim.Optimizer:
        model_parameters = dict(model.named_parameters())
        head = [p for name, p in model_parameters.items() if name.startswith("head")]
        rest = [p for name, p in model_parameters.items() if not name.startswith("head")]
        made: optim.Optimizer = self.optimizer([{"params": rest}, {"params": head, "lr": 0.05}])
        return made

    def build_schedule(self, optimizer: optim.Optimizer) -> Any:
        return self.schedule(optimizer)

    def extra_state(self) -> dict[str, Tensor]:
        return {"average": self.average}


def replica(optimizer: Make = Toy.optimizer, schedule: Make = Toy.schedule, seed: int = 0) -> Replica:
    return Replica(Toy(optimizer=optimizer, schedule=schedule), seed, CPU)


def train(one: Replica, steps: int) -> Replica:
    for _ in range(steps):
        generator = torch.Generator().manual_seed(one.step)
        one.model(torch.randn(3, 2, 4, 4, generator=generator)).square().mean().backward()
        one.optimizer.step()
        one.model.zero_grad(set_to_none=True)
        one.recipe.average += 1.5
        if one.schedule is not None:
            one.schedule.step()
        one.step += 1
    return one


def handed_over(one: Replica, other: Replica) -> Replica:
    """Everything through bytes and strict JSON, as through a checkpoint."""
    scalars = json.loads(json.dumps(one.scalars(), allow_nan=False))
    tensors = {key: to_raw(key, from_raw(raw)) for key, raw in one.raw().items()}
    other.adopt(tensors, scalars, one.step)
    return other


def layouts(one: Replica) -> dict[str, tuple[int, ...]]:
    return {key: tensor.stride() for key, tensor in one.tensors().items()}


OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "tensor learning rate": lambda p: optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "AdamW amsgrad": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "fused": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "ASGD": lambda p: optim.ASGD(p, lr=0.01),
    "Rprop": lambda p: optim.Rprop(p, lr=0.01),
}

SCHEDULES: dict[str, Make] = {
    "none": lambda o: None,
    "StepLR": lambda o: lrs.StepLR(o, 2),
    "MultiStepLR": lambda o: lrs.MultiStepLR(o, [1, 3, 3, 5], gamma=0.3),
    "ConstantLR": lambda o: lrs.ConstantLR(o, total_iters=4),
    "LinearLR": lambda o: lrs.LinearLR(o, total_iters=5),
    "ExponentialLR": lambda o: lrs.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lrs.PolynomialLR(o, 9, power=2.0),
    "CosineAnnealingLR": lambda o: lrs.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 2, 2),
    "LambdaLR": lambda o: lrs.LambdaLR(o, lambda step: 0.95**step),
    "MultiplicativeLR": lambda o: lrs.MultiplicativeLR(o, lambda step: 0.9),
    "CyclicLR": lambda o: lrs.CyclicLR(o, 0.001, 0.1, 2, 3, cycle_momentum=False),
    "OneCycleLR": lambda o: lrs.OneCycleLR(o, 0.1, total_steps=12),
    "ChainedScheduler": lambda o: lrs.ChainedScheduler(
        [lrs.ConstantLR(o, total_iters=3), lrs.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR": lambda o: lrs.SequentialLR(
        o, [lrs.LinearLR(o, total_iters=3), lrs.CosineAnnealingLR(o, 5)], milestones=[3]
    ),
}


@pytest.mark.parametrize("at", [0, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_goes_on_with_the_same_bits_for_every_optimizer(optimizer, at):
    one = train(replica(optimizer), at)
    other = handed_over(one, train(replica(optimizer, seed=1), 2))
    assert other.digest() == one.digest()
    assert layouts(other) == layouts(one)
    assert train(other, 3).digest() == train(one, 3).digest()
    assert other.scalars() == one.scalars()


@pytest.mark.parametrize("at", [0, 4])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_training_goes_on_with_the_same_bits_for_every_schedule(schedule, at):
    one = train(replica(OPTIMIZERS["momentum"], schedule), at)
    other = handed_over(one, replica(OPTIMIZERS["momentum"], schedule, seed=1))
    assert other.scalars() == one.scalars()
    for _ in range(4):
        assert train(other, 1).digest() == train(one, 1).digest()
        assert [g["lr"] for g in other.optimizer.param_groups] == [
            g["lr"] for g in one.optimizer.param_groups
        ]


def test_every_tensor_is_in_the_state_once():
    keys = set(train(replica(OPTIMIZERS["momentum"]), 1).tensors())
    assert {"model/norm.num_batches_tracked", "model/mask", "model/sideways", "extra/average"} <= keys
    assert "model/head.weight" in keys
    assert "model/tied.weight" not in keys
    assert {key for key in keys if key.startswith("optimizer/frozen")} == set()


def test_only_parameters_that_are_never_trained_are_frozen():
    frozen = {key for key, spec in replica().specs().items() if spec.frozen}
    assert frozen == {"model/frozen.weight", "model/frozen.bias"}


@pytest.mark.parametrize("optimizer", ["AdamW amsgrad", "Adagrad", "momentum"])
def test_what_a_job_freezes_keeps_its_bits_and_has_no_part_in_an_update(optimizer):
    frozen = Replica(Toy(optimizer=OPTIMIZERS[optimizer]), 0, CPU, ["conv.*", "*.bias"])
    before = {key: bytes(raw.data) for key, raw in frozen.raw().items()}
    after = {key: bytes(raw.data) for key, raw in train(frozen, 3).raw().items()}
    still = {key for key, spec in frozen.specs().items() if spec.frozen}
    assert {key for key in still if key.startswith("model/")} == {
        *("model/conv.weight", "model/conv.bias", "model/norm.bias", "model/head.bias"),
        *("model/frozen.weight", "model/frozen.bias"),
    }
    assert {key: after[key] for key in still} == {key: before[key] for key in still}
    assert after["model/head.weight"] != before["model/head.weight"]
    # Adagrad makes a state of every parameter at once, and never touches it where there is no gradient.
    slots = {key for key in after if key.startswith("optimizer/conv")}
    assert slots == (still & slots if optimizer == "Adagrad" else set())


def test_statistics_of_a_frozen_layer_are_no_parameters_and_go_on():
    one = Replica(Toy(), 0, CPU, ["norm.*"])
    before = one.model.norm.running_mean.clone()
    train(one, 1)
    assert not one.specs()["model/norm.running_mean"].frozen
    assert not torch.equal(one.model.norm.running_mean, before)


def test_a_tied_parameter_is_frozen_by_each_of_its_names():
    frozen = {key for key, spec in Replica(Toy(), 0, CPU, ["tied.weight"]).specs().items() if spec.frozen}
    assert "model/head.weight" in frozen


def test_freezing_what_is_not_there_is_refused_with_the_nearest_name_all_at_once():
    with pytest.raises(RecipeError) as caught:
        Replica(Toy(), 0, CPU, ["conv.*", "haed.*", "model/conv.weight"])
    said = str(caught.value)
    assert "freeze: haed.* matches no parameter; the nearest is head.bias" in said
    assert "model/conv.weight matches no parameter; the nearest is conv.weight" in said
    assert "conv.* matches" not in said


def test_freezing_everything_leaves_nothing_to_train():
    with pytest.raises(RecipeError, match="no parameter to train"):
        Replica(Toy(), 0, CPU, ["*"])


def test_an_optimizer_does_not_thaw_what_the_job_freezes():
    class Thawing(Toy):
        def build_optimizer(self, model: nn.Module) -> optim.Optimizer:
            return super().build_optimizer(model.requires_grad_(True))

    with pytest.raises(RecipeError, match="turns requires_grad on again"):
        Replica(Thawing(), 0, CPU, ["conv.*"])


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(99)
    first = replica().digest()
    torch.rand(7)
    assert replica().digest() == first
    assert replica(seed=1).digest() != first


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5),
        torch.empty(0),
        torch.empty(3, 0, 2, dtype=torch.int64),
        torch.arange(24).view(2, 3, 4).permute(2, 0, 1),
        torch.arange(10, dtype=torch.int16)[::3],
        torch.linspace(-1.1, 1.7, 5)[1:],
        torch.tensor([True, False]),
        torch.linspace(-1.1, 1.7, 3, dtype=torch.bfloat16),
        torch.linspace(-1.1, 1.7, 3).to(torch.float8_e4m3fn),
        torch.tensor([1, 65535], dtype=torch.uint16),
        torch.linspace(-1.1 + 0.3j, 1.7 - 2j, 3, dtype=torch.complex64).conj(),
        torch.linspace(-1.1, 1.7, 2)[:, None].expand(2, 3),
        torch.tensor([float("nan"), -0.0, float("inf")]),
        nn.Parameter(torch.ones(2)),
    ],
    ids=str,
)
def test_any_tensor_comes_back_from_its_bytes(tensor):
    raw = to_raw("x", tensor)
    back = from_raw(raw)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert bytes(to_raw("x", back).data) == bytes(raw.data)
    assert repr(back.tolist()) == repr(tensor.tolist())


def test_a_contiguous_tensor_is_not_copied():
    tensor = torch.zeros(4)
    raw = to_raw("x", tensor)
    tensor += 1
    assert bytes(raw.data) == bytes(torch.ones(4).numpy().data)


def test_tensors_that_cannot_be_stored_are_refused_by_key():
    with pytest.raises(RecipeError, match="model/x: tensors of type"):
        to_raw("model/x", torch.zeros(1, dtype=torch.complex128))


def change(raw: dict[str, Any], key: str, tensor: Tensor | None) -> dict[str, Any]:
    changed = {k: v for k, v in raw.items() if k != key}
    return changed if tensor is None else {**changed, key: to_raw(key, tensor)}


@pytest.mark.parametrize(
    ("key", "tensor", "words"),
    [
        ("model/head.bias", None, "lacks model/head.bias"),
        ("model/other", torch.zeros(1), "unknown model/other"),
        ("model/head.bias", torch.zeros(5), r"F32 \(5,\) in the checkpoint and F32 \(4,\)"),
        ("model/head.bias", torch.zeros(4, dtype=torch.float64), "F64"),
        ("extra/average", None, "lacks extra/average"),
    ],
)
def test_another_recipes_state_is_refused_and_nothing_is_changed(key, tensor, words):
    one, other = train(replica(), 1), replica(seed=1)
    before = other.digest()
    with pytest.raises(CheckpointError, match=words):
        other.adopt(change(one.raw(), key, tensor), one.scalars(), 1)
    assert other.digest() == before


class Odd(Toy):
    """Breaks one part of the contract."""

    part = ""

    def build_model(self) -> Any:
        if self.part == "frozen":
            return nn.Linear(1, 1).requires_grad_(False)
        return "a model" if self.part == "model" else super().build_model()

    def build_optimizer(self, model: nn.Module) -> Any:
        if self.part == "stranger":
            return optim.SGD([nn.Parameter(torch.ones(1))])
        return "an optimizer" if self.part == "optimizer" else optim.SGD(model.parameters(), lr=1.0)

    def build_schedule(self, optimizer: optim.Optimizer) -> Any:
        if self.part == "plateau":
            return lrs.ReduceLROnPlateau(optimizer)
        return "a schedule" if self.part == "schedule" else None


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("model", "build_model returned a str"),
        ("optimizer", "build_optimizer returned a str"),
        ("schedule", "build_schedule returned a str"),
        ("plateau", "needs a metric"),
        ("stranger", "a parameter that is not in the model"),
        ("frozen", "no parameter to train"),
    ],
)
def test_a_recipe_that_breaks_its_contract_is_told_so(part, words):
    with pytest.raises(RecipeError, match=words):
        Replica(Odd(part=part), 0, CPU)


def test_state_that_json_cannot_hold_is_refused_by_name():
    one = train(replica(), 1)
    one.optimizer.state[next(one.model.parameters())]["history"] = {torch.zeros(1)}
    with pytest.raises(RecipeError, match=r"optimizer\.state\.temperature\.history is a set"):
        one.scalars()
