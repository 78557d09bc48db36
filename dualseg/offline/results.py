"""Finished runs on their way back: half the size, in parts, and put together again."""

from __future__ import annotations

import io
import math
import re
import tempfile
import zipfile
import zlib
from pathlib import Path

import torch

from ..errors import DualsegError
from ..files import require_file_name, write_atomically, write_json
from ..memory import require_memory
from ..runs import Run, read_checkpoint, write_tensors

_PART = re.compile(r"(?P<name>.+)\.zip\.(?P<number>\d+)of(?P<count>\d+)$")
_KEPT = re.compile(r"run\.json|log\.jsonl|last\.safetensors|predictions/(test|val)/[^/]+\.npz")


def round_weights(run: Run, folder: Path) -> Run:
    """A copy of a finished run in `folder` with its convolution kernels in half precision.

    They are nearly all of the weights; biases and batch normalisation stay as they are. run.json
    notes it. A copy that is finished already is returned as it is. Raises DualsegError for a weight
    that half precision cannot hold (above 65504).
    """
    rounded = Run(folder)
    if rounded.finished:
        return rounded
    tensors, progress = read_checkpoint(run.weights_path)
    for name, tensor in tensors.items():
        if tensor.ndim == 5:
            tensors[name] = tensor.half()
            if not torch.isfinite(tensors[name]).all():
                raise DualsegError(
                    f"{run.weights_path}: expected weights that half precision can hold (below "
                    f"65504), found larger ones in {name!r}; the training has diverged."
                )
    write_json(rounded.info_path, run.info() | {"kernels": "float16"})
    log = run.log_path.read_bytes()
    write_atomically(rounded.log_path, lambda file: file.write(log))
    write_tensors(rounded.weights_path, tensors, progress)
    return rounded


def export(run: Run, results: Path, part_mb: float) -> list[Path]:
    """Write what a run leaves behind into `results` as NAME.zip.1of4 and so on; returns the parts.

    That is run.json, log, weights and masks. No part is above `part_mb` (10^6 bytes; 0: one part).
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for path in sorted(path for path in run.folder.rglob("*") if path.is_file()):
            name = path.relative_to(run.folder).as_posix()
            if _KEPT.fullmatch(name):
                text = path.suffix in (".json", ".jsonl")  # the others would not get smaller
                packed.write(path, name, zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED)
    content = buffer.getbuffer()
    size = int(part_mb * 1e6) or len(content)
    count = math.ceil(len(content) / size)
    paths = [results / f"{run.folder.name}.zip.{n + 1}of{count}" for n in range(count)]
    for n, path in enumerate(paths):
        part = content[n * size : (n + 1) * size]
        write_atomically(path, lambda file, part=part: file.write(part))
    return paths


def collect(results: Path, out: Path) -> list[Run]:
    """Put the runs whose parts lie in `results` together, each as a finished run in `out`/NAME.

    A run that is there already is left alone. Raises DualsegError for contents that `export` does
    not write, for a damaged part, and where another run stands in the way (runs before it are
    kept); for missing parts once all complete runs are there.
    """
    complete, missing = _found(results)
    runs = []
    for name, parts in complete.items():
        content = b"".join(path.read_bytes() for path in parts)
        runs.append(_unpacked(content, Run(out / require_file_name(name, results)), parts[0]))
    if missing:
        told = "; ".join(f"of {name} {', '.join(parts)}" for name, parts in missing.items())
        done = f" ({len(runs)} complete runs are in {out})" if runs else ""
        raise DualsegError(
            f"{results}: expected all parts of each run, found none {told}; copy them here, "
            f"too{done}."
        )
    return runs


def _found(results: Path) -> tuple[dict[str, list[Path]], dict[str, list[str]]]:
    """By run: the parts in order where all are there, and the names of those that are missing."""
    if not results.is_dir():
        raise DualsegError(f"{results}: expected the folder with the parts, found no folder.")
    found: dict[str, dict[int, dict[int, Path]]] = {}
    for path in sorted(results.iterdir()):
        if match := _PART.fullmatch(path.name):
            sizes = found.setdefault(match["name"], {})
            sizes.setdefault(int(match["count"]), {})[int(match["number"])] = path
    if not found:
        raise DualsegError(
            f"{results}: expected parts of runs (NAME.zip.1of4), found none; take the files that "
            "work.py has left in its folder `results`."
        )
    complete, missing = {}, {}
    for name, sizes in found.items():
        if len(sizes) > 1:
            raise DualsegError(
                f"{results / name}.zip: found parts of two sizes; keep those of one `work.py`."
            )
        [(count, parts)] = sizes.items()
        lacking = [f"{n}of{count}" for n in range(1, count + 1) if n not in parts]
        if lacking:
            missing[name] = lacking
        else:
            complete[name] = [parts[n] for n in sorted(parts)]
    return complete, missing


def _unpacked(content: bytes, run: Run, source: Path) -> Run:
    try:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DualsegError(
            f"{run.folder.parent}: expected a folder for the runs, it could not be made "
            f"({error.strerror}); choose another --out."
        ) from error
    with tempfile.TemporaryDirectory(prefix=f".{run.folder.name}.", dir=run.folder.parent) as new:
        arrived = Run(Path(new) / "run")
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                names = packed.namelist()
                strange = next((name for name in names if not _KEPT.fullmatch(name)), None)
                if strange is not None:
                    raise DualsegError(
                        f"{source}: expected what work.py packs, found {strange!r} in it; nothing "
                        "was unpacked."
                    )
                require_memory([sum(part.file_size for part in packed.infolist())], 1, source)
                packed.extractall(arrived.folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise DualsegError(
                f"{source}: expected the parts of a run, found damaged ones ({error}); copy them "
                "again."
            ) from error
        arrived.info()
        read_checkpoint(arrived.weights_path)
        if run.finished and run.weights_path.read_bytes() == arrived.weights_path.read_bytes():
            return run
        if run.folder.exists():
            raise DualsegError(
                f"{run.folder}: holds another run already; choose another --out, or move it away."
            )
        arrived.folder.rename(run.folder)
    return run
