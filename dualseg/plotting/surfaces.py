"""Masks as surfaces in three dimensions."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LightSource
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from .slices import Masks, Orientation, Spacing, check_shapes, to_display, voxel_size
from .style import WIDTH, styles

MAX_FACES = 10_000  # triangles of one surface; more take seconds to draw and look the same


def plot_surfaces(masks: Masks, spacing: Spacing = None, orientation: Orientation = None) -> Figure:
    """Surfaces of masks side by side, seen from the same side and in boxes of the same size.

    Parameters
    ----------
    masks : (X, Y, Z) by name, not 0 = inside; names like "worst: truth" and "worst: dual" give a
        case a row of its own, with masks of one shape in one place
    spacing : voxel size in mm; None = unknown
    orientation : of the masks' axes, as "RAS"; None = unknown

    Returns
    -------
    Figure
        Not yet saved; see `save`.

    Raises
    ------
    ValueError
        For no masks, masks that are not 3D, different shapes in a row, a wrong spacing or a wrong
        orientation.
    """
    if not masks:
        raise ValueError("plot_surfaces needs at least one mask, found none.")
    voxel = voxel_size(spacing, orientation)
    rows: dict[str, Masks] = {}
    for name, mask in masks.items():
        rows.setdefault(name.rpartition(": ")[0], {})[name] = np.not_equal(mask, 0)
    boxes = []
    for members in rows.values():
        check_shapes(f"the surfaces {list(members)}", members.values())
        union = to_display(np.any(list(members.values()), axis=0), orientation)
        inside = np.argwhere(union if union.any() else ~union) * voxel
        boxes.append((inside.min(axis=0), inside.max(axis=0)))
    size = np.ptp(boxes, axis=1).max(axis=0) + 2 * voxel
    columns = max(map(len, rows.values()))
    height = 0.3 + len(rows) * (0.6 + 0.46 * WIDTH / max(2, columns))
    # The padding, in inches, is for labels that stand out of a panel.
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(h_pad=0.15))
    look = styles(name.rpartition(": ")[2] for name in masks)
    for row, (members, box) in enumerate(zip(rows.values(), boxes, strict=True)):
        for column, (name, mask) in enumerate(members.items(), start=1):
            place = (len(rows), columns, row * columns + column)
            axis = figure.add_subplot(*place, projection="3d", title=name)
            role = name.rpartition(": ")[2]
            color = "0.65" if role == "truth" else look[role]["color"]
            _draw_surface(axis, to_display(mask, orientation), voxel, color)
            _set_box(axis, np.mean(box, axis=0), size, orientation)
    unit = "voxels" if spacing is None else "mm"
    figure.supxlabel("every box: " + " x ".join(f"{side:.0f}" for side in size) + f" {unit}")
    return figure


def _set_box(axis: Axes3D, center: np.ndarray, size: np.ndarray, orientation: Orientation) -> None:
    """Limits, point of view and named directions of a 3D panel."""
    axis.view_init(elev=20, azim=-60)
    # Flat boxes are drawn larger; the vector points upwards in the picture, from this view.
    zoom = min(1.4, 0.9 * np.linalg.norm(size) / (size @ (0.17, 0.30, 0.94)))
    axis.set_box_aspect(tuple(size), zoom=zoom)  # a tuple, as matplotlib would change the array
    labels = ("R → L", "A → P", "I → S") if orientation else ("x →", "y →", "z →")
    for letter, middle, side, label in zip("xyz", center, size, labels, strict=True):
        axis.set(**{f"{letter}lim": (middle - side / 2, middle + side / 2), f"{letter}ticks": []})
        getattr(axis, f"set_{letter}label")(label, labelpad=-12)


def _draw_surface(axis: Axes3D, mask: np.ndarray, voxel: np.ndarray, color: str) -> None:
    if not mask.any():
        axis.text2D(0.5, 0.5, "empty", transform=axis.transAxes, ha="center", fontsize=14)
        return
    corners, faces = surface(mask, voxel)
    look = {"facecolors": color, "edgecolors": color, "lw": 0.2, "clip_on": False}
    light = LightSource(azdeg=200, altdeg=40)  # from the viewer's upper left
    axis.add_collection3d(Poly3DCollection(corners[faces], shade=True, lightsource=light, **look))


def surface(mask: np.ndarray, voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface of a mask, smoothed: the terraces between voxels would hide its shape.

    Parameters
    ----------
    mask : (X, Y, Z) bool, not empty
    voxel : (3,), the sides of a voxel

    Returns
    -------
    corners : np.ndarray
        (V, 3) in the unit of `voxel`.
    faces : np.ndarray
        Triangles (F, 3), numbers of corners; at most `MAX_FACES`.
    """
    step = 0
    while True:
        step += 1
        # Padded, so that the surface closes where the mask touches the border.
        soft = gaussian_filter(np.pad(mask, step).astype(np.float32), step / 2)
        # "ascent" turns the triangles' normals outwards, as the shading wants them.
        corners, faces, _, _ = marching_cubes(
            soft, min(0.5, soft.max() / 2), step_size=step, gradient_direction="ascent"
        )
        if len(faces) <= MAX_FACES:
            return (corners - step) * voxel, faces
