"""The side with a network: what is to be done, and all that it needs, into one folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from ..datasets import Dataset, open_dataset
from ..errors import DualsegError, require, require_one_of
from ..files import write_atomically, write_json
from ..methods import METHODS
from ..methods.dual_settings import DUAL_PRESETS as PRESETS
from ..prepared import MANIFEST
from ..sweep import Member, plan
from .parcel import Parcel, sha256_of

PACKAGE = Path(__file__).parent.parent
NEEDS = ("platformdirs", "safetensors", "tqdm")
"""What training imports beside PyTorch, NumPy and h5py; small, and of any Python version."""


def plan_runs(
    dataset: str,
    runs: Sequence[str],
    labeled: Sequence[int],
    seeds: Sequence[int],
    profile: str,
    settings: Sequence[str] = (),
) -> list[Member]:
    """The runs in the order in which they are to be done.

    All with the first number of labels and the first seed, then those with the next seed, and after
    the last seed those with the next number of labels.
    `runs` are presets of the method "dual", or names of other methods; the other arguments are
    those of `sweep.plan`. Raises DualsegError for what does not exist.
    """
    require(bool(runs), "runs", "at least one", tuple(runs))
    for name in runs:
        require_one_of("runs", name, (PRESETS.keys() | METHODS.keys()) - {"dual"})
    members: dict[str, Member] = {}
    for labels in labeled or (None,):
        for seed in seeds:
            for name in runs:
                dual = name in PRESETS
                found = plan(
                    Path(),
                    [dataset],
                    ["dual" if dual else name],
                    [name if dual else "paper"],
                    [] if labels is None else [labels],
                    [seed],
                    profile,
                    settings,
                )
                members |= {member.name: member for member in found}
    require(bool(members), "seeds", "at least one", tuple(seeds))
    return list(members.values())


def pack(members: Sequence[Member], out: Path, part_mb: float | None = None) -> list[Path]:
    """Write a parcel with these runs; returns its folders, one, or one for each part.

    The data are packed where the runs know where they are. With `part_mb`, no part is larger (in
    10^6 bytes); the parts' contents belong into one folder.

    Raises DualsegError if `out` is there already, data are missing, or a file is above `part_mb`.
    """
    if out.exists():
        raise DualsegError(f"{out}: expected no such folder, found one; choose another --out.")
    first = members[0].experiment
    if first.dataset == "phantom" or first.root is not None:
        dataset = open_dataset(first.dataset, first.root, first.train.resolution)
        for experiment in (member.experiment for member in members):
            dataset.split(experiment.labeled, experiment.validation)
        data = dict(_data_files(dataset))
    else:
        data = {}
    parts = _parts(dict(_code_files()) | {f"data/{n}": path for n, path in data.items()}, part_mb)
    folders = [out / f"part{n}" for n in range(1, len(parts) + 1)] if part_mb else [out]
    files = {}
    for number, (folder, part) in enumerate(zip(folders, parts, strict=True), start=1):
        for name, source in part.items():
            content = source.read_bytes()
            files[name] = {"sha256": sha256_of(content), "part": number}
            write_atomically(folder / name, lambda file, content=content: file.write(content))
    runs = {member.name: member.experiment.flat() | {"root": None} for member in members}
    plan = {"runs": runs, "files": files, "part_mb": part_mb or 0}
    write_json(Parcel(folders[0]).plan_path, plan)
    return folders


def _code_files() -> Iterator[tuple[str, Path]]:
    yield "work.py", PACKAGE / "offline" / "start.py"
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"code/dualseg/{path.relative_to(PACKAGE).as_posix()}", path
    for name in NEEDS:
        for file in metadata.files(name) or ():
            if file.parts[0] != ".." and "__pycache__" not in file.parts:
                yield f"needs/{file.as_posix()}", Path(file.locate())


def _data_files(dataset: Dataset) -> Iterator[tuple[str, Path]]:
    if dataset.root is None:  # the phantom is drawn where it is needed
        return
    cases = [dataset.source_path(case_id) for case_id in dataset.train + dataset.test]
    about = [dataset.root / name for name in (MANIFEST, "train.list", "test.list")]
    for path in [path for path in about if path.is_file()] + cases:
        if not path.is_file():
            raise DualsegError(
                f"{path}: expected this file of the data set, found none; look with `dualseg data "
                "check`."
            )
        yield path.relative_to(dataset.root).as_posix(), path


def _parts(files: dict[str, Path], part_mb: float | None) -> list[dict[str, Path]]:
    """The files in their order, so that no part is too large."""
    if part_mb is None:
        return [files]
    require(part_mb > 0, "part_mb", "a size above 0", part_mb)
    limit = part_mb * 1e6
    parts: list[dict[str, Path]] = [{}]
    room = limit
    for name, path in files.items():
        size = path.stat().st_size
        if size > limit:
            raise DualsegError(
                f"part_mb: expected at least {size / 1e6:.1f}, the size of {path}, found {part_mb}."
            )
        if size > room:
            parts.append({})
            room = limit
        parts[-1][name] = path
        room -= size
    return parts
