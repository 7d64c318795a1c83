"""DistributedDataParallel, fed one virtual rank at a time.

`ElasticDDP` keeps DDP's buckets and their overlap with the backward pass, and replaces its all-reduce by the
fixed tree. `FastDDP` is stock DDP. Both leave the mean gradient in `parameter.grad`.

DDP rebuilds its buckets after the first backward pass, so a replica is warmed up with two discarded passes:
the rebuild then never falls into a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, Protocol
from weakref import ref

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from workers.errors import RecipeError
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.generation import join_own_group
from workers.numerics.reduction import Reduction, TreeReducer
from workers.numerics.tree import Accumulator, Node

Gradients = list[Tensor]


class GradientReducer(Protocol):
    """What a step needs of either kind."""

    @property
    def module(self) -> nn.Module:
        """What the recipe's `loss` calls."""

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """What to multiply a virtual rank's mean loss by before its backward pass; None for 1."""

    def passes(self, vrank: int) -> AbstractContextManager[None]:
        """Forward and backward pass of one hosted virtual rank, in ascending order."""

    def skip(self, vrank: int) -> None:
        """In place of the passes of a virtual rank that has no sample in this step."""

    def finish(self, divisor: float) -> None:
        """After the last hosted virtual rank: reduce over all workers and divide once."""


class _Bucket(NamedTuple):
    """One of DDP's flat buffers, which live as long as DDP does."""

    flat: Tensor
    views: Gradients  # of `flat`, in the shapes and strides of the parameters
    members: Sequence[int]  # which parameters


