r"""Synthetic left-atrium scans: seeded, endless in number, nothing to download.

A case imitates a late-gadolinium-enhanced cardiac MR scan.  Every organ is made of tubes, each with
its signed distance in mm, negative inside.  The tubes form a textbook heart in a textbook chest; a
case bends, turns and rescales them, then paints one organ after another over the image, the atrium
last, so that its thin dark wall parts it from every neighbour.

Positions are in mm from the middle of the field of view, in RAS axes: x to the right, y anterior,
z superior.  Tones are relative to the blood of the left atrium, which is about 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.random import Generator

VERSION = 1  # raise when the volumes would come out differently
SHAPE = (96, 80, 64)  # voxels (x, y, z)
SPACING = (1.25, 1.25, 1.25)  # mm
FIELD_OF_VIEW = np.multiply(SHAPE, SPACING)  # mm, the same for arrays of any shape

Vector = tuple[float, float, float] | np.ndarray


@dataclass(frozen=True)
class Tube:
    r"""Round-ended tube whose radius changes evenly from start to end; lengths in mm."""

    start: Vector
    end: Vector
    start_radius: float
    end_radius: float

    def distance(self, points: np.ndarray) -> np.ndarray:
        r"""Signed distance (X, Y, Z) in mm at `points` (3, X, Y, Z)."""
        axis = np.subtract(self.end, self.start)
        share = np.clip(_along(points, axis / (axis @ axis), self.start), 0, 1)
        square = np.zeros_like(share)
        for coordinate, origin, step in zip(points, self.start, axis, strict=True):
            offset = coordinate - np.float32(origin)
            offset -= share * np.float32(step)
            square += np.square(offset, out=offset)
        widening = np.float32(self.end_radius - self.start_radius)
        return np.sqrt(square) - share * widening - np.float32(self.start_radius)

    def beyond_end(self, points: np.ndarray) -> np.ndarray:
        r"""Signed distance (X, Y, Z) in mm to the plane across the tube's end, positive past it."""
        return _along(points, _unit(np.subtract(self.end, self.start)), self.end)

    def varied(self, rng: Generator) -> Tube:
        r"""The same tube, a little displaced, turned and resized."""
        shift = rng.normal(0, 2.5, 3)
        end = self.end + shift + rng.normal(0, 3, 3)
        size = rng.uniform(0.85, 1.2)
        return Tube(self.start + shift, end, self.start_radius * size, self.end_radius * size)


# Tone and place of what stays upright while the heart turns.
CHEST = (
    ("liver", Tube((20, 25, -70), (70, 25, -70), 34, 38)),
    ("lung", Tube((-92, -20, -70), (-92, -20, 70), 46, 46)),
    ("lung", Tube((92, -20, -70), (92, -20, 70), 46, 46)),
    ("bone", Tube((5, -60, -70), (5, -60, 70), 19, 19)),
    ("muscle", Tube((-3, -36, -70), (0, -36, 70), 4.5, 4.5)),  # esophagus
)
DESCENDING_AORTA = ("left", 2.0, (Tube((-19, -44, -70), (-17, -43, 70), 10, 10),))

# Side, thickness of the wall in mm and blood pools of the neighbours of an atrium at the origin.
RIGHT_ATRIUM_AND_CAVAE = (
    Tube((37, 20, -14), (35, 21, 2), 17, 14),
    Tube((38, 12, -20), (36, 4, -70), 11, 12),
    Tube((33, 15, 8), (30, 10, 70), 9, 9),
)
RIGHT_VENTRICLE_AND_PULMONARY_ARTERY = (
    Tube((14, 46, -14), (-12, 66, -40), 15, 12),
    Tube((4, 50, -10), (-19, 22, 36), 12, 11),
    Tube((-19, 20, 36), (45, 2, 30), 10, 8),
)
HEART = (
    ("right", 2.5, RIGHT_VENTRICLE_AND_PULMONARY_ARTERY),
    ("left", 9.0, (Tube((-17, 28, -22), (-38, 50, -44), 16, 11),)),  # left ventricle
    ("right", 2.0, RIGHT_ATRIUM_AND_CAVAE),
    ("left", 2.0, (Tube((3, 27, 2), (12, 30, 70), 13, 13),)),  # ascending aorta
)

# Directions from the middle of the atrium to the mouths of its veins, and their radius in mm.
RIGHT_PAIR = (((0.80, -0.30, 0.45), 6.5), ((0.75, -0.60, -0.35), 6.0))
RIGHT_MIDDLE = (((0.90, -0.50, 0.10), 4.5),)
LEFT_PAIR = (((-0.80, -0.35, 0.40), 6.0), ((-0.80, -0.50, -0.35), 6.0))
LEFT_TRUNK = (((-0.85, -0.50, 0.10), 8.5),)
VEIN_PATTERNS = (
    LEFT_TRUNK + RIGHT_PAIR,
    LEFT_PAIR + RIGHT_PAIR,
    LEFT_PAIR + RIGHT_PAIR + RIGHT_MIDDLE,
)
VEIN_PATTERN_SHARES = (0.2, 0.6, 0.2)

