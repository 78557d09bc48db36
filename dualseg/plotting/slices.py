"""Volumes as slices in anatomical orientation, with the contours of masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from skimage.measure import find_contours

from .style import EDGES, ON_IMAGE, WIDTH, styles

Masks = dict[str, np.ndarray]  # name -> (X, Y, Z), not 0 = inside
Spacing = Sequence[float] | None  # voxel size in mm along the array's axes; None = unknown
Orientation = str | None  # where each axis of the array increases to, as "LPS"; None = unknown

# Plane: (axis across its normal, axis left to right, axis top to bottom), of displayed volumes.
PLANES = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
# Text at a plane's left, right, top and bottom edge, for a known and an unknown orientation.
LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
ARROWS = {
    "axial": ["", "x →", "", "y ↓"],
    "coronal": ["", "x →", "z ↑", ""],
    "sagittal": ["", "y →", "z ↑", ""],
}
FLAT = 0.5  # inches; a strip of a thin stack that is flatter would vanish behind its letters


def display_axes(orientation: Orientation) -> tuple[list[int], list[int]]:
    """How an array must be turned to be displayed.

    Parameters
    ----------
    orientation : as "RAS"; None if it is unknown

    Returns
    -------
    order, flips : list of int
        The array's axes in display order, and the display axes to flip.

    Raises
    ------
    ValueError
        For a wrong code.
    """
    if orientation is None:
        return [0, 1, 2], []
    found = [[k for k, way in enumerate(orientation) if way in pair] for pair in ("LR", "PA", "SI")]
    if len(orientation) != 3 or any(len(places) != 1 for places in found):
        raise ValueError(f"orientation must be None or a code like 'RAS', found {orientation!r}.")
    order = [places[0] for places in found]
    return order, [k for k in range(3) if orientation[order[k]] in "RAI"]


def to_display(volume: np.ndarray, orientation: Orientation) -> np.ndarray:
    """View of a volume with axes that increase to left, posterior and superior.

    Parameters
    ----------
    volume : (X, Y, Z)
    orientation : of its axes, as "RAS"; None leaves them as they are

    Returns
    -------
    np.ndarray
        A view, no copy.
    """
    order, flips = display_axes(orientation)
    return np.flip(np.transpose(volume, order), tuple(flips))


def largest_slices(mask: np.ndarray) -> list[int]:
    """Where a mask (X, Y, Z) is largest.

    Returns
    -------
    list of int
        Index along each axis of the slice with the largest area; the middle if `mask` is empty.
    """
    if not mask.any():
        return [size // 2 for size in mask.shape]
    return [int(mask.sum(axis=others).argmax()) for others in ((1, 2), (0, 2), (0, 1))]


def display_slice(shown: np.ndarray, plane: str, at: Sequence[int]) -> np.ndarray:
    """One plane of a displayed volume.

    Parameters
    ----------
    shown : (X, Y, Z), as `to_display` gives it
    plane : one of `PLANES`
    at : the voxel (x, y, z) that the plane goes through

    Returns
    -------
    np.ndarray
        (rows from the top, columns from the left).
    """
    normal = PLANES[plane][0]
    picture = np.take(shown, at[normal], axis=normal).T
    return picture if plane == "axial" else picture[::-1]  # superior at the top


def voxel_size(spacing: Spacing, orientation: Orientation) -> np.ndarray:
    """Size of a voxel along the displayed axes; 1 if unknown."""
    size = np.ones(3) if spacing is None else np.asarray(spacing, dtype=float)
    if size.shape != (3,) or not np.all((size > 0) & np.isfinite(size)):
        raise ValueError(f"spacing must be three positive numbers in mm, found {spacing!r}.")
    return size[display_axes(orientation)[0]]


def check_shapes(name: str, arrays: Iterable[np.ndarray]) -> None:
    """Raise ValueError unless all arrays are 3D and of one shape."""
    shapes = sorted({np.shape(array) for array in arrays})
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(f"{name} must have 3D arrays of one shape, found {shapes}.")


@dataclass(frozen=True, eq=False)
class CasePicture:
    """One row of `plot_cases`.

    Parameters
    ----------
    title : of the row
    image : (X, Y, Z)
    truth : (X, Y, Z), not 0 = inside; None if it is unknown
    predictions : masks like the truth, by name
    spacing : voxel size in mm of this case, where not all cases of a picture share one

    Raises
    ------
    ValueError
        For an image that is not 3D or a mask of another shape.
    """

    title: str
    image: np.ndarray
    truth: np.ndarray | None = None
    predictions: Masks = field(default_factory=dict)
    spacing: Spacing = None

    def __post_init__(self) -> None:
        check_shapes(f"the row {self.title!r}", [self.image, *self.masks().values()])

    def masks(self) -> Masks:
        """Truth and predictions."""
        return ({} if self.truth is None else {"truth": self.truth}) | self.predictions


def plot_cases(
    cases: Sequence[CasePicture],
    spacing: Spacing = None,
    orientation: Orientation = None,
    columns: Sequence[str] = tuple(PLANES),
) -> Figure:
    """One row a case: slices through the largest truth area, with the contours of all masks.

    Without a truth the slices follow the predictions' union. The gray window spans percentiles 1 to
    99 of each volume.

    Parameters
    ----------
    cases : at least one
    spacing : voxel size in mm of the cases that do not have their own; None = unknown
    orientation : of all cases' axes, as "RAS"; None = unknown
    columns : some of `PLANES`

    Returns
    -------
    Figure
        Not yet saved; see `save`.

    Raises
    ------
    ValueError
        For no cases, an unknown column, a wrong spacing or a wrong orientation.
    """
    if not cases or not columns or not set(columns) <= set(PLANES):
        raise ValueError(f"plot_cases needs a case and columns among {', '.join(PLANES)}.")
    spacings = [spacing if case.spacing is None else case.spacing for case in cases]
    voxels = [voxel_size(size, orientation) for size in spacings]
    sizes = np.array([to_display(case.image, orientation).shape for case in cases]) * voxels
    widths = [sizes[:, PLANES[plane][1]].max() for plane in columns]
    heights = sizes[:, [PLANES[plane][2] for plane in columns]].max(axis=1)
    inch = 0.97 * WIDTH / sum(widths)  # of one mm (or voxel)
    inches = heights * inch + 0.55  # 0.55: title and label of a row
    figure = Figure(figsize=(WIDTH, inches.sum() + 0.4), layout="constrained")
    axes = figure.subplots(
        len(cases), len(columns), squeeze=False, width_ratios=widths, height_ratios=inches
    )
    look = styles(name for case in cases for name in case.masks())
    for case, row, size, voxel, sides in zip(cases, axes, spacings, voxels, sizes, strict=True):
        _draw_case(case, row, columns, orientation, look)
        for plane, axis in zip(columns, row, strict=True):
            _, across, down = PLANES[plane]
            axis.set_aspect(voxel[down] / voxel[across], anchor="N")
            if sides[down] * inch >= FLAT:
                _edge_letters(axis, plane, orientation)
                _scale_bar(axis, voxel[across], "voxels" if size is None else "mm")
    lines = [Line2D([], [], label=name, **style) for name, style in look.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(look) or 1, handlelength=4)
    return figure


def _draw_case(
    case: CasePicture,
    row: Sequence[Axes],
    columns: Sequence[str],
    orientation: Orientation,
    look: dict[str, dict],
) -> None:
    """Image and contours of a row of panels; below each, its plane and the masks not in it."""
    row[0].set_title(case.title, loc="left", fontsize=11, fontweight="bold")
    image = to_display(case.image, orientation)
    low, high = np.percentile(image, (1, 99))
    masks = {name: to_display(np.not_equal(m, 0), orientation) for name, m in case.masks().items()}
    guide = masks.get("truth", np.zeros(image.shape, bool))
    at = largest_slices(guide if guide.any() else np.any([guide, *masks.values()], axis=0))
    for plane, axis in zip(columns, row, strict=True):
        picture = display_slice(image, plane, at)
        axis.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set(xticks=[], yticks=[], autoscale_on=False)
        notes = [plane] if orientation else []
        for name, mask in masks.items():
            # Padded, so that a contour closes where the mask touches the border.
            contours = find_contours(np.pad(display_slice(mask, plane, at), 1), 0.5)
            notes += [] if contours else [f"no {name} here"]
            for y, x in (contour.T - 1 for contour in contours):
                if name == "truth":  # halo below, dots above: the truth hides no prediction
                    axis.plot(x, y, color="white", lw=2.6, zorder=1.5)
                axis.plot(x, y, gid=name, zorder=2.5 if name == "truth" else 2, **look[name])
        axis.set_xlabel(", ".join(notes), fontsize=9)


def _edge_letters(axis: Axes, plane: str, orientation: Orientation) -> None:
    for text, (x, y) in zip((LETTERS if orientation else ARROWS)[plane], EDGES, strict=True):
        inward = (12 - 24 * x, 12 - 24 * y)
        look = {"textcoords": "offset points", "ha": "center", "va": "center", **ON_IMAGE}
        axis.annotate(text, (x, y), inward, "axes fraction", **look)


def _scale_bar(axis: Axes, size: float, unit: str) -> None:
    """Bar at the lower left of a panel whose pixels are `size` units wide."""
    columns, place = np.ptp(axis.get_xlim()), axis.get_xaxis_transform()  # pixels, axes fraction
    power = 10.0 ** math.floor(math.log10(columns * size / 4))
    # The logarithm is rounded: the power itself may be a hair too long.
    length = max((k for k in (2, 5) if k * power <= columns * size / 4), default=1) * power
    start, end = 0.03 * columns, 0.03 * columns + length / size
    line = {"lw": 2.5, "solid_capstyle": "butt", "gid": "bar", **ON_IMAGE}
    axis.plot([start, end], [0.06, 0.06], transform=place, **line)
    text = {"fontsize": 8, "textcoords": "offset points", **ON_IMAGE}
    axis.annotate(f"{length:g} {unit}", (start, 0.06), (0, 4), place, **text)
