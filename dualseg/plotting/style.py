"""Colors, lines and sizes of every figure, and how a figure is saved."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image, PngImagePlugin

from .._util.files import write_atomically

ROLES: dict[str, dict[str, Any]] = {  # keywords of matplotlib's Line2D
    "truth": {"color": "#000000", "ls": (0, (1, 1.2)), "lw": 1.5},
    "A": {"color": "#0072B2", "ls": "-", "lw": 1.4},
    "B": {"color": "#D55E00", "ls": (0, (3.5, 1.5)), "lw": 1.6},
    "mean": {"color": "#009E73", "ls": "-", "lw": 2.4},
    "dual": {"color": "#009E73", "ls": "-", "lw": 2.4},
    "supervised": {"color": "#E69F00", "ls": (0, (7, 2)), "lw": 1.8},
    "improved": {"color": "#56B4E9", "ls": (0, (6, 1.5, 1, 1.5)), "lw": 1.6},
    "paper": {"color": "#882255", "ls": (0, (2, 1)), "lw": 1.6},
    "cps": {"color": "#999933", "ls": "-", "lw": 1.8},
    "cr": {"color": "#44AA99", "ls": (0, (4, 1, 1, 1, 1, 1)), "lw": 1.6},
    "released": {"color": "#777777", "ls": (0, (10, 2)), "lw": 1.6},
    "disagreement": {"color": "#CC79A7", "ls": (0, (5, 1.5, 1, 1.5)), "lw": 1.6},
}
# For names without a role, in this order; yellow comes last, as it is hard to see on white.
OKABE_ITO = ("#56B4E9", "#CC79A7", "#E69F00", "#009E73", "#D55E00", "#0072B2", "#F0E442")
OTHER_LINES = ((0, (6, 1.5, 1, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (10, 2)))
EDGES = ((0, 0.5), (1, 0.5), (0.5, 1), (0.5, 0))

WIDTH = 10.5  # inches, of every picture
MAX_BYTES = 600_000  # of one PNG
_HALO = withStroke(linewidth=2.5, foreground="black")
ON_IMAGE: dict[str, Any] = {"color": "white", "path_effects": [_HALO]}


def styles(names: Iterable[str]) -> dict[str, dict]:
    """How the line of each name looks, as keywords of matplotlib's Line2D.

    A name in `ROLES` has that look, another one the next unused Okabe-Ito color and line.
    """
    names = dict.fromkeys(names)
    used = [value for name in names if name in ROLES for value in ROLES[name].values()]
    colors, lines = ([v for v in some if v not in used] for some in (OKABE_ITO, OTHER_LINES))
    looks = zip(cycle(colors), cycle(lines), strict=True)
    new = ({"color": color, "ls": line, "lw": 1.6} for color, line in looks)
    return {name: ROLES.get(name) or next(new) for name in names}


def save(figure: Figure, path: str | Path, alt: str) -> None:
    """Write a figure as PNG, 1600 px wide; a large file gets fewer colors and pixels.

    Parameters
    ----------
    figure : of the width `WIDTH`
    path : ends in .png
    alt : what the picture shows, for a person who does not see it; kept as its "Description"

    Raises
    ------
    ValueError
        For an empty `alt` or another ending.
    DualsegError
        Where the file cannot be written.
    """
    if not alt.strip() or Path(path).suffix != ".png":
        raise ValueError("A picture needs a .png path and an alternative text that describes it.")
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", alt)
    for pixels, few_colors in ((1600, False), (1400, False), (1400, True), (1000, True)):
        drawn, packed = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=pixels / figure.get_figwidth())
        picture = Image.open(drawn).convert("RGB")
        picture = picture.quantize(256, dither=Image.Dither.NONE) if few_colors else picture
        picture.save(packed, "png", optimize=True, pnginfo=info)
        if packed.tell() < MAX_BYTES:
            break
    write_atomically(Path(path), packed.getvalue())
