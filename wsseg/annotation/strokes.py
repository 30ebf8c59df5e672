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
from skimage.morphology import skeletonize

from wsseg.volumes.types import Mask

Pixels = npt.NDArray[np.intp]
"""(N, 2), in the order in which the pen meets them; neighbours touch by an edge or a corner."""

_QUEEN = np.ones((3, 3), bool)
_COST_STEP = 2.0**-20
_RELIEF_PIXELS = 8
_RELIEF = 2.0
_CANDIDATES = 32


def one_component(mask: Mask, rng: np.random.Generator) -> tuple[Mask, tuple[int, int]]:
    """Pick one connected component, the larger the likelier, and cut it out with an empty rim of one pixel.

    Returns:
        The component in its bounding box and the place of the box's corner in the slice: slice = box + corner.

    Raises:
        ValueError: The mask is empty.
    """
    numbered, chosen = _picked(mask, rng)
    window = ndimage.find_objects(numbered, max_label=chosen)[chosen - 1]
    component = np.pad(numbered[window] == chosen, 1)
    return component, (window[0].start - 1, window[1].start - 1)


def one_component_in_place(mask: Mask, rng: np.random.Generator, rim: int) -> tuple[Mask, tuple[int, int]]:
    """Pick as `one_component` does, and cut out with a rim that ends where the slice ends.

    Whoever looks for the component's border can so tell it from the slice's edge, behind which nothing is known.
    """
    numbered, chosen = _picked(mask, rng)
    window = ndimage.find_objects(numbered, max_label=chosen)[chosen - 1]
    u, v = (slice(max(w.start - rim, 0), w.stop + rim) for w in window)
    return numbered[u, v] == chosen, (u.start, v.start)


