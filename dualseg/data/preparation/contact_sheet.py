"""The contact sheet of a prepared data set: do labels and images lie on each other?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...plotting.slices import CasePicture, plot_cases
from ...plotting.style import save
from ..case import read_h5

SHEET_CASES = 12


def draw_sheet(out: Path, manifest: dict[str, Any]) -> None:
    """Image and label contours of some labeled cases, evenly chosen; for a person to look at.

    Writes `out`/alignment.png, the slices being those with the label's largest area. Where there
    are several classes, each has its contour.
    """
    records, classes = manifest["cases"], manifest["classes"]
    labeled = [case for case, record in records.items() if record["label_voxels"] is not None]
    chosen = labeled[:: -(-len(labeled) // SHEET_CASES)]
    pictures = []
    for case in chosen:
        image, label = read_h5(out / records[case]["file"], labeled=True)
        shown = image[0] if image.ndim == 4 else image
        several = {name: label == k for k, name in enumerate(classes) if k and len(classes) > 2}
        pictures.append(CasePicture(case, shown, label > 0, several, records[case]["spacing"]))
    save(
        plot_cases(pictures, orientation=manifest["orientation"]),
        out / "alignment.png",
        alt=f"The label's contour on the slices where it is largest, for {len(chosen)} of "
        f"{len(labeled)} labeled cases: it should follow the organ's border in every picture.",
    )
