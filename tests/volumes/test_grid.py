"""The measures of a grid."""

import numpy as np
import pytest

from wsseg.volumes import nifti

SHAPE = (4, 5, 6)


def test_a_sheared_grid_is_measured_by_the_edges_of_its_voxels() -> None:
    affine = np.diag([0.8, 1.2, 3.0, 1.0])
    assert nifti.grid_of(SHAPE, affine).metric_mm == pytest.approx((0.8, 1.2, 3.0))
    affine[1, 2] = 1.1  # a gantry tilt
    grid = nifti.grid_of(SHAPE, affine)
    assert np.array_equal(grid.metric_mm, affine[:3, :3])
    assert grid.voxel_mm3 == pytest.approx(0.8 * 1.2 * 3.0)
