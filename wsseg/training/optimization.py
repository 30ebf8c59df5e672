"""Optimiser, learning-rate schedule, and the number format of the forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from wsseg.core.errors import RecipeError

Precision = Literal["bf16", "fp32"]


def make_optimizer(
    kind: Literal["sgd", "adamw"], parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum, or AdamW (which ignores `momentum`)."""
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr, weight_decay=weight_decay)
    return torch.optim.SGD(parameters, lr, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay)


def poly_rate(lr: float, iteration: int, iterations: int, warmup: float = 0.0) -> float:
    """Return lr (1 - t/T)^0.9, times a linear rise from 0 to 1 over the first `warmup` share of the iterations."""
    rise = min(1.0, (iteration + 1) / max(1.0, warmup * iterations))
    return lr * rise * float((1 - iteration / iterations) ** 0.9)


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device to train on: with `auto` a CUDA GPU where there is one. Raises RecipeError."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RecipeError("training.device: cuda, but torch sees no CUDA GPU here; set it to auto or cpu")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def choose_precision(
    wanted: Literal["auto", "bf16", "fp32"], device: torch.device, networks: nn.Module
) -> tuple[Precision, str]:
    """Return the number format, and why.

    bf16 is faster on CUDA GPUs that have it and on processors with AMX; on other CPUs it is slower than fp32. On a CPU
    torch 2.13 crashes, without a message, in the backward pass of a bf16 convolution of 1 x 3 x 3 voxels over large
    planes. Networks for volumes with thick sagittal slices have such kernels, and get fp32.

    Raises:
        RecipeError: The recipe asks for bf16 where it would crash.
    """
    crashes = device.type == "cpu" and any(_thin_in_x(module) for module in networks.modules())
    if wanted == "bf16" and crashes:
        raise RecipeError(
            "training.precision: bf16 on a CPU crashes with kernels of 1 x 3 x 3 voxels (thick slices along x); "
            "set it to auto or fp32"
        )
    if wanted != "auto":
        return wanted, "set in the recipe"
    if crashes:
        return "fp32", "bf16 on a CPU crashes with kernels of 1 x 3 x 3 voxels"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "the GPU supports it") if fast else ("fp32", "the GPU does not support bf16")
    amx = torch.cpu.get_capabilities().get("amx_tile", False)
    return ("bf16", "the processor has AMX") if amx else ("fp32", "the processor has no AMX")


def _thin_in_x(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv3d) and module.kernel_size[0] == 1 and max(module.kernel_size) > 1