def _picked(mask: Mask, rng: np.random.Generator) -> tuple[npt.NDArray[np.int32], int]:
    """Return the numbered components and the one that was picked. Raises ValueError where the mask is empty."""
    numbered, _ = ndimage.label(mask, structure=_QUEEN)
    areas = np.bincount(numbered.ravel())[1:]
    if not len(areas):
        raise ValueError("an empty mask has no component")
    return numbered, 1 + int(np.searchsorted(np.cumsum(areas), rng.integers(areas.sum()), side="right"))


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
    path = _longest_way(cost, pixels, pixels[rng.integers(len(pixels))])
    early, late = rng.integers(0, max(len(path) // 6, 1), 2)
    return np.asarray(path[early : len(path) - late], np.intp)


def skeleton_path(component: Mask) -> Pixels:
    """Return the longest geodesic of a component's skeleton (Zhang and Suen 1984), from end to end.

    Where the skeleton closes on itself, as in a ring, that is the way to its opposite side.

    Args:
        component: (U, V), connected, its outermost rim empty.
    """
    skeleton = skeletonize(component)
    if not skeleton.any():  # of a block of 2 x 2 pixels nothing is left
        skeleton = component
    numbered, _ = ndimage.label(skeleton, structure=_QUEEN)
    part = numbered == 1 + int(np.bincount(numbered.ravel())[1:].argmax())
    pixels = np.argwhere(part)
    return _longest_way(np.where(part, 1.0, -1.0), pixels, pixels[0])


def _longest_way(cost: npt.NDArray[Any], pixels: Pixels, start: npt.NDArray[np.intp]) -> Pixels:
    """Return the way from the pixel that is farthest from `start` to the one that is farthest from that."""
    for _ in range(2):
        routes = MCP_Geometric(cost)
        reach, _traced = routes.find_costs([tuple(start)])
        first, start = start, pixels[int(np.argmax(reach[tuple(pixels.T)]))]
    path = np.asarray(routes.traceback(tuple(start)), np.intp)
    return path if len(path) else np.asarray([first], np.intp)


def spline(component: Mask, rng: np.random.Generator) -> Pixels:
    """Draw a curve that bends twice: a clamped quadratic B-spline (a NURBS of degree 2, all weights 1) of 4 points.

    The points come from the component, and each is seen from the one before: nothing but the component lies between
    them. Where none of 32 candidates is, as in a thin ring, the last point stands twice. What of the curve leaves the
    component is left out. All arithmetic is in whole numbers.

    Args:
        component: (U, V), connected.
        rng: Where the points come from.
    """
    pixels = np.argwhere(component)
    points = [pixels[rng.integers(len(pixels))]]
    for _ in range(3):
        candidates = pixels[rng.integers(len(pixels), size=_CANDIDATES)]
        seen = np.flatnonzero(_in_sight(component, points[-1], candidates))
        points.append(candidates[seen[0]] if len(seen) else points[-1])
    a, b, c, d = (2 * point for point in points)
    curve = np.concatenate([_arc(a, b, (b + c) // 2), _arc((b + c) // 2, c, d)])
    return np.asarray(curve[component[tuple(curve.T)]], np.intp)


def _in_sight(component: Mask, eye: npt.NDArray[np.intp], targets: Pixels) -> Mask:
    """Tell of each target whether the straight line to it stays inside the component."""
    way = targets - eye
    steps = max(int(np.abs(way).max()), 1)
    along = (2 * (eye * steps + way[:, None] * np.arange(steps + 1)[:, None]) + steps) // (2 * steps)
    return np.asarray(component[along[..., 0], along[..., 1]].all(axis=1), bool)


def _arc(a: Pixels, b: Pixels, c: Pixels) -> Pixels:
    """Return the pixels of a quadratic Bezier curve, its three points given in half pixels; none is jumped over."""
    n = max(int(np.abs(b - a).max()), int(np.abs(c - b).max()), 1)
    t = np.arange(n + 1)[:, None]
    doubled, whole = (n - t) ** 2 * a + 2 * t * (n - t) * b + t**2 * c, 2 * n**2
    return np.asarray((2 * doubled + whole) // (2 * whole), np.intp)


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


def bent_piece(component: Mask, depth: int, shares: tuple[float, float], rng: np.random.Generator) -> Pixels:
    """Draw along the outline of what lies more than `depth` pixels inside, rather where it bends; nothing if too thin.

    The slice's edge is no border. The piece goes as far to one side of a pixel as to the other; that pixel is picked
    by curvature, measured as area: by how many of its 7 x 7 neighbours inside differ from the 28 of a straight border,
    and one more (after the integral invariant of Manay et al. 2006; a reconstruction of "probability by curvature").

    Args:
        component: (U, V), connected; see `one_component_in_place`.
        depth: Euclidean distance to the outside.
        shares: The least and the most of the outline's pixels; at least one pixel is drawn.
        rng: Where length and place come from.
    """
    inside = component & (ndimage.distance_transform_edt(component) > depth)
    outline = inside & ~ndimage.binary_erosion(inside, border_value=1)
    pixels = np.argwhere(outline)
    if component.all() or not len(pixels):
        return np.empty((0, 2), np.intp)
    least, most = (max(1, int(share * len(pixels))) for share in shares)
    length = int(rng.integers(least, most + 1))
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
    """Return the pixels under a pen that follows the path, never outside the component."""
    drawn = np.zeros(component.shape, bool)
    drawn[tuple(path.T)] = True
    return (ndimage.binary_dilation(drawn, structure=pen) if pen.size > 1 else drawn) & component


def square(thickness: int) -> Mask:
    """Return a square pen."""
    return np.ones((thickness, thickness), bool)


def disc(thickness: int) -> Mask:
    """Return a round pen of an odd thickness: 3 makes a cross of five pixels."""
    radius = thickness // 2
    u, v = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(u**2 + v**2 <= radius**2, bool)


def _relief(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return smooth random heights in [1, 1 + _RELIEF]: a coarse grid of uniform numbers, interpolated linearly."""
    heights = rng.random([n // _RELIEF_PIXELS + 2 for n in shape])
    for axis, n in enumerate(shape):
        place = np.arange(n) / _RELIEF_PIXELS
        low = place.astype(int)
        part = (place - low).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        heights = heights.take(low, axis) * (1 - part) + heights.take(low + 1, axis) * part
    return 1 + _RELIEF * heights
