"""A Lightning program, as it would be for `torchrun`: Lightning finds out by itself who has started it."""

import os
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset


class Line(L.LightningModule):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(20, 1)

    def training_step(self, batch, index):
        inputs, targets = batch
        loss = F.mse_loss(self.layer(inputs), targets)
        self.log("loss", loss, on_epoch=True, on_step=False, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.print(f"epoch {self.current_epoch + 1}: loss {self.trainer.callback_metrics['loss']:.4f}")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main() -> None:
    L.seed_everything(0, workers=True)
    inputs = torch.randn(2048, 20)
    targets = inputs @ torch.arange(20.0).unsqueeze(1) / 20
    folder = Path(os.environ.get("CHECKPOINTS", "checkpoints"))
    trainer = L.Trainer(
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        devices=int(os.environ["LOCAL_WORLD_SIZE"]),
        num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
        strategy="ddp",
        max_epochs=int(os.environ.get("EPOCHS", "5")),
        callbacks=[ModelCheckpoint(folder, save_last=True)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True)
    trainer.fit(Line(), loader, ckpt_path=last if last.exists() else None)
    trainer.print(f"done: {trainer.current_epoch} epochs on {trainer.world_size} processes")


if __name__ == "__main__":
    main()
