"""A DDP program as PyTorch's tutorials write it: it knows `torchrun`, and nothing of Lockstep.

torchrun --standalone --nproc_per_node 2 train.py --epochs 10       # the same, without Lockstep
"""

import argparse
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def make_dataset(samples: int = 2048, features: int = 20) -> TensorDataset:
    """A line through noise: what the weights should become is known."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, features, generator=generator)
    truth = torch.arange(features, dtype=torch.float32) / features
    noise = 0.1 * torch.randn(samples, generator=generator)
    return TensorDataset(inputs, (inputs @ truth + noise).unsqueeze(1))


class Trainer:
    """Trains, saves a snapshot after each epoch, and goes on from it."""

    def __init__(self, model: torch.nn.Module, loader: DataLoader, snapshot: Path, device: torch.device):
        self.rank, self.device, self.snapshot, self.loader = dist.get_rank(), device, snapshot, loader
        self.epochs_run = 0
        self.model = model.to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        if snapshot.exists():
            self.load_snapshot()
        self.ddp = DistributedDataParallel(self.model)

    def load_snapshot(self) -> None:
        saved = torch.load(self.snapshot, map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.epochs_run = saved["epochs_run"]
        print(f"resuming from {self.snapshot} after {self.epochs_run} epochs")

    def save_snapshot(self) -> None:
        saved = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs_run": self.epochs_run,
        }
        draft = self.snapshot.with_suffix(".draft")
        torch.save(saved, draft)
        draft.replace(self.snapshot)  # whole, or not at all

    def run_epoch(self, epoch: int) -> float:
        self.loader.sampler.set_epoch(epoch)
        total = torch.zeros(2, device=self.device)
        for inputs, targets in self.loader:
            loss = F.mse_loss(self.ddp(inputs.to(self.device)), targets.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += torch.stack([loss.detach(), torch.ones_like(loss)])
        dist.all_reduce(total)
        return (total[0] / total[1]).item()

    def train(self, epochs: int, pause: float) -> None:
        for epoch in range(self.epochs_run, epochs):
            loss = self.run_epoch(epoch)
            self.epochs_run = epoch + 1
            if self.rank == 0:
                self.save_snapshot()
                print(f"epoch {epoch + 1} of {epochs}: loss {loss:.4f}")
            dist.barrier()
            time.sleep(pause)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32, help="of each process")
    parser.add_argument("--snapshot", type=Path, default=Path("snapshot.pt"))
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each epoch, to watch it")
    args = parser.parse_args()

    local_rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        device = torch.device("cuda", local_rank)
        dist.init_process_group("nccl")
    else:
        device = torch.device("cpu")
        dist.init_process_group("gloo")
    dataset = make_dataset()
    sampler = DistributedSampler(dataset)
    loader = DataLoader(dataset, batch_size=args.batch_size, sampler=sampler)
    torch.manual_seed(0)
    trainer = Trainer(torch.nn.Linear(20, 1), loader, args.snapshot, device)
    trainer.train(args.epochs, args.pause)
    if dist.get_rank() == 0:
        print(f"done: {trainer.epochs_run} epochs on {dist.get_world_size()} processes")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
