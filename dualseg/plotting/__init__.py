"""Pictures of volumes, masks and results."""

from .slices import (
    LETTERS,
    PLANES,
    CasePicture,
    display_axes,
    display_slice,
    largest_slices,
    plot_cases,
    to_display,
)
from .style import EDGES, ON_IMAGE, ROLES, WIDTH, save, styles
from .surfaces import plot_surfaces, surface

__all__ = [
    "EDGES",
    "LETTERS",
    "ON_IMAGE",
    "PLANES",
    "ROLES",
    "WIDTH",
    "CasePicture",
    "display_axes",
    "display_slice",
    "largest_slices",
    "plot_cases",
    "plot_surfaces",
    "save",
    "styles",
    "surface",
    "to_display",
]
