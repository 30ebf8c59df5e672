"""The order in which the axes of files are worked on. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Direction = tuple[float, float, float]
Frame = tuple[Direction, Direction, Direction]
_ORTHOGONAL = 1e-3
RAS: Frame = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class AxisOrder:
    """A rule that turns the axes of every file of a dataset to the working order (x, y, z).

    Each axis of a file takes the place and the direction of the closest axis of `frame`. If `through` is set, the
    through-plane axis of the file is then moved to the last place: the axis with the thickest voxels, or, where no
    axis is clearly thicker than the others, the axis in the place `through`.

    Attributes:
        frame: Three unit vectors in RAS coordinates; None keeps the axes of each file and their directions.
        through: The place of the through-plane axis before it is moved; None moves no axis.
    """

    frame: Frame | None = RAS
    through: int | None = None

    def record(self) -> dict[str, Any]:
        """Return the rule as plain data."""
        return {"frame": None if self.frame is None else [list(axis) for axis in self.frame], "through": self.through}

    @classmethod
    def from_record(cls, plain: Mapping[str, Any] | None) -> AxisOrder:
        """Return the rule of `record`; None, as in runs that were made before the rule was recorded, is `CANONICAL`.

        Raises:
            TypeError, ValueError, KeyError: It is not such a record.
        """
        if plain is None:
            return CANONICAL
        frame, through = plain["frame"], plain["through"]
        if through not in (None, 0, 1, 2) or isinstance(through, bool):
            raise ValueError(f"through is {through!r}, expected null, 0, 1 or 2")
        if frame is None:
            return cls(None, through)
        (a, b, c), (d, e, f), (g, h, i) = ([float(value) for value in axis] for axis in frame)
        axes = ((a, b, c), (d, e, f), (g, h, i))
        for n, first in enumerate(axes):
            for m, second in enumerate(axes):
                if not abs(sum(u * v for u, v in zip(first, second, strict=True)) - (n == m)) < _ORTHOGONAL:
                    raise ValueError("the axes of frame are not orthogonal unit vectors")
        return cls(axes, through)


CANONICAL = AxisOrder()
"""The closest RAS axes: x runs to the patient's right, y to the front, z to the head."""