# Between which limits a case draws its tones; "left" and "right" are the blood of the neighbours.
TONES = {
    "tissue": (0.3, 0.75),
    "muscle": (0.2, 0.6),
    "wall": (0.2, 0.6),
    "lung": (0.03, 0.12),
    "bone": (0.3, 0.9),
    "liver": (0.3, 0.9),
    "left": (0.7, 1.4),
    "right": (0.7, 1.4),
}


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _along(points: np.ndarray, direction: np.ndarray, origin: Vector) -> np.ndarray:
    r"""How far each point (3, X, Y, Z) lies past `origin` along `direction`, (X, Y, Z)."""
    x, y, z = direction.astype(np.float32)
    return points[0] * x + points[1] * y + points[2] * z - np.float32(direction @ origin)


def _smooth_union(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    overlap = np.maximum(blend - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap**2 / (4 * blend)


def _smooth_field(rng: Generator, shape: tuple[int, int, int], waves: int) -> np.ndarray:
    r"""Random field (X, Y, Z) float32 of mean about 0 and deviation about 1.

    A sum of cosines with 1 to `waves` half periods along each axis: the same field, sampled more
    or less finely, for every `shape`.
    """
    order = np.arange(1, waves + 1)
    x, y, z = np.ix_(order, order, order)
    fading = 1 / np.sqrt(x**2 + y**2 + z**2)
    field = rng.standard_normal(fading.shape) * fading / np.linalg.norm(fading)
    for size in shape:
        turns = order * (np.arange(size)[:, None] + 0.5) / size / 2 + rng.uniform(0, 1, waves)
        wave = np.sqrt(2) * np.cos(2 * np.pi * turns)
        # einsum and not matmul: BLAS may add in another order with another number of threads.
        field = np.einsum("abc,na->bcn", np.float32(field), np.float32(wave))
    return field


def _chamber(rng: Generator, half_axes: np.ndarray, points: np.ndarray) -> np.ndarray:
    r"""Signed distance in mm to the body of the atrium with its appendage."""
    width, depth, height = half_axes
    reach = np.array((width - depth, 0, 0)) + rng.normal(0, 2, 3)
    body = Tube(-reach, reach, depth * rng.uniform(0.85, 1.1), depth).distance(points)
    reach = np.array((0, 0, height - depth)) + rng.normal(0, 2, 3)
    bulge = Tube(-reach, reach, depth * rng.uniform(0.85, 1.1), depth).distance(points)
    body = _smooth_union(body, bulge, 8)
    tip, radius = half_axes * (-0.80, 0.45, 0.30), 6.5
    heading = np.array((-0.7, 0.5, 0.1))
    appendage = np.full_like(body, np.inf)
    for _ in range(rng.integers(2, 4)):  # a crooked chain of lobes
        heading = _unit(heading + rng.normal(0, 0.35, 3))
        start, tip = tip, tip + heading * rng.uniform(5, 8)
        narrow, radius = radius * 0.85, radius * rng.uniform(0.8, 1.1)
        appendage = np.minimum(appendage, Tube(start, tip, narrow, radius).distance(points))
    return _smooth_union(body, appendage, 3)


def _veins(
    rng: Generator, half_axes: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Signed distances in mm to the labeled first stretch of the veins and to all of them."""
    labeled = whole = np.full(points.shape[1:], np.inf, np.float32)
    for direction, radius in VEIN_PATTERNS[rng.choice(3, p=VEIN_PATTERN_SHARES)]:
        mouth = half_axes * _unit(direction + rng.normal(0, 0.12, 3))
        heading = _unit(mouth + rng.normal(0, 4, 3))
        cut = mouth + heading * rng.uniform(8, 11)
        radius = radius * rng.uniform(0.85, 1.15)
        stem = Tube(mouth * 0.6, cut, radius * 1.25, radius)
        distance = stem.distance(points)
        labeled = np.minimum(labeled, np.maximum(distance, stem.beyond_end(points)))
        whole = np.minimum(whole, distance)
        for fork in (0.45, -0.45):
            end = cut + 30 * _unit(heading + rng.normal((0, 0, fork), 0.2))
            branch = Tube(cut, end, radius * 0.85, radius * 0.4)
            whole = np.minimum(whole, branch.distance(points))
    return labeled, whole


def _atrium(rng: Generator, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Signed distances in mm to the labeled atrium and to all blood that runs on from it."""
    build = rng.normal(0, 0.08, 3)  # longer one way, shorter another: the volume stays
    half_axes = np.array((25, 15.5, 19.5)) * np.exp(build - build.mean())
    chamber = _chamber(rng, half_axes, points)
    labeled, whole = _veins(rng, half_axes, points)
    return _smooth_union(chamber, labeled, 4), _smooth_union(chamber, whole, 4)


def _chest_points(rng: Generator, shape: tuple[int, int, int]) -> np.ndarray:
    r"""Where each voxel lies in the textbook chest, in mm (3, X, Y, Z)."""
    steps = FIELD_OF_VIEW / shape
    axes = [(np.arange(n) + 0.5 - n / 2) * step for n, step in zip(shape, steps, strict=True)]
    upright = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.stack([np.float32(axis) + 2.5 * _smooth_field(rng, shape, 5) for axis in upright])


def _heart_points(rng: Generator, points: np.ndarray) -> np.ndarray:
    r"""Where `points` of the chest lie in the textbook heart, in mm (3, X, Y, Z)."""
    from scipy.spatial.transform import Rotation  # real data are trained with without SciPy

    turn = Rotation.from_euler("xyz", rng.uniform(-22, 22, 3), degrees=True).as_matrix()
    stretch = rng.uniform(-0.12, 0.12, 3)
    size = rng.uniform(0.9, 1.1) * np.exp(stretch - stretch.mean())
    place = (0, -8, -2) + rng.uniform(-1, 1, 3) * (6, 5, 3)
    return np.stack([_along(points, row, place) for row in turn.T / size[:, None]])


def _paint(image: np.ndarray, distance: np.ndarray, tone: float | np.ndarray) -> None:
    r"""Paint a solid over `image` in place; its border is a voxel wide (partial volume)."""
    edge = 1.3 * np.mean(FIELD_OF_VIEW / image.shape)
    share = np.clip(0.5 - distance * np.float32(1 / edge), 0, 1)
    image += share * (np.float32(tone) - image)


def _draw_scene(rng: Generator, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    r"""Noise-free image (X, Y, Z) in tones, and signed distance (X, Y, Z) in mm to the label."""
    chest = _chest_points(rng, shape)
    heart = _heart_points(rng, chest)
    labeled, whole = _atrium(rng, heart)
    tones = {name: rng.uniform(*limits) for name, limits in TONES.items()}
    grain = _smooth_field(rng, shape, 12)
    thickness = np.clip(0.9 + 0.35 * _smooth_field(rng, shape, 6), 0.4, 2)
    image = np.float32(tones["tissue"]) * (1 + 0.25 * grain)
    for name, tube in CHEST:
        _paint(image, tube.distance(chest), tones[name])
    for points, vessels in ((chest, [DESCENDING_AORTA]), (heart, HEART)):
        for side, wall, tubes in vessels:
            distances = [tube.varied(rng).distance(points) for tube in tubes]
            distance = np.minimum.reduce(distances)
            _paint(image, distance - wall * thickness, tones["muscle"])
            _paint(image, distance, tones[side] * rng.uniform(0.85, 1.15))
    scar = rng.uniform(0, 1) * np.clip(_smooth_field(rng, shape, 8) - 1, 0, 1)
    _paint(image, whole - 2 * thickness, tones["wall"] + scar)
    _paint(image, whole, 1 + 0.04 * grain)
    return image, labeled


def make_case(
    index: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE
) -> tuple[np.ndarray, np.ndarray]:
    r"""One synthetic scan and its left atrium, the same bits for the same arguments.

    Parameters
    ----------
    index, seed : int
        Which case, and of which series; 0 or more.
    shape : tuple of int
        Voxels along each axis, at least 16. Voxels measure `SPACING` mm at the default shape; any
        other shape samples the same anatomy over the same 120 x 100 x 80 mm.

    Returns
    -------
    image : ndarray (X, Y, Z) float32
        In arbitrary scanner units.
    label : ndarray (X, Y, Z) uint8
        1 in the left atrium, else 0.

    Raises
    ------
    ValueError
        For other numbers.
    """
    for name, number in (("index", index), ("seed", seed)):
        if not isinstance(number, Integral) or number < 0:
            raise ValueError(f"{name} must be an integer >= 0, got {number!r}")
    if np.shape(shape) != (3,) or not all(isinstance(n, Integral) and n >= 16 for n in shape):
        raise ValueError(f"shape must be three integers >= 16, got {shape!r}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    from scipy import ndimage

    image, distance = _draw_scene(rng, shape)
    image *= np.exp(0.2 * _smooth_field(rng, shape, 2))  # uneven coil sensitivity
    gain, sigma = rng.uniform(100, 600), rng.uniform(0.03, 0.1)
    real, imaginary = np.float32(sigma) * rng.standard_normal((2, *shape), dtype=np.float32)
    image = np.float32(gain) * np.sqrt((image + real) ** 2 + imaginary**2)  # Rician noise
    # Coarse voxels may sever a thin neck: keep the largest 26-connected part.
    parts, _ = ndimage.label(distance < 0, np.ones((3, 3, 3)))
    return image, (parts == np.bincount(parts.ravel())[1:].argmax() + 1).astype(np.uint8)