class ElasticDDP:
    """DDP whose communication hook reduces over the fixed tree of virtual ranks.

    DDP itself lives in a group of one, so none of its own collectives can ever wait for another worker. It
    outlives every generation: membership is a matter of the hook's exchange alone.

    Args:
        model: the replica's model.
        unused_parameters: expect passes that do not reach every parameter; costs a walk of each step's graph.
    """

    def __init__(self, model: nn.Module, *, unused_parameters: bool = False) -> None:
        join_own_group()
        self.module = DistributedDataParallel(
            model,
            gradient_as_bucket_view=True,
            find_unused_parameters=unused_parameters,
            forward_sync_buffers=False,
        )
        # DDP holds the hook where the garbage collector cannot see it: a strong reference would never go.
        weak = ref(self)
        self.module.register_comm_hook(None, lambda _, bucket: _alive(weak)._hook(bucket))
        self._unused_parameters = unused_parameters
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names, self._parameters = list(trained), list(trained.values())
        self._index: dict[Tensor, int] = {parameter: i for i, parameter in enumerate(self._parameters)}
        self._buckets: dict[int, _Bucket] = {}
        self._extra: dict[tuple[int, Node], Tensor] = {}
        self._reducer: TreeReducer | None = None
        self._hosted: Sequence[int] = ()
        self._started: list[Reduction] = []
        self._local: Accumulator[Gradients]
        self._seated: Sequence[int | None] = ()  # versions of the gradients that this pass is added to

    def join(self, exchange: Exchange, hosted: Sequence[Sequence[int]]) -> None:
        """From now on reduce among the members of this generation."""
        self._reducer = TreeReducer(exchange, hosted)
        self._hosted = hosted[exchange.rank]
        self._extra = {}
        self._begin()

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """The tree sums means when all virtual ranks have equally many samples, else sums of samples."""
        return None if full else float(count)

    @contextmanager
    def passes(self, vrank: int) -> Iterator[None]:
        """See `GradientReducer.passes`. Only the last pass goes through DDP's buckets."""
        self._seat(vrank)
        if vrank == self._hosted[-1]:
            yield
            return
        with self.module.no_sync():
            yield
        if not self._unused_parameters:
            self._check_reached()
        self._local.push(vrank, [_taken(parameter) for parameter in self._parameters])

    def skip(self, vrank: int) -> None:
        """A virtual rank without a sample contributes a leaf of zeros."""
        if vrank != self._hosted[-1]:
            self._local.push(vrank, [torch.zeros_like(parameter) for parameter in self._parameters])
            return
        for number, bucket in self._buckets.items():
            bucket.flat.zero_()
            self._start(number, bucket)

    def finish(self, divisor: float) -> None:
        """See `GradientReducer.finish`. Gradients are views of the buckets, which are filled in place."""
        if self._reducer is None:
            raise RuntimeError("finish() before join()")
        if len(self._started) < len(self._buckets):
            self._check_reached()
        self._reducer.finish(self._started, divisor)
        self._begin()

    def _begin(self) -> None:
        if self._reducer is not None:
            self._local = Accumulator(self._hosted, self._reducer.leaves, _add)
        self._started = []

    def _seat(self, vrank: int) -> None:
        """Let autograd itself add this leaf to the one before it, where they are siblings in the tree.

        The sum is the same, and cheaper while the new gradient is in the cache. Not where a pass may leave a
        parameter out: adding a leaf of zeros turns -0.0 into 0.0, and leaving it out does not.
        """
        held = None if self._unused_parameters else self._local.lend(vrank)
        for parameter, gradient in zip(self._parameters, held or (), strict=held is not None):
            parameter.grad = gradient
        self._seated = [gradient._version for gradient in held] if held else [None] * len(self._parameters)

    def _hook(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        if bucket.buffer().is_sparse:
            fix = "build the model's embeddings without sparse=True"
            raise RecipeError("sparse gradients cannot be reduced", fix=fix)
        if self._reducer is None and bucket.index() == 0:
            self._buckets.clear()  # those of the warm-up's first pass: DDP has laid them out anew
        known = self._known(bucket)
        if self._reducer is not None:
            self._start(bucket.index(), known)
        else:
            self._keep(known)
        return _completed(known.flat)

    def _known(self, bucket: GradBucket) -> _Bucket:
        flat, known = bucket.buffer(), self._buckets.get(bucket.index())
        if known is None or known.flat.data_ptr() != flat.data_ptr():
            members = [self._index[parameter] for parameter in bucket.parameters()]
            # Not `bucket.gradients()`: those are contiguous, whatever the parameters' layout is.
            known = _Bucket(flat, _views(flat, bucket.parameters()), members)
            self._buckets[bucket.index()] = known
        return known

    def _keep(self, bucket: _Bucket) -> None:
        """DDP itself leaves out the gradients of parameters that this pass did not use."""
        for i, view in zip(bucket.members, bucket.views, strict=True):
            self._parameters[i].grad = view

    def _start(self, number: int, bucket: _Bucket) -> None:
        """Fold the last leaf with what is held from the others, and send off this bucket's partial sums."""
        if self._reducer is None:
            raise RuntimeError("a bucket was reduced before join()")
        self._keep(bucket)
        path = self._local.path(self._hosted[-1])
        for held in path.absorbed:
            torch._foreach_add_(bucket.views, [self._local[held][i] for i in bucket.members])
        partials = {path.node: bucket.flat}
        for node in self._local.keys() - set(path.absorbed):
            partials[node] = self._flatten(number, node, bucket)
        self._started.append(self._reducer.start(number, partials, bucket.flat))

    def _flatten(self, number: int, node: Node, bucket: _Bucket) -> Tensor:
        """A held sum in the memory layout of a bucket, in a buffer that is kept from step to step."""
        flat = self._extra.get((number, node))
        if flat is None:
            flat = self._extra[number, node] = torch.empty_like(bucket.flat)
        torch._foreach_copy_(_views(flat, bucket.views), [self._local[node][i] for i in bucket.members])
        return flat

    def _check_reached(self) -> None:
        """Refuse a pass that left out a parameter that DDP waits for."""
        for name, parameter, version in zip(self._names, self._parameters, self._seated, strict=True):
            if parameter.grad is None or parameter.grad._version == version:
                raise RecipeError(
                    f"the loss does not depend on parameter {name}, and at first it did",
                    fix="let every batch reach it, if only by adding 0.0 * parameter.sum() to the loss",
                )


class FastDDP:
    """Stock DDP with gradient accumulation: no promise about bits across numbers of workers.

    Args:
        model: the replica's model.
        hosted: this worker's virtual ranks.
        world: the number of workers in torch.distributed's default group.
        filler: a loss for a worker whose last virtual rank has no sample: DDP's collectives need a backward
            pass from everybody.
    """

    def __init__(
        self, model: nn.Module, hosted: Sequence[int], world: int, filler: Callable[[nn.Module], Tensor]
    ) -> None:
        self.module = DistributedDataParallel(model, forward_sync_buffers=False)
        self._last, self._world, self._filler = hosted[-1], world, filler

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """DDP takes the mean over workers, whatever their loads; this makes it the mean over samples."""
        return self._world * count / total

    @contextmanager
    def passes(self, vrank: int) -> Iterator[None]:
        """See `GradientReducer.passes`."""
        with nullcontext() if vrank == self._last else self.module.no_sync(), _lost_peers():
            yield

    def skip(self, vrank: int) -> None:
        """See `GradientReducer.skip`."""
        if vrank == self._last:
            with _lost_peers():
                (self._filler(self.module) * 0.0).backward()

    def finish(self, divisor: float) -> None:
        """Nothing is left to do: stock DDP has reduced and divided."""


@contextmanager
def _lost_peers() -> Iterator[None]:
    """Stock DDP's collectives fail inside the backward pass, with errors that only their text tells apart."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error) or "pair closure" in str(error):
            raise PeerLost(str(error)) from error
        raise


def _alive(reference: ref[ElasticDDP]) -> ElasticDDP:
    ddp = reference()
    if ddp is None:
        raise RuntimeError("a backward pass through a model whose wrapper is gone")
    return ddp


def _completed(value: Tensor) -> torch.futures.Future[Tensor]:
    devices: list[int | str | torch.device] = [value.device] if value.is_cuda else []
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
    """Views of `flat`, laid end to end as DDP does: in the layout of `like` where that is dense."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [
        part.as_strided(tensor.size(), tensor.stride()) if _is_dense(tensor) else part.view(tensor.size())
        for part, tensor in zip(parts, like, strict=True)
    ]


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill their stretch of memory, in whatever order."""
    return bool(torch.ops.aten.is_non_overlapping_and_dense(tensor))
