"""The memory of a training step, counted without allocating it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Private, but torch's own tool for sizes without content; tensors on the meta device are no replacement, because
# autocast to bfloat16 does not apply to them. tests/assembly/test_autoconfigure.py fails when it moves or changes.
from torch._subclasses.fake_tensor import FakeTensorMode

from wsseg.core.cases import Triple
from wsseg.core.contracts import Batch
from wsseg.core.errors import RecipeError
from wsseg.training.branches import Branches
from wsseg.training.optimization import Precision


def step_bytes(branches: Branches, slots: int, modalities: int, patch_size: Triple, precision: Precision) -> int:
    """Count the memory of a training step, in bytes.

    The networks are run once on fake tensors, which have sizes and no content. The count is the sum of

        distinct storages that autograd saves for the backward pass, and the logits
        + 4 * parameters (weight, gradient, two moments) + buffers + image and label of the batch,

    in the precision of the run (bf16 as autocast does it on a CPU, so that a plan does not depend on the device). Real
    tensors give the same sum within 0.1 %. It is a lower bound of what a device needs: it excludes temporary gradients,
    the scratch space of kernels, and the terms, of which the gated CRF needs considerable memory. On a CPU with oneDNN
    resident memory grew, in steps counted as 0.2 to 0.8 GB, by 1.7 to 2.1 times the count in fp32 and by 2.0 to 3.4
    times in bf16. Set `training.memory_gb` accordingly.

    Args:
        branches: The networks in training mode; they may lie on torch's meta device.
        slots: B.
        modalities: M.
        patch_size: Voxels of a patch.
        precision: Of the forward pass.

    Raises:
        RecipeError: A network decides by the content of tensors, so that it cannot be run on fake ones.
    """
    with FakeTensorMode():
        own = {name: _like(t) for name, t in [*branches.named_parameters(), *branches.named_buffers()]}
        batch = Batch.blank(slots, modalities, 2, patch_size)
        try:
            saved = saved_bytes(branches, own, batch, precision)
        except RuntimeError as error:
            raise RecipeError(
                f"networks: a step cannot be counted without data ({str(error).splitlines()[0]}); "
                "name data.patch_size and the networks' features"
            ) from error
        weights = sum(_bytes(t) * (4 if t.requires_grad else 1) for t in own.values())
        return saved + weights + _bytes(batch.image) + _bytes(batch.label)


def saved_bytes(branches: Branches, own: Mapping[str, Tensor], batch: Batch, precision: Precision) -> int:
    """Return the bytes that a forward pass keeps: distinct saved storages and logits, without `own` and the image.

    Args:
        branches: In training mode.
        own: Parameters and buffers to run it with, by name.
        batch: Fake tensors or real ones.
        precision: Of the forward pass.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage  # held, so that no later storage gets its identity
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        outputs = torch.func.functional_call(branches, dict(own), (batch,))
    for output in outputs.values():
        for logits in (output.logits, *output.deep_logits):
            keep(logits)
    for tensor in (*own.values(), batch.image):
        kept.pop(id(tensor.untyped_storage()), None)
    return sum(storage.nbytes() for storage in kept.values())


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", requires_grad=tensor.requires_grad)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
