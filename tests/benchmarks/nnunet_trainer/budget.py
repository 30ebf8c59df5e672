"""nnU-Net's own trainer with a fixed number of iterations, found through the variable `nnUNet_extTrainer`.

This folder has no other file, because nnU-Net imports every file in it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class BudgetTrainer(nnUNetTrainer):  # type: ignore[misc]
    """Changes the number of iterations; loss, augmentation, sampling, optimiser and schedule stay nnU-Net's.

    The environment variable `BUDGET` is JSON with these keys:
        epochs, iterations: Number of epochs, and of iterations per epoch.
        bf16: Use autocast on a CPU.
        adamw: null, or the learning rate and weight decay of AdamW, which then replaces SGD.
        record: A file that gets one line per epoch: iterations done, and the seconds that they took.
    """

    # nnU-Net reads its arguments by these names, so the signature has to be the same.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        # Prediction builds a trainer too, to get the network; it needs no budget.
        self.budget = json.loads(os.environ.get("BUDGET", "{}"))
        if self.budget:
            self.num_epochs = self.budget["epochs"]
            self.num_iterations_per_epoch = self.budget["iterations"]
            self.num_val_iterations_per_epoch = 1  # the smallest number that its logger accepts
            self.save_every = max(1, self.num_epochs // 5)
        self.epoch_began = 0.0

    def initialize(self) -> None:
        """Build as nnU-Net does; with bf16, run the network under autocast and return float32."""
        super().initialize()
        if self.budget.get("bf16") and self.device.type == "cpu":
            inner = self.network.forward

            def forward(image: torch.Tensor) -> Any:
                with torch.autocast("cpu", torch.bfloat16):
                    outputs = inner(image)
                return [o.float() for o in outputs] if isinstance(outputs, (list, tuple)) else outputs.float()

            self.network.forward = forward

    def configure_optimizers(self) -> Any:
        """Return nnU-Net's own optimiser and schedule, or AdamW with the same schedule."""
        adamw = self.budget.get("adamw")
        if not adamw:
            return super().configure_optimizers()
        optimizer = torch.optim.AdamW(self.network.parameters(), adamw["lr"], weight_decay=adamw["weight_decay"])
        return optimizer, PolyLRScheduler(optimizer, adamw["lr"], self.num_epochs)

    def on_train_epoch_start(self) -> None:
        """Start an epoch and its clock."""
        super().on_train_epoch_start()
        self.epoch_began = time.monotonic()

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """End an epoch and record how long its iterations took."""
        seconds = time.monotonic() - self.epoch_began
        super().on_train_epoch_end(train_outputs)
        line = {
            "done": (self.current_epoch + 1) * self.num_iterations_per_epoch,
            "seconds": seconds,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "network": type(self.network).__name__,
        }
        with Path(self.budget["record"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Do nothing: with fold `all` it would predict the training cases; the held-out ones are predicted later."""

    def plot_network_architecture(self) -> None:
        """Do nothing: the figure is not used."""
