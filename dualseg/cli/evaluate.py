"""The commands `dualseg evaluate` and `dualseg predict`."""

from __future__ import annotations

import sys
from pathlib import Path

from tyro.conf import Positional


def evaluate(run: Positional[Path], split: str = "test", root: Path | None = None) -> None:
    """Measure a finished run on the full-resolution grid; writes its record and pictures.

    Example: dualseg evaluate runs/la_dual

    Args:
        run: Folder of the run.
        split: "test", or "val" for the cases held out by --validation.
        root: Folder of the data set, if it is not where the run was trained.
    """
    from ..evaluation.evaluate import evaluate as measure
    from ..runs.records import shown, table
    from ..runs.run import Run

    record = measure(run, split, None if root is None else str(root))
    print(table([record]))
    for name, part in record["classes"].items():
        error = part["standard_error"]["dice"]
        spread = "" if error is None else f" ± {shown(error)}"
        print(f"class {name}: Dice {shown(part['mean']['dice'])}{spread} %")
    print(
        f"Distances in voxels of the full grid; ± is the standard error over "
        f"{len(record['cases'])} cases.\nRecord: {Run(run).record_path(split)}\n"
        f"Pictures: {', '.join(str(path) for path in Run(run).pictures(split))}"
    )


def predict(
    run: Positional[Path],
    image: Positional[tuple[Path, ...]],
    out: Path,
    picture: Path | None = None,
    probabilities: bool = False,
) -> None:
    """Segment a scan with a finished run; the mask lies on the scan's own grid.

    Example: dualseg predict runs/la_dual scan.nii.gz --out mask.nii.gz --picture mask.png

    Args:
        run: Folder of the run.
        image: The scan: .nii, .nii.gz, .nrrd, .mha, or a folder with one DICOM series; where the
            run has several modalities, one for each, in their order.
        out: The mask to write, .nii or .nii.gz.
        picture: Also draw slices with the mask's contour to this PNG.
        probabilities: Also write the foreground probability beside the mask.
    """
    from ..evaluation.predict_scan import predict_scan

    for remark in predict_scan(run, image, out, picture, probabilities):
        print(f"note: {remark}.", file=sys.stderr)
    print(f"{out}: mask written. Not for clinical use.")
    if picture:
        print(f"{picture}: picture written.")
