"""Strides and kernels of a U-Net, derived from the patch and the size of its voxels."""

from __future__ import annotations

from collections.abc import Sequence

from wsseg.core.cases import Spacing, Triple
from wsseg.core.errors import RecipeError

MINIMUM_SIZE = 4
"""An axis is not halved to fewer voxels than this, so that the deepest map keeps something to normalise over."""


def derive_strides(patch_size: Triple, spacing_mm: Spacing, levels: int) -> tuple[Triple, ...]:
    """Return by how much each level is coarser than the one before it, so that voxels grow towards cubes.

    An axis is halved if it keeps at least `MINIMUM_SIZE` voxels and its spacing is below twice the finest spacing of
    the axes that can be halved, as in nnU-Net (Isensee et al., Nature Methods 2021). Odd sizes are rounded up.

    Args:
        patch_size: Voxels of a patch.
        spacing_mm: Size of a voxel.
        levels: The largest number of levels, full size included; a small patch gets fewer.

    Returns:
        One stride per level; the first is (1, 1, 1).

    Raises:
        RecipeError: The patch has a single voxel.
    """
    if max(patch_size) < 2:
        raise RecipeError(f"data.patch_size: {list(patch_size)} is a single voxel; give it at least two along an axis")
    strides: list[Triple] = [(1, 1, 1)]
    size, spacing = patch_size, spacing_mm
    while len(strides) < levels:
        finest = _finest(size, spacing)
        x, y, z = (2 if n // 2 >= MINIMUM_SIZE and s < 2 * finest else 1 for n, s in zip(size, spacing, strict=True))
        if (x, y, z) == (1, 1, 1):
            break
        strides.append((x, y, z))
        size, spacing = _coarser(size, spacing, strides[-1])
    return tuple(strides)


def derive_kernels(strides: Sequence[Triple], patch_size: Triple, spacing_mm: Spacing) -> tuple[Triple, ...]:
    """Return the kernel of each level: 1 along an axis whose voxels are still coarse (thick slices), 3 from then on.

    An axis gets 3 once its spacing is below twice the finest (of the axes that can still be halved) and keeps it; an
    axis of one voxel has no neighbours and stays at 1.
    """
    kernels: list[Triple] = []
    size, spacing, kernel = patch_size, spacing_mm, (1, 1, 1)
    for stride in strides:
        size, spacing = _coarser(size, spacing, stride)
        finest = _finest(size, spacing)
        x, y, z = (
            3 if n > 1 and (k == 3 or s < 2 * finest) else 1 for n, s, k in zip(size, spacing, kernel, strict=True)
        )
        kernel = (x, y, z)
        kernels.append(kernel)
    return tuple(kernels)


def _finest(size: Triple, spacing: Spacing) -> float:
    """Return the finest spacing of the axes that can be halved; of all axes where none can."""
    return min([s for n, s in zip(size, spacing, strict=True) if n // 2 >= MINIMUM_SIZE] or spacing)


def _coarser(size: Triple, spacing: Spacing, stride: Triple) -> tuple[Triple, Spacing]:
    """Return size (rounded up, as a strided convolution does) and spacing after a stride."""
    x, y, z = (-(-n // by) for n, by in zip(size, stride, strict=True))
    u, v, w = (s * by for s, by in zip(spacing, stride, strict=True))
    return (x, y, z), (u, v, w)
