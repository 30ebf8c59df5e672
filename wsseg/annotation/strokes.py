"""One stroke in one slice: the curve through a region, and the piece along its contour, that an annotator would draw.

All coordinates are pixels of one slice (U, V). Costs are rounded to binary fractions and all random numbers come from
the generator handed in, so that a path never hangs on the last bit of a machine's arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric

Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.intp]
"""(N, 2), in the order in which the pen meets them; neighbours touch by an edge or a corner."""

_QUEEN = np.ones((3, 3), bool)
_COST_STEP = 2.0**-20
_RELIEF_PIXELS = 8
_RELIEF = 2.0


def one_component(mask: Mask, rng: np.random.Generator) -> tuple[Mask, tuple[int, int]]:
    """Pick one connected component, the larger the likelier, and cut it out with an empty rim of one pixel.

    Returns:
        The component in its bounding box and the place of the box's corner in the slice: slice = box + corner.

    Raises:
        ValueError: The mask is empty.
    """
    numbered, _ = ndimage.label(mask, structure=_QUEEN)
    areas = np.bincount(numbered.ravel())[1:]
    if not len(areas):
        raise ValueError("an empty mask has no component")
    chosen = 1 + int(np.searchsorted(np.cumsum(areas), rng.integers(areas.sum()), side="right"))
    window = ndimage.find_objects(numbered, max_label=chosen)[chosen - 1]
    component = np.pad(numbered[window] == chosen, 1)
    return component, (window[0].start - 1, window[1].start - 1)


def interior_curve(component: Mask, rng: np.random.Generator) -> Pixels:
    """Draw a curve one pixel wide through the middle of a component, as far as it reaches.

    The longest geodesic: from the pixel farthest from a random one to the pixel farthest from that, along the way of
    least cost; the cost is the inverse distance to the border times a random relief, so that the pen keeps to the
    middle without following it exactly. Both ends are lifted early, as a person does. The curve stays off the border
    wherever the component is three pixels thick.

    Args:
        component: (U, V), connected, its outermost rim empty.
        rng: Where the relief and the ends come from.
    """
    depth = ndimage.distance_transform_edt(component)
    inside = depth > 1 if bool((depth > 1).any()) else component
    numbered, parts = ndimage.label(inside, structure=_QUEEN)
    if parts > 1:
        inside = numbered == 1 + int(np.bincount(numbered.ravel())[1:].argmax())
    cost = np.where(inside, _relief(component.shape, rng) / np.maximum(depth, 1), -1)
    cost = np.where(inside, np.maximum(np.round(cost / _COST_STEP), 1) * _COST_STEP, -1)
    pixels = np.argwhere(inside)
    start = pixels[rng.integers(len(pixels))]
    for _ in range(2):
        routes = MCP_Geometric(cost)
        reach, _traced = routes.find_costs([tuple(start)])
        first, start = start, pixels[int(np.argmax(reach[tuple(pixels.T)]))]
    path = np.asarray(routes.traceback(tuple(start)))
    if not len(path):
        return np.asarray([first], np.intp)
    early, late = rng.integers(0, max(len(path) // 6, 1), 2)
    return np.asarray(path[early : len(path) - late], np.intp)


def contour(component: Mask, inset: int) -> Mask:
    """Return the pixels that lie `inset` pixels inside the component's outermost ones; none where it is too thin."""
    shrunk = ndimage.binary_erosion(component, iterations=inset) if inset else component
    return np.asarray(shrunk & ~ndimage.binary_erosion(shrunk), bool)


def surrounding_contour(component: Mask, distance: int) -> Mask:
    """Return the pixels outside the component, `distance` pixels beyond the ones that touch it; holes are left out."""
    grown = ndimage.binary_dilation(ndimage.binary_fill_holes(component), iterations=distance + 1)
    return np.asarray(grown & ~ndimage.binary_erosion(grown, border_value=1), bool)


def contour_piece(ring: Mask, maximum_share: float, rng: np.random.Generator) -> Pixels:
    """Draw along a contour from a random place on, over at most `maximum_share` of its pixels; nothing if under one."""
    pixels = np.argwhere(ring)
    most = int(maximum_share * len(pixels))
    if most < 1:
        return np.empty((0, 2), np.intp)
    start = pixels[rng.integers(len(pixels))]
    routes = MCP_Geometric(np.where(ring, 1.0, -1.0))
    reach, _ = routes.find_costs([tuple(start)])
    way = reach[tuple(pixels.T)]
    ends = np.flatnonzero(way == np.max(way[way <= most - 1]))  # a step is at least one pixel long
    return np.asarray(routes.traceback(tuple(pixels[rng.choice(ends)])), np.intp)


def thicken(path: Pixels, component: Mask, thickness: int) -> Mask:
    """Return the pixels under a square pen of `thickness` pixels that follows the path, never outside the component."""
    drawn = np.zeros(component.shape, bool)
    drawn[tuple(path.T)] = True
    if thickness > 1:
        drawn = ndimage.binary_dilation(drawn, structure=np.ones((thickness, thickness), bool))
    return drawn & component


def _relief(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return smooth random heights in [1, 1 + _RELIEF]: a coarse grid of uniform numbers, interpolated linearly."""
    heights = rng.random([n // _RELIEF_PIXELS + 2 for n in shape])
    for axis, n in enumerate(shape):
        place = np.arange(n) / _RELIEF_PIXELS
        low = place.astype(int)
        part = (place - low).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        heights = heights.take(low, axis) * (1 - part) + heights.take(low + 1, axis) * part
    return 1 + _RELIEF * heights
