import itertools

import pytest

from wsseg.core.errors import RecipeError
from wsseg.networks._strides import derive_kernels, derive_strides

ALL, FLAT = (2, 2, 2), (2, 2, 1)
TABLE = {  # worked out by hand: patch, spacing, levels, strides after the first, kernels
    "iso": ((32, 32, 32), (3.0, 3.0, 3.0), 4, [ALL] * 3, [(3, 3, 3)] * 4),
    "iso_stops_at_4_voxels": ((32, 32, 32), (3.0, 3.0, 3.0), 9, [ALL] * 3, [(3, 3, 3)] * 4),
    "hippocampus": ((40, 56, 40), (1.0, 1.0, 1.0), 6, [ALL] * 3, [(3, 3, 3)] * 4),
    "acdc": ((96, 96, 12), (1.5, 1.5, 8.0), 4, [FLAT, FLAT, ALL], [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)]),
    "acdc_deep": (
        (96, 96, 12), (1.5, 1.5, 8.0), 9, [FLAT, FLAT, ALL, FLAT], [(3, 3, 1), (3, 3, 1), *[(3, 3, 3)] * 3]
    ),
    "acdc_turned": (
        (12, 96, 96), (8.0, 1.5, 1.5), 4, [(1, 2, 2)] * 2 + [ALL], [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    ),
    "sts": ((32, 32, 24), (3.9, 3.9, 6.5), 4, [ALL, ALL, FLAT], [(3, 3, 3)] * 4),
    "spacing_of_exactly_twice_waits": ((32, 32, 32), (1.0, 1.0, 2.0), 2, [FLAT], [(3, 3, 1), (3, 3, 3)]),
    "one_slice": ((8, 8, 1), (1.0, 1.0, 5.0), 4, [FLAT], [(3, 3, 1)] * 2),
    "seven_slices_are_never_halved": ((32, 32, 7), (1.0, 1.0, 1.0), 9, [FLAT] * 3, [(3, 3, 3)] * 4),
    "few_thick_slices": ((48, 48, 6), (1.0, 1.0, 5.0), 9, [FLAT] * 3, [(3, 3, 1)] * 2 + [(3, 3, 3)] * 2),
    "few_fine_slices_keep_the_plane": ((64, 64, 4), (1.0, 1.0, 0.3), 3, [FLAT] * 2, [(3, 3, 3)] * 3),
    "odd": ((9, 11, 7), (1.0, 1.0, 1.0), 4, [FLAT], [(3, 3, 3)] * 2),
    "odd_rounds_up": ((17, 15, 9), (1.0, 1.0, 1.0), 4, [ALL, FLAT], [(3, 3, 3)] * 3),
    "too_small_to_halve": ((4, 4, 1), (1.0, 1.0, 1.0), 4, [], [(3, 3, 1)]),
    "one_level_asked": ((32, 32, 32), (1.0, 1.0, 1.0), 1, [], [(3, 3, 3)]),
}  # fmt: skip


@pytest.mark.parametrize(("patch", "spacing", "levels", "strides", "kernels"), TABLE.values(), ids=TABLE.keys())
def test_strides_and_kernels_are_those_of_the_table(patch, spacing, levels, strides, kernels):
    derived = derive_strides(patch, spacing, levels)
    assert derived == ((1, 1, 1), *strides)
    assert derive_kernels(derived, patch, spacing) == tuple(kernels)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (6.0, 0.4, 1.0)])
def test_the_deepest_map_has_more_than_one_voxel(spacing):
    for patch in itertools.product([1, 2, 5, 8, 33], repeat=3):
        if patch == (1, 1, 1):
            continue
        size = patch
        for stride in derive_strides(patch, spacing, 20):
            size = tuple(-(-n // by) for n, by in zip(size, stride, strict=True))
        assert max(size) > 1
        assert all(deep >= min(n, 4) for deep, n in zip(size, patch, strict=True))


def test_a_patch_of_one_voxel_is_a_fault():
    with pytest.raises(RecipeError, match=r"data\.patch_size: \[1, 1, 1\] is a single voxel"):
        derive_strides((1, 1, 1), (1.0, 1.0, 1.0), 3)
