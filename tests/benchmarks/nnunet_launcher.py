"""Starts a command of nnU-Net v2 in nnU-Net's own environment: `python nnunet_launcher.py VERB ARGUMENTS`.

nnU-Net is used as it is installed; two things around it are mended, in this process and in those it spawns:
- Its search for trainer classes imports timm and so torchvision, whose compiled part does not fit the build of torch
  for CPUs ("operator torchvision::nms does not exist"). Nothing here needs that part: an empty module stands for it.
- It takes a thread for each core of the machine; here it takes those that it may run on, as wsseg does.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import types

import torch

VERBS = {
    "extract": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:extract_fingerprint_entry",
    "plan": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:plan_experiment_entry",
    "preprocess": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:preprocess_entry",
    "train": "nnunetv2.run.run_training:run_training_entry",
    "predict": "nnunetv2.inference.predict_from_raw_data:predict_entry_point",
}

# Outside of main(): a spawned process imports this file again before it works.
if torch.version.cuda is None:
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
if hasattr(os, "sched_getaffinity"):
    multiprocessing.cpu_count = lambda: len(os.sched_getaffinity(0))


def main() -> None:
    """Run the verb that the first argument names, with the others as its own."""
    verb = sys.argv.pop(1)
    module, function = VERBS[verb].split(":")
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
