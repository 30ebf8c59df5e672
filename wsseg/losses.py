"""The losses of wsseg as plain functions, for any training loop in PyTorch: tensors in, a scalar out.

Each function holds the formula of the term of the same name in a recipe's `supervision`. Labels are int64 maps in which
unannotated voxels are 255 (`wsseg.core.cases.IGNORE`). Arguments named `inside` are False in padding beyond the volume;
arguments named `valid` are True for slots of the batch in which the network had at least one of its modalities.
"""

from wsseg.supervision.entropy import entropy
from wsseg.supervision.gated_crf import gated_crf_energy
from wsseg.supervision.modal_consistency import modal_consistency
from wsseg.supervision.mutual_distillation import mutual_distillation
from wsseg.supervision.partial_cross_entropy import partial_cross_entropy
from wsseg.supervision.partial_loss import partial_loss
from wsseg.supervision.prototype_contrast import prototype_contrast

__all__ = [
    "entropy",
    "gated_crf_energy",
    "modal_consistency",
    "mutual_distillation",
    "partial_cross_entropy",
    "partial_loss",
    "prototype_contrast",
]
