"""Runs a command of nnU-Net v2 in nnU-Net's own environment: `python nnunet_launcher.py COMMAND ARGUMENTS`.

nnU-Net is used as installed. Two things are changed around it, in this process and in those that it spawns:
- Its search for trainer classes imports timm and so torchvision, whose compiled part does not fit the CPU build of
  torch ("operator torchvision::nms does not exist"). That part is not needed here: an empty module replaces it.
- It uses one thread per core of the machine; here it uses the cores that the process may run on, as wsseg does.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import types

import torch

COMMANDS = {
    "extract": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:extract_fingerprint_entry",
    "plan": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:plan_experiment_entry",
    "preprocess": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:preprocess_entry",
    "train": "nnunetv2.run.run_training:run_training_entry",
    "predict": "nnunetv2.inference.predict_from_raw_data:predict_entry_point",
}

# Outside of main(), because a spawned process imports this file again.
if torch.version.cuda is None:
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
if hasattr(os, "sched_getaffinity"):
    multiprocessing.cpu_count = lambda: len(os.sched_getaffinity(0))


def main() -> None:
    """Run the command that the first argument names with the remaining arguments."""
    command = sys.argv.pop(1)
    module, function = COMMANDS[command].split(":")
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
