"""The commands `dualseg offline ...`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from .cli_sweep import Settings


def offline_pack(
    out: Path,
    dataset: str = "la",
    runs: tuple[str, ...] = ("paper", "supervised"),
    labeled: tuple[int, ...] = (),
    seeds: tuple[int, ...] = (0,),
    profile: str = "full",
    settings: Settings = (),
    part_mb: float | None = None,
) -> None:
    """Pack runs, code and data for a machine without a network that has PyTorch, NumPy and h5py.

    There, `python work.py --minutes 9` goes on with them, as often as it is called (its exit status
    is 75 while something is left to do), and leaves finished runs in `results`, for `dualseg
    offline collect`.

    Example: dualseg offline pack --dataset la=LA --runs paper supervised --labeled 8 --out parcel

    Args:
        out: Folder to write.
        dataset: NAME=FOLDER or a prepared folder: its files are packed. A NAME alone: they are on
            that machine (`python work.py --data FOLDER`). "phantom" needs none, but SciPy there.
        runs: Presets of the method "dual", or "supervised", in the order in which they are done.
        labeled: Numbers of labeled cases; without, the data set's usual one.
        seeds: All runs with the first seed, then all with the next; then the next number of labels.
        profile: "smoke", "lesson" or "full".
        settings: Further settings of all runs as NAME=VALUE, e.g. iterations=200 patch=48,32,32.
        part_mb: Size limit of what can be carried at a time, in MB (10^6 bytes): the parcel comes
            in parts, whose contents belong into one folder there. Results come in such parts, too.
    """
    from .offline.pack import pack, plan_runs
    from .offline.parcel import Parcel

    members = plan_runs(dataset, runs, labeled, seeds, profile, settings)
    folders = pack(members, out, part_mb)
    plan = Parcel(folders[0]).plan()["files"]
    data = sum(name.startswith("data/") for name in plan)
    print(f"{len(plan) - data} files of code, {data or 'no'} of data.")
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{folder}: {size / 1e6:.1f} MB")
    print("Runs, in this order:", *(member.name for member in members), sep="\n  ")
    if len(folders) > 1:
        print("Copy the contents of all parts into one folder of the other machine, and there:")
    else:
        print("Copy the folder to the other machine, and there:")
    print("  python work.py --check\n  python work.py --minutes 9")


def offline_collect(results: Positional[Path], out: Path = Path("runs")) -> None:
    """Put finished runs that came back in parts together, ready to be measured.

    Example: dualseg offline collect results --out runs

    Args:
        results: Folder with the parts (NAME.zip.1of4, ...).
        out: Folder for the runs.
    """
    from .offline.results import collect

    for run in collect(results, out):
        root = " --root DIR" if run.info()["config"]["root"] else ""
        print(f"{run.folder}: {run.info()['training']['step']:.0f} steps.")
        print(f"  Next: dualseg evaluate {run.folder}{root}")
