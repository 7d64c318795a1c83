"""What a worker copies is the state of that moment, whatever training does to it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.checkpoints import folder_store
from workers.checkpoint.objects import chunk_name
from workers.recipe import Recipe
from workers.training.replica import Replica
from workers.training.share import Share
from workers.training.staging import Staging

CPU = torch.device("cpu")


class Mixed(Recipe):
    """Tensors of several types and layouts, frozen ones, a scalar, an empty one, buffers, and one beside."""

    def build_model(self) -> torch.nn.Module:
        model = torch.nn.Module()
        model.big = torch.nn.Parameter(torch.randn(300, 1000).t())
        model.brief = torch.nn.Parameter(torch.randn(7, 3).bfloat16())
        model.frozen = torch.nn.Parameter(torch.randn(1000, 300), requires_grad=False)
        model.scalar = torch.nn.Parameter(torch.tensor(0.5))
        model.register_buffer("count", torch.tensor(3))
        model.register_buffer("mask", torch.tensor([True, False, True]))
        model.register_buffer("nothing", torch.empty(0, 4))
        model.register_buffer("wave", torch.randn(5, dtype=torch.complex64).conj())
        self._beside = torch.randn(9)
        return model

    def build_optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)

    def extra_state(self) -> dict[str, torch.Tensor]:
        return {"ema": self._beside}

    def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        raise NotImplementedError


@pytest.fixture
def replica() -> Replica:
    replica = Replica(Mixed(), 7, CPU)
    update(replica)
    return replica


def update(replica: Replica) -> None:
    for parameter in replica.model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    replica.optimizer.step()


def touch_buffers(replica: Replica) -> None:
    """What a forward pass may do."""
    replica.model.count += 1
    replica.recipe.extra_state()["ema"].mul_(0.9)


def written(share: Share, folder: Path) -> dict[int, dict[str, Any]]:
    return dict(share.write(folder_store(folder), set(), lambda: False).records)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shares_make_up_the_state_of_the_moment_at_which_they_were_made(
    replica: Replica, tmp_path: Path, world: int
) -> None:
    expected = replica.digest()
    whole = Share(replica, Staging(pinned=False), 0, 1)
    whole.copy()
    whole.copy_rest()
    alone = written(whole, tmp_path / "alone")
    shares = [Share(replica, Staging(pinned=False), rank, world) for rank in range(world)]
    for share in shares:
        share.copy()
    touch_buffers(replica)
    for share in shares:
        share.copy_rest()
    update(replica)
    touch_buffers(replica)
    together: dict[int, dict[str, Any]] = {}
    for share in shares:
        together |= written(share, tmp_path / "together")
    assert shares[0].digest() == whole.digest() == expected != replica.digest()
    assert together == alone
    for record in alone.values():
        name = chunk_name(record["sha256"])
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


def test_a_share_is_as_large_as_what_is_written_and_memory_is_kept(replica: Replica) -> None:
    staging = Staging(pinned=False)
    Share(replica, staging, 1, 3).copy()
    size = staging.nbytes
    everything = sum(spec.nbytes for spec in replica.specs().values())
    assert size < everything / 2
    begin = staging._memory.data_ptr()
    update(replica)
    Share(replica, staging, 1, 3).copy()
    assert (staging.nbytes, staging._memory.data_ptr()) == (size, begin)
