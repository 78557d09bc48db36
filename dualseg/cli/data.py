"""The commands `dualseg data ...`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from .._util.tables import columns
from ..data.known import DATASETS, published_lists
from ..errors import DualsegError, require_one_of


def data_list() -> None:
    """The data sets, their splits, and where the files come from.

    Example: dualseg data list
    """
    for spec in DATASETS.values():
        print(f"{spec.name}: {spec.title}")
        for name, who in spec.lists.items():
            train, test = published_lists(name)
            held = f" (the last {spec.validation} held out)" if spec.validation else ""
            option = f" (--lists {name.split('/')[1]})" if "/" in name else ""
            print(f"  {len(train)} training{held} and {len(test)} test cases{option}: {who}")
        if spec.lists:  # else the files say it
            spacing = " x ".join(f"{s:g}" for s in spec.spacing)
            print(f"  {spacing} mm, axes {spec.orientation}, {spec.labeled} labeled by default")
        print(f"  {spec.source_and_terms}")


def data_fetch(dataset: Positional[str], root: Path, source: str | None = None) -> None:
    """Download a public data set, each file checked against its SHA-256; goes on where it stopped.

    For data that need a registration it says which files to get, where, on which terms, and how to
    go on.

    Example: dualseg data fetch la --root LA

    Args:
        dataset: "la" is downloaded; how to get others (e.g. "la-challenge") is explained.
        root: Folder for the files.
        source: Another base address with the same files (a mirror).
    """
    from ..data.download import checksums, fetch

    by_hand = {name: text for spec in DATASETS.values() for name, text in spec.instructions.items()}
    fetched = [name for name, spec in DATASETS.items() if spec.download]
    require_one_of("dataset", dataset, [*fetched, *by_hand])
    if dataset in by_hand:
        print(by_hand[dataset].format(root=root))
        return
    new = fetch(dataset, root, source)
    print(
        f"{root}: {len(checksums(dataset))} cases in place, {len(new)} of them new; "
        f"{root / 'alignment.png'} shows some.\n{DATASETS[dataset].source_and_terms}\n"
        f"Next: dualseg data check {root}; dualseg train --dataset {root} --out runs/NAME"
    )


def _prepare_command(prepare: Callable[..., list[str]]) -> Callable[..., None]:
    """The command `data prepare NAME`, with the signature and docstring of the data set's own."""

    @functools.wraps(prepare)
    def command(**how: Any) -> None:
        for remark in prepare(**how):
            print(f"note: {remark}.", file=sys.stderr)
        out = how["out"]
        print(
            f"{out}: prepared. Look at {out / 'alignment.png'}: do the contours follow the organ?\n"
            f"Next: dualseg data check {out}; dualseg train --dataset {out} --out runs/mine"
        )

    return command


def data_check(dataset: Positional[str], root: Path | None = None) -> None:
    """Read every case of a data set; report what does not fit and exit with 1 if anything does not.

    Example: dualseg data check la --root LA

    Args:
        dataset: Name of the data set, or a folder that `dualseg data prepare` made.
        root: Its folder.
    """
    from ..data.dataset import open_dataset
    from ..data.preparation.inspect import check

    rows, problems = check(dataset, root)
    print(columns(rows))
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        raise DualsegError(f"{len(problems)} problems found in {len(rows) - 1} cases.")
    opened = open_dataset(dataset, root)
    lists = opened.lists
    about = f"published lists {lists!r}, {opened.spec.lists[lists]}" if lists else "its own lists"
    print(f"{len(rows) - 1} cases, no problem found; split: {about}.")


def data_export(
    dataset: Positional[str],
    case: Positional[str],
    out: Path,
    label: Path | None = None,
    root: Path | None = None,
) -> None:
    """Write one case as NIfTI, to look at it in a viewer or to try `dualseg predict` on it.

    Example: dualseg data export phantom phantom_041 --out scan.nii.gz --label truth.nii.gz

    Args:
        dataset: Name of the data set, or a folder that `dualseg data prepare` made.
        case: The case's id (`dualseg data check` lists them).
        out: The image to write, .nii or .nii.gz; several modalities go to a file each, its name
            after the file's.
        label: Also write the label, to this file.
        root: Folder of the data set.
    """
    from ..data.dataset import open_dataset
    from ..evaluation.export_case import export_case

    for path in export_case(open_dataset(dataset, root), case, out, label):
        print(f"{path}: written.")


COMMANDS = {
    "list": data_list,
    "fetch": data_fetch,
    "prepare": {
        name: _prepare_command(spec.prepare) for name, spec in DATASETS.items() if spec.prepare
    },
    "check": data_check,
    "export": data_export,
}
