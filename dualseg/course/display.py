"""Figures in notebooks: each with an alternative text and a caption, in every viewer.

`show` stores a small PNG with its alternative text and prints the caption as text, which every
viewer keeps. `browse` draws a static strip first, and adds a slider only where one can be moved.
Where the environment variable DUALSEG_FIGURES names a folder (the recorder sets it), each figure is
also saved there, larger.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from IPython import get_ipython
from IPython.display import HTML, Image, display
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from PIL import Image as Picture

# Most of these are for the notebooks: what they draw with comes from one place.
from ..plotting.slices import (
    LETTERS as LETTERS,
    CasePicture as CasePicture,
    Masks,
    Spacing,
    display_slice as display_slice,
    largest_slices as largest_slices,
    plot_cases as plot_cases,
    to_display as to_display,
    voxel_size,
)
from ..plotting.style import (
    EDGES as EDGES,
    ON_IMAGE as ON_IMAGE,
    ROLES as ROLES,
    WIDTH,
    save,
    styles as styles,
)
from ..plotting.surfaces import plot_surfaces, surface

NAME = re.compile(r"(\d\d)-([1-9]\d?)-[a-z0-9]+(?:-[a-z0-9]+)*")
PIXELS = 960  # width in the notebook, whose outputs all together are to stay under 1.5 MB


def show(figure: Figure, *, name: str, alt: str, caption: str) -> None:
    """Display a figure with its alternative text, and print "Figure NN-k. caption" below it.

    Parameters
    ----------
    figure : Figure
        A figure of pyplot is closed, else the notebook would display it twice.
    name : str
        Like "02-1-spheres": the notebook, the number of the figure in it, a word.
    alt : str
        What the figure shows, for someone who does not see it, with the numbers that matter.
    caption : str
        Plain text.

    Raises
    ------
    ValueError
        For a name of another form, an empty `alt` or an empty `caption`.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise ValueError(f"name must be like '02-1-spheres', found {name!r}.")
    for what, text in (("alt", alt), ("caption", caption)):
        if not text.strip():
            raise ValueError(f"{what} of figure {name} must say what the figure shows, is empty.")
    display(Image(data=png(figure), format="png", alt=alt))
    print(f"Figure {match[1]}-{match[2]}. {caption}")
    folder = os.environ.get("DUALSEG_FIGURES")
    if folder:
        save(figure, Path(folder) / f"{name}.png", alt)
    if "matplotlib.pyplot" in sys.modules:  # which would display its figure at the cell's end
        sys.modules["matplotlib.pyplot"].close(figure)


def browse(
    draw: Callable[[Figure | SubFigure, Any], None],
    values: Sequence[Any],
    *,
    name: str,
    alt: str,
    caption: str,
    label: str,
    strip: Sequence[Any] | None = None,
    size: tuple[float, float] = (3.5, 3.2),
) -> None:
    """Show what changes with a value: always a strip of a few values, live also a slider.

    Parameters
    ----------
    draw : callable
        `draw(figure, value)` draws one value into an empty figure (`figure.subplots()` gives axes).
    values : sequence
        The values of the slider.
    name, alt, caption : str
        Of the strip, as in `show`.
    label : str
        What the value is called: the titles are "label = value".
    strip : sequence, optional
        The values of the strip; without, the first, the middle and the last of `values`.
    size : tuple of float
        Width and height of one drawing in inches; wide drawings stand below each other.

    Raises
    ------
    ValueError
        As `show` does, for no values, and for a strip with a value that is not in `values`.
    """
    values = list(values)
    if strip is None:
        strip = values if len(values) <= 3 else [values[0], values[len(values) // 2], values[-1]]
    if not values or not strip or any(value not in values for value in strip):
        raise ValueError(f"strip must hold some of the values {values}, found {list(strip)}.")
    across = len(strip) * size[0] <= WIDTH
    inches = (size[0] * len(strip), size[1]) if across else (size[0], size[1] * len(strip))
    figure = Figure(figsize=inches, layout="constrained")
    grid = (1, len(strip)) if across else (len(strip), 1)
    parts = figure.subfigures(*grid, squeeze=False).flat
    for part, value in zip(parts, strip, strict=True):
        _draw(draw, part, label, value)
    show(figure, name=name, alt=alt, caption=caption)
    if live_front_end():
        _slider(draw, values, strip[len(strip) // 2], label, size, alt)


def show_surfaces(
    masks: Masks, spacing: Spacing, *, name: str, alt: str, caption: str, orientation: str = "RAS"
) -> None:
    """Masks as surfaces: always a picture, and in Jupyter also surfaces that the mouse turns.

    Parameters
    ----------
    masks, spacing, orientation
        As of `dualseg.plotting.surfaces.plot_surfaces`; all masks lie in one place.
    name, alt, caption : str
        Of the picture, as in `show`.

    Raises
    ------
    ValueError
        As `show` and `plot_surfaces` do.
    """
    show(plot_surfaces(masks, spacing, orientation), name=name, alt=alt, caption=caption)
    if live_front_end():
        display(_turnable(masks, voxel_size(spacing, orientation), orientation))


def _turnable(masks: Masks, voxel: np.ndarray, orientation: str) -> Any:
    """A k3d plot: the surfaces as transparent meshes, each of which its menu can hide."""
    import k3d

    axes = [f"{direction}~(mm)" for direction in ("R→L", "A→P", "I→S")]  # "~": a space in LaTeX
    plot = k3d.plot(axes=axes, height=420)
    look = styles(masks)
    for mask_name, mask in masks.items():
        inside = to_display(np.not_equal(mask, 0), orientation)
        if inside.any():
            corners, faces = surface(inside, voxel)
            color = "#7f7f7f" if mask_name == "truth" else to_hex(look[mask_name]["color"])
            plot += k3d.mesh(
                corners.astype(np.float32),
                faces.astype(np.uint32),
                color=int(color[1:], 16),
                opacity=0.5,
                name=mask_name,
            )
    return plot


def live_front_end() -> bool:
    """Whether a person sits at this kernel: Jupyter Server or VS Code started it.

    Kernels of papermill, nbclient and nbval are not live: nobody could move a slider there, and its
    stored state would keep other viewers from showing the notebook.
    """
    shell = get_ipython()
    return hasattr(shell, "kernel") and (
        "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in shell.user_ns
    )


def _slider(
    draw: Callable, values: list, start: Any, label: str, size: tuple[float, float], alt: str
) -> None:
    from ipywidgets import SelectionSlider, interact

    def redraw(value: Any) -> None:
        figure = Figure(figsize=(size[0] * 1.3, size[1] * 1.3), layout="constrained")
        _draw(draw, figure, label, value)
        # As HTML, since Jupyter drops the alternative text of an image that stands in a widget.
        text = html.escape(f"{alt} Here {label} = {value}.")
        data = base64.b64encode(png(figure)).decode()
        display(HTML(f'<img alt="{text}" src="data:image/png;base64,{data}">'))

    whole = {"description_width": "initial"}  # else a long label is cut
    slider = SelectionSlider(options=values, value=start, description=label, style=whole)
    interact(redraw, value=slider)


def _draw(draw: Callable, figure: Figure | SubFigure, label: str, value: Any) -> None:
    draw(figure, value)
    figure.suptitle(f"{label} = {value}", fontsize=11)


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 960 pixels (a narrow one has less) in 256 colors: tens of kB."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=min(PIXELS / figure.get_figwidth(), 130))
    picture = Picture.open(drawn).convert("RGB").quantize(256, dither=Picture.Dither.NONE)
    picture.save(packed, "png", optimize=True)
    return packed.getvalue()
