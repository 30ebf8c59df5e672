"""Names for the array types that the whole package uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""An image, or any other array."""
Labels = npt.NDArray[np.uint8]
"""A label map: class numbers 0..C-1 and IGNORE."""
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
"""One number per class, (C,)."""
