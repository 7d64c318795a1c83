"""DistributedDataParallel, fed one virtual rank at a time.

`ElasticDDP` keeps DDP's buckets and their overlap with the backward pass, and replaces its all-reduce by the
fixed tree. `FastDDP` is stock DDP. Both leave the mean gradient in `parameter.grad`.

DDP rebuilds its buckets after the first backward pass, so a replica is warmed up with two discarded passes:
the rebuild then never falls into a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workers.exchange import Exchange
from workers.generation import join_own_group
from workers.reduction import Reduction, TreeReducer
from workers.tree import Accumulator, Node, Path, merges

Gradients = list[Tensor]


class GradientReducer(Protocol):
    """What a step needs of either kind."""

    module: nn.Module  # what the recipe's `loss` calls

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """What to multiply a virtual rank's mean loss with before its backward pass; None for 1."""

    def passes(self, vrank: int) -> AbstractContextManager[None]:
        """Forward and backward pass of one hosted virtual rank, in ascending order."""

    def skip(self, vrank: int) -> None:
        """In place of the passes of a virtual rank that has no sample in this step."""

    def finish(self, divisor: float) -> None:
        """After the last hosted virtual rank: reduce over all workers and divide once."""


class ElasticDDP:
    """DDP whose communication hook reduces over the fixed tree of virtual ranks.

    DDP itself lives in a group of one, so none of its own collectives can ever wait for another worker, and it
    outlives every generation: membership is a matter of the hook's exchange alone.
    """

    def __init__(self, model: nn.Module, *, unused_parameters: bool = False) -> None:
        join_own_group()
        self.module = DistributedDataParallel(
            model, gradient_as_bucket_view=True, find_unused_parameters=unused_parameters
        )
        self.module.register_comm_hook(None, lambda _, bucket: self._hook(bucket))  # it reads names and annotations
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._index = {parameter: i for i, parameter in enumerate(self._parameters)}
        self._layout: dict[int, list[int]] = {}  # bucket → its parameters, in order
        self._extra: dict[tuple[int, Node], Tensor] = {}
        self._reducer: TreeReducer | None = None
        self._hosted: Sequence[int] = ()
        self._started: list[Reduction] = []
        self._local: Accumulator[Gradients]
        self._path: Path

    def join(self, exchange: Exchange, hosted: Sequence[Sequence[int]]) -> None:
        """From now on reduce among the members of this generation."""
        self._reducer = TreeReducer(exchange, hosted)
        self._hosted = hosted[exchange.rank]
        self._path = merges(self._hosted[-1], self._hosted, self._reducer.leaves)
        self._begin()

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """The tree sums means when all virtual ranks have equally many samples, else sums of samples."""
        return None if full else float(count)

    @contextmanager
    def passes(self, vrank: int) -> Iterator[None]:
        """See `GradientReducer.passes`. Only the last pass goes through DDP's buckets."""
        if vrank == self._hosted[-1]:
            yield
            return
        with self.module.no_sync():
            yield
        self._local.push(vrank, [_taken(parameter) for parameter in self._parameters])

    def skip(self, vrank: int) -> None:
        """A virtual rank without a sample contributes a leaf of zeros."""
        if vrank != self._hosted[-1]:
            self._local.push(vrank, [torch.zeros_like(parameter) for parameter in self._parameters])
            return
        for number, members in sorted(self._layout.items()):
            parameters = [self._parameters[i] for i in members]
            flat = parameters[0].new_zeros(sum(parameter.numel() for parameter in parameters))
            views = _views(flat, parameters)
            self._start(number, flat, views, members)
            for parameter, view in zip(parameters, views, strict=True):
                parameter.grad = view

    def finish(self, divisor: float) -> None:
        """See `GradientReducer.finish`. Gradients are views of the buckets, which are filled in place."""
        if self._reducer is None:
            raise RuntimeError("finish() before join()")
        self._reducer.finish(self._started, divisor)
        self._begin()

    def _begin(self) -> None:
        reducer = self._reducer
        if reducer is not None:
            self._local = Accumulator(self._hosted, reducer.leaves, _add)
        self._started = []

    def _hook(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        members = [self._index[parameter] for parameter in bucket.parameters()]  # type: ignore[index]
        self._layout[bucket.index()] = members
        if self._reducer is not None:
            self._start(bucket.index(), bucket.buffer(), bucket.gradients(), members)
        for i, view in zip(members, bucket.gradients(), strict=True):
            self._parameters[i].grad = view  # DDP leaves out those that this pass did not use
        return _completed(bucket.buffer())

    def _start(self, number: int, flat: Tensor, views: Gradients, members: Sequence[int]) -> None:
        """Fold the last leaf with what is held from the others, and send off this bucket's partial sums."""
        if self._reducer is None:
            raise RuntimeError("a bucket was reduced before join()")
        for held in self._path.absorbed:
            torch._foreach_add_(views, [self._local[held][i] for i in members])
        partials = {self._path.node: flat}
        for node in self._local.keys() - set(self._path.absorbed):
            gradients = [self._local[node][i] for i in members]
            partials[node] = self._flatten(number, node, gradients, flat, views)
        self._started.append(self._reducer.start(number, partials, flat))

    def _flatten(
        self, number: int, node: Node, gradients: Gradients, like: Tensor, views: Gradients
    ) -> Tensor:
        """Gradients in the memory layout of a bucket, in a buffer that is kept from step to step."""
        flat = self._extra.get((number, node))
        if flat is None or flat.numel() != like.numel():
            flat = self._extra[number, node] = torch.empty_like(like)
        torch._foreach_copy_(_views(flat, views), gradients)
        return flat


class FastDDP:
    """Stock DDP with gradient accumulation: no promise about bits across numbers of workers.

    Args:
        model: the replica's model.
        hosted: this worker's virtual ranks.
        world: the number of workers in torch.distributed's default group.
        filler: a loss for a worker whose last virtual rank has no sample: DDP's collectives need a backward pass
            from everybody.
    """

    def __init__(
        self, model: nn.Module, hosted: Sequence[int], world: int, filler: Callable[[nn.Module], Tensor]
    ) -> None:
        self.module = DistributedDataParallel(model, forward_sync_buffers=False)
        self._last, self._world, self._filler = hosted[-1], world, filler

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """DDP takes the mean over workers, whatever their loads; this makes it the mean over samples."""
        return self._world * count / total

    def passes(self, vrank: int) -> AbstractContextManager[None]:
        """See `GradientReducer.passes`."""
        return nullcontext() if vrank == self._last else self.module.no_sync()

    def skip(self, vrank: int) -> None:
        """See `GradientReducer.skip`."""
        if vrank == self._last:
            (self._filler(self.module) * 0.0).backward()

    def finish(self, divisor: float) -> None:
        """Nothing is left to do: stock DDP has reduced and divided."""


def _completed(value: Tensor) -> torch.futures.Future[Tensor]:
    devices = [value.device] if value.is_cuda else None
    future: torch.futures.Future[Tensor] = torch.futures.Future(devices=devices)
    future.set_result(value)
    return future


def _taken(parameter: nn.Parameter) -> Tensor:
    """Take a parameter's gradient away; one that the pass did not reach is zero."""
    gradient, parameter.grad = parameter.grad, None
    return torch.zeros_like(parameter) if gradient is None else gradient


def _add(left: Gradients, right: Gradients) -> Gradients:
    torch._foreach_add_(left, right)
    return left


def _views(flat: Tensor, like: Sequence[Tensor]) -> Gradients:
    """Views of `flat`, laid end to end, each with the shape and strides of its dense model."""
    offsets = accumulate((tensor.numel() for tensor in like), initial=0)
    return [
        flat.as_strided(tensor.size(), tensor.stride(), offset)
        for tensor, offset in zip(like, offsets, strict=False)
    ]
