"""Forms one generation's process group, under a prefix that no other generation ever uses."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, PrefixStore, Store, TCPStore

from workers.numerics.exchange import (
    Alone,
    Exchange,
    GlooExchange,
    Mesh,
    NcclExchange,
    PeerLost,
    StagedExchange,
    abort_gloo,
)
from workers.protocol import Membership

#: How long members wait for one another when they meet, and for a transfer with a silent peer.
PATIENCE = timedelta(minutes=5)
_CPU = torch.device("cpu")


def serve_store(host: str) -> tuple[TCPStore, str]:
    """Open a rendezvous store in this process; returns it (keep it alive) and its `host:port`.

    It listens at that address alone; by itself the store would at all of the machine's.
    """
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port: int = listener.getsockname()[1]
    store = TCPStore(
        host,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=PATIENCE,
        use_libuv=True,
        master_listen_fd=listener.detach(),
    )
    return store, f"{host}:{port}"


def connect_store(address: str) -> Store:
    """Connect to the store that another process serves."""
    host, port = address.rsplit(":", 1)
    return TCPStore(host, int(port), is_master=False, wait_for_workers=False, timeout=PATIENCE)


def form(
    membership: Membership, rank: int, device: torch.device, job: str, host: str, *, shared: bool = False
) -> Exchange:
    """Connect this worker to all members of a generation; returns when it is connected to every one.

    `host` is the address at which the others reach this worker: left to itself, gloo looks up the machine's
    name, which many systems resolve to loopback.

    `shared` says that members may share a GPU, which NCCL refuses: they exchange through CPU memory.

    The group is not registered with torch.distributed: it has no global state, and the one before it can
    be dropped without ceremony.

    Raises:
        PeerLost: a member is gone, or does not come for minutes.
    """
    world = len(membership.workers)
    if world == 1:
        return Alone(device)
    try:
        if device.type == "cuda" and shared:
            return StagedExchange(_connect(membership, rank, _CPU, job, host), device)
        return _connect(membership, rank, device, job, host)
    except RuntimeError as error:  # torch.distributed's errors are all of this kind
        raise PeerLost(str(error)) from error


def _connect(membership: Membership, rank: int, device: torch.device, job: str, host: str) -> Exchange:
    world = len(membership.workers)
    store = PrefixStore(f"{job}/{membership.generation}", connect_store(membership.store))
    if device.type == "cuda":
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = PATIENCE
        nccl = cast(Mesh, dist.ProcessGroupNCCL(store, rank, world, options))
        return NcclExchange(nccl, rank, world, device)
    gloo_options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    gloo_options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
    gloo_options._timeout = PATIENCE
    gloo = cast(Mesh, dist.ProcessGroupGloo(store, rank, world, gloo_options))
    return GlooExchange(gloo, rank, world)


def join_default_group(membership: Membership, rank: int, device: torch.device, job: str) -> Exchange | None:
    """Make the members torch.distributed's default group, for `numerics: fast` (stock DDP).

    Returns:
        an exchange over the connections of that group, which on CPUs saves a thread that waits for others;
        None where there is nothing to gain.
    """
    leave_default_group()
    store = PrefixStore(f"{job}/{membership.generation}/fast", connect_store(membership.store))
    backend = "nccl" if device.type == "cuda" else "gloo"
    world = len(membership.workers)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    if world == 1 or device.type == "cuda":
        return None
    return GlooExchange(_default_backend(device), rank, world)


def leave_default_group() -> None:
    """Give up torch.distributed's default group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def abort_default_group(rank: int, device: torch.device) -> None:
    """Free whoever waits in a collective of the default group. From any thread."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        group = _default_backend(device)
        group.abort() if device.type == "cuda" else abort_gloo(group, rank)


def _default_backend(device: torch.device) -> Mesh:
    return cast(Mesh, dist.group.WORLD._get_backend(device))  # type: ignore[union-attr]


def join_own_group() -> None:
    """Make this process alone torch.distributed's default group.

    DistributedDataParallel insists on a group and runs collectives of its own in it (shapes, buckets). In a
    group of one these can never wait for anybody, whatever the other workers do; gradients travel through the
    communication hook instead.
    """
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
