"""Single strokes in one slice: curves through a component and pieces along its contour.

All coordinates are pixels of one slice (U, V). Costs are rounded to binary fractions and all random numbers come from
the generator of the caller, so that a path never depends on the last bit of a machine's arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.morphology import skeletonize

from wsseg.volumes.types import Mask

Pixels = npt.NDArray[np.intp]
"""(N, 2), in drawing order; consecutive pixels touch by an edge or a corner."""

_QUEEN = np.ones((3, 3), bool)
_COST_STEP = 2.0**-20
"""Costs are rounded to multiples of this."""
_RELIEF_PIXELS = 8
"""Distance of the random heights, in pixels; see `_relief`."""
_RELIEF = 2.0
"""Height of the relief."""
_CANDIDATES = 32
"""Number of candidates for the next control point of a spline."""


def one_component(mask: Mask, rng: np.random.Generator) -> tuple[Mask, tuple[int, int]]:
    """Choose a connected component with a probability proportional to its area, and crop it with an empty rim.

    Returns:
        The component in its bounding box with a rim of one pixel, and the corner of that box: slice = box + corner.

    Raises:
        ValueError: The mask is empty.
    """
    numbered, chosen = _choose_component(mask, rng)
    window = ndimage.find_objects(numbered, max_label=chosen)[chosen - 1]
    component = np.pad(numbered[window] == chosen, 1)
    return component, (window[0].start - 1, window[1].start - 1)


def one_component_in_place(mask: Mask, rng: np.random.Generator, rim: int) -> tuple[Mask, tuple[int, int]]:
    """Choose a component as `one_component`, and crop it with a rim that is clipped to the slice.

    This way the border of the component can be distinguished from the edge of the slice.
    """
    numbered, chosen = _choose_component(mask, rng)
    window = ndimage.find_objects(numbered, max_label=chosen)[chosen - 1]
    u, v = (slice(max(w.start - rim, 0), w.stop + rim) for w in window)
    return numbered[u, v] == chosen, (u.start, v.start)


def _choose_component(mask: Mask, rng: np.random.Generator) -> tuple[npt.NDArray[np.int32], int]:
    """Return the numbered components and the number of the chosen one. ValueError: the mask is empty."""
    numbered, _ = ndimage.label(mask, structure=_QUEEN)
    areas = np.bincount(numbered.ravel())[1:]
    if not len(areas):
        raise ValueError("an empty mask has no component")
    return numbered, 1 + int(np.searchsorted(np.cumsum(areas), rng.integers(areas.sum()), side="right"))


def interior_curve(component: Mask, rng: np.random.Generator) -> Pixels:
    """Return a curve of one pixel width through the middle of a component, from end to end.

    The curve is the longest geodesic: the path of least cost from the pixel farthest from a random one to the pixel
    farthest from that. The cost is the inverse distance to the border times a random relief, so that the curve stays
    near the middle without following it exactly. Up to a sixth of the path is cut off at random at each end. The curve
    does not touch the border wherever the component is three pixels thick.

    Args:
        component: (U, V), connected, its outermost rim empty.
        rng: Source of the relief and the ends.
    """
    depth = ndimage.distance_transform_edt(component)
    inside = depth > 1 if bool((depth > 1).any()) else component
    numbered, parts = ndimage.label(inside, structure=_QUEEN)
    if parts > 1:
        inside = numbered == 1 + int(np.bincount(numbered.ravel())[1:].argmax())
    cost = np.where(inside, _relief(component.shape, rng) / np.maximum(depth, 1), -1)
    cost = np.where(inside, np.maximum(np.round(cost / _COST_STEP), 1) * _COST_STEP, -1)
    pixels = np.argwhere(inside)
    path = _longest_path(cost, pixels, pixels[rng.integers(len(pixels))])
    early, late = rng.integers(0, max(len(path) // 6, 1), 2)
    return np.asarray(path[early : len(path) - late], np.intp)


def skeleton_path(component: Mask) -> Pixels:
    """Return the longest geodesic of a component's skeleton (Zhang and Suen 1984), from end to end.

    If the skeleton is closed, as in a ring, this is the path to its opposite side.

    Args:
        component: (U, V), connected, its outermost rim empty.
    """
    skeleton = skeletonize(component)
    if not skeleton.any():  # a block of 2 x 2 pixels has an empty skeleton
        skeleton = component
    numbered, _ = ndimage.label(skeleton, structure=_QUEEN)
    part = numbered == 1 + int(np.bincount(numbered.ravel())[1:].argmax())
    pixels = np.argwhere(part)
    return _longest_path(np.where(part, 1.0, -1.0), pixels, pixels[0])


def _longest_path(cost: npt.NDArray[Any], pixels: Pixels, start: npt.NDArray[np.intp]) -> Pixels:
    """Return the path from the pixel farthest from `start` to the pixel farthest from that one."""
    for _ in range(2):
        routes = MCP_Geometric(cost)
        reach, _traced = routes.find_costs([tuple(start)])
        first, start = start, pixels[int(np.argmax(reach[tuple(pixels.T)]))]
    path = np.asarray(routes.traceback(tuple(start)), np.intp)
    return path if len(path) else np.asarray([first], np.intp)


def spline(component: Mask, rng: np.random.Generator) -> Pixels:
    """Return a clamped quadratic B-spline with 4 control points (a NURBS of degree 2 with unit weights).

    The control points are random pixels of the component. The straight line from each to the next stays inside the
    component; if this holds for none of 32 candidates, as in a thin ring, the point is repeated. Pixels of the curve
    outside the component are left out. All arithmetic is in whole numbers.

    Args:
        component: (U, V), connected.
        rng: Source of the control points.
    """
    pixels = np.argwhere(component)
    points = [pixels[rng.integers(len(pixels))]]
    for _ in range(3):
        candidates = pixels[rng.integers(len(pixels), size=_CANDIDATES)]
        visible = np.flatnonzero(_visible(component, points[-1], candidates))
        points.append(candidates[visible[0]] if len(visible) else points[-1])
    a, b, c, d = (2 * point for point in points)
    curve = np.concatenate([_arc(a, b, (b + c) // 2), _arc((b + c) // 2, c, d)])
    return np.asarray(curve[component[tuple(curve.T)]], np.intp)


def _visible(component: Mask, origin: npt.NDArray[np.intp], targets: Pixels) -> Mask:
    """Return for each target whether the straight line from `origin` to it stays inside the component."""
    offsets = targets - origin
    steps = max(int(np.abs(offsets).max()), 1)
    lines = (2 * (origin * steps + offsets[:, None] * np.arange(steps + 1)[:, None]) + steps) // (2 * steps)
    return np.asarray(component[lines[..., 0], lines[..., 1]].all(axis=1), bool)


def _arc(a: Pixels, b: Pixels, c: Pixels) -> Pixels:
    """Return the pixels of a quadratic Bezier curve without gaps. The control points are in half pixels."""
    n = max(int(np.abs(b - a).max()), int(np.abs(c - b).max()), 1)
    t = np.arange(n + 1)[:, None]
    doubled, whole = (n - t) ** 2 * a + 2 * t * (n - t) * b + t**2 * c, 2 * n**2
    return np.asarray((2 * doubled + whole) // (2 * whole), np.intp)


def contour(component: Mask, inset: int) -> Mask:
    """Return the contour of a component that was eroded by `inset` pixels; empty if the component is too thin."""
    shrunk = ndimage.binary_erosion(component, iterations=inset) if inset else component
    return np.asarray(shrunk & ~ndimage.binary_erosion(shrunk), bool)


def surrounding_contour(component: Mask, distance: int) -> Mask:
    """Return the contour of a component that was filled and dilated by `distance` + 1 pixels."""
    grown = ndimage.binary_dilation(ndimage.binary_fill_holes(component), iterations=distance + 1)
    return np.asarray(grown & ~ndimage.binary_erosion(grown, border_value=1), bool)


def contour_piece(ring: Mask, maximum_share: float, rng: np.random.Generator) -> Pixels:
    """Return a path along a contour from a random start over at most `maximum_share` of its pixels; may be empty."""
    pixels = np.argwhere(ring)
    maximum = int(maximum_share * len(pixels))
    if maximum < 1:
        return np.empty((0, 2), np.intp)
    start = pixels[rng.integers(len(pixels))]
    routes = MCP_Geometric(np.where(ring, 1.0, -1.0))
    reach, _ = routes.find_costs([tuple(start)])
    distance = reach[tuple(pixels.T)]
    ends = np.flatnonzero(distance == np.max(distance[distance <= maximum - 1]))  # each step is at least one pixel
    return np.asarray(routes.traceback(tuple(pixels[rng.choice(ends)])), np.intp)


def curved_contour_piece(component: Mask, depth: int, shares: tuple[float, float], rng: np.random.Generator) -> Pixels:
    """Return a piece of the contour at `depth` pixels inside a component, preferably where it is curved.

    The edge of the slice does not count as border. The piece extends equally far to both sides of a random pixel. Its
    probability is proportional to the curvature plus one, where the curvature is the difference between the number of
    inside pixels among its 7 x 7 neighbours and 28, the number at a straight border (after the integral invariant of
    Manay et al. 2006; a reconstruction of "probability by curvature").

    Args:
        component: (U, V), connected; see `one_component_in_place`.
        depth: Euclidean distance to the outside, in pixels.
        shares: Minimum and maximum length as a share of the contour's pixels; at least one pixel.
        rng: Source of length and place.

    Returns:
        The pixels (N, 2); none if the component is too thin.
    """
    inside = component & (ndimage.distance_transform_edt(component) > depth)
    outline = inside & ~ndimage.binary_erosion(inside, border_value=1)
    pixels = np.argwhere(outline)
    if component.all() or not len(pixels):
        return np.empty((0, 2), np.intp)
    minimum, maximum = (max(1, int(share * len(pixels))) for share in shares)
    length = int(rng.integers(minimum, maximum + 1))
    around = np.pad(inside, 3, mode="edge")
    counts = sum(around[tuple((pixels + shift).T)].astype(int) for shift in np.ndindex(7, 7))
    weights = np.cumsum(np.abs(counts - 28) + 1)
    start = pixels[int(np.searchsorted(weights, rng.integers(weights[-1]), side="right"))]
    piece = np.zeros(outline.shape, bool)
    piece[tuple(start)] = True
    if length > 2:
        piece = ndimage.binary_dilation(piece, structure=_QUEEN, iterations=(length - 1) // 2, mask=outline)
    return np.argwhere(piece)


def thicken(path: Pixels, component: Mask, pen: Mask) -> Mask:
    """Return the pixels covered by a pen along the path, clipped to the component."""
    drawn = np.zeros(component.shape, bool)
    drawn[tuple(path.T)] = True
    return (ndimage.binary_dilation(drawn, structure=pen) if pen.size > 1 else drawn) & component


def square(thickness: int) -> Mask:
    """Return a square pen."""
    return np.ones((thickness, thickness), bool)


def disc(thickness: int) -> Mask:
    """Return a round pen of odd thickness; 3 is a cross of five pixels."""
    radius = thickness // 2
    u, v = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(u**2 + v**2 <= radius**2, bool)


def _relief(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return smooth random heights in [1, 1 + _RELIEF]: a coarse grid of uniform numbers, interpolated linearly."""
    heights = rng.random([n // _RELIEF_PIXELS + 2 for n in shape])
    for axis, n in enumerate(shape):
        position = np.arange(n) / _RELIEF_PIXELS
        low = position.astype(int)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        heights = heights.take(low, axis) * (1 - weight) + heights.take(low + 1, axis) * weight
    return 1 + _RELIEF * heights
