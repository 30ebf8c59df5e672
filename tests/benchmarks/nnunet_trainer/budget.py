"""nnU-Net's own trainer, held to a budget of iterations; nnU-Net finds it by its `nnUNet_extTrainer` variable.

This folder holds nothing else, because nnU-Net imports every file that it finds there.
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
    """Loss, augmentation, sampling, optimiser and schedule are nnU-Net's; only their number is set from outside.

    `BUDGET` in the environment is JSON: epochs, iterations (of an epoch), bf16 (autocast on a CPU), adamw (null, or
    the rate and weight decay of AdamW in place of SGD), record (a file that gets a line an epoch: what was done and the
    seconds that its training iterations took).
    """

    # nnU-Net looks its arguments up by these names, so the signature has to be its own.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        # Predicting builds a trainer too, to ask it for the network; no budget is needed then.
        self.budget = json.loads(os.environ.get("BUDGET", "{}"))
        if self.budget:
            self.num_epochs = self.budget["epochs"]
            self.num_iterations_per_epoch = self.budget["iterations"]
            self.num_val_iterations_per_epoch = 1  # the least that its logger can live with
            self.save_every = max(1, self.num_epochs // 5)
        self.epoch_began = 0.0

    def initialize(self) -> None:
        """Build as nnU-Net does; with bf16, let the network run under autocast and hand float32 to the loss."""
        super().initialize()
        if self.budget.get("bf16") and self.device.type == "cpu":
            inner = self.network.forward

            def forward(image: torch.Tensor) -> Any:
                with torch.autocast("cpu", torch.bfloat16):
                    found = inner(image)
                return [f.float() for f in found] if isinstance(found, (list, tuple)) else found.float()

            self.network.forward = forward

    def configure_optimizers(self) -> Any:
        """Return nnU-Net's own optimiser and schedule, or AdamW with the same schedule."""
        adamw = self.budget.get("adamw")
        if not adamw:
            return super().configure_optimizers()
        optimizer = torch.optim.AdamW(self.network.parameters(), adamw["lr"], weight_decay=adamw["weight_decay"])
        return optimizer, PolyLRScheduler(optimizer, adamw["lr"], self.num_epochs)

    def on_train_epoch_start(self) -> None:
        """Begin an epoch, and its time."""
        super().on_train_epoch_start()
        self.epoch_began = time.monotonic()

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """End an epoch, and write down how long its iterations took."""
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
        """Do nothing: with fold `all` it would predict its training cases; the held-out ones are predicted apart."""

    def plot_network_architecture(self) -> None:
        """Do nothing: the drawing is not used."""
