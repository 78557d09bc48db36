"""Record a notebook: run it, and keep its outputs with a stamp of what they come from."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from ..._util.files import write_atomically
from ..._util.memory import process_peak_mb
from ..._util.tables import as_markdown
from ...errors import DualsegError
from ..settings import LA_DIR, REAL_IF_HERE
from .form import output_problems
from .notebook_files import FOLDED, code_cells, parameters, read_notebook, run_notebook, tags
from .student_copy import solution_cells, write_student_copy

LIBRARIES = ("torch", "numpy", "scipy", "matplotlib", "scikit-image", "medpy")
CARD = re.compile(r"(<!-- measured -->).*?(<!-- end -->)", re.DOTALL)


def kernel_report() -> dict[str, Any]:
    """What the calling kernel took and ran on: memory, CPU time, versions, device."""
    memory, seconds = process_peak_mb(), time.process_time()  # before torch is imported below
    from ..._util.environment import describe_device, pick_device, versions

    return {
        "peak_memory_mb": round(memory),
        "cpu_seconds": round(seconds, 1),
        "versions": versions() | {name: metadata.version(name) for name in LIBRARIES},
        "device": describe_device(pick_device()),
        "cores": os.cpu_count(),
    }


EPILOGUE = (
    "import json\nfrom dualseg.course.authoring.record import kernel_report\n"
    "print(json.dumps(kernel_report()))"
)


def code_hash(notebook: NotebookNode) -> str:
    """SHA-256 over the code cells, the parameters cell among them, in order."""
    sources = [[cell.source, "parameters" in tags(cell)] for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def outputs_hash(notebook: NotebookNode) -> str:
    """SHA-256 over the stored outputs of the code cells, in order."""
    stored = [cell.outputs for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def measured(stamp: dict[str, Any]) -> str:
    """Time and memory of the recording, in the words of the card and the table."""
    gpu = "no GPU" if "threads" in stamp["device"] else stamp["device"]
    seconds = stamp["seconds"]
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    return f"{took}, {stamp['peak_memory_mb']} MB (profile lesson, {stamp['cores']} cores, {gpu})"


def record(
    path: Path,
    out: Path = Path("runs/notebooks"),
    figures: Path = Path("figures/notebooks"),
    progress: bool = False,
) -> dict[str, Any]:
    """Run a notebook with its defaults, and keep its outputs, stamp, card and figures.

    Parameters
    ----------
    path : Path
        The notebook, which is replaced; so is its student copy.
    out : Path
        Folder of the executed copy.
    figures : Path
        Folder of the figures; those of an older recording go.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        The stamp, which is also in the notebook's metadata.

    Raises
    ------
    DualsegError
        Where the run fails, the default profile is not "lesson", or the outputs may not be
        committed; the old file stays.
    """
    defaults = parameters(read_notebook(path), path.name)
    if defaults.get("profile") != "lesson":
        raise DualsegError(
            f"{path.name}: expected the parameter profile = 'lesson' by default, found "
            f"{defaults.get('profile')!r}; recordings are made with the defaults."
        )
    if defaults.get("dataset") == REAL_IF_HERE and not os.environ.get(LA_DIR):
        raise DualsegError(
            f"{path.name}: expected the folder of the left-atrium files in the environment "
            f"variable {LA_DIR}, found none; this notebook is recorded on the real scans."
        )
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder)
        run = run_notebook(path, {}, out, epilogue=EPILOGUE, figures=drawn, progress=progress)
        last = run.notebook.cells.pop()
        report = json.loads(last.outputs[0].text)
        notebook = _cleaned(run.notebook)
        stamp = {
            "code_sha256": code_hash(notebook),
            "outputs_sha256": outputs_hash(notebook),
            "parameters": defaults,
            "profile": "lesson",
            **report,
            "seconds": round(run.seconds - last.metadata.papermill.duration, 1),
            "recorded": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        notebook.metadata["dualseg"] = stamp
        card = notebook.cells[0]
        card.source = CARD.sub(rf"\g<1>{measured(stamp)}\g<2>", card.source)
        problems = output_problems(notebook, path.name)
        if problems:
            lines = "\n  ".join(problems)
            raise DualsegError(f"{path.name}: not recorded, the old file stands:\n  {lines}")
        _replace_figures(drawn, figures, path.stem[:2])
    text = nbformat.writes(notebook) + "\n"
    write_atomically(path, text.encode())
    if solution_cells(notebook):
        write_student_copy(path)
    return stamp


def _cleaned(notebook: NotebookNode) -> NotebookNode:
    """Without what papermill and kernels add; tags and ids stay."""
    joined = CoalesceStreamsPreprocessor().preprocess_cell  # one text, not the pieces as sent
    keep = {"kernelspec", "language_info"}
    notebook.metadata = NotebookNode({k: v for k, v in notebook.metadata.items() if k in keep})
    for cell in notebook.cells:
        cell.metadata = NotebookNode({"tags": tags(cell)} if tags(cell) else {})
        if cell.cell_type == "code":
            if FOLDED & set(tags(cell)):  # JupyterLab shows the output alone
                cell.metadata["jupyter"] = NotebookNode(source_hidden=True)
            joined(cell, {}, 0)
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
            joined(cell, {}, 0)  # texts that a progress bar stood between
    return notebook


def _is_progress(output: NotebookNode) -> bool:
    """Whether an output is a progress bar, or the empty line that follows one."""
    if output.get("name") != "stderr":
        return False
    return not output.text.strip() or bool(re.search(r"\d+%\|", output.text))


def _replace_figures(drawn: Path, folder: Path, number: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{number}-*.png"):
        old.unlink()
    for picture in sorted(drawn.glob("*.png")):
        shutil.copyfile(picture, folder / picture.name)


def notebook_rows(paths: list[Path]) -> list[dict[str, str]]:
    """One row a notebook: title, question, and what its recording took."""
    rows = []
    for path in paths:
        notebook = read_notebook(path)
        stamp, card = notebook.metadata.get("dualseg"), notebook.cells[0].source
        title, question = re.search(r"^# (.+)$", card, re.M), re.search(r"^\*(.+)\*$", card, re.M)
        rows.append(
            {
                "notebook": title[1] if title else path.stem,
                "question": question[1] if question else "",
                "time": f"{stamp['seconds']:.0f} s" if stamp else "not recorded",
                "memory": f"{stamp['peak_memory_mb']} MB" if stamp else "",
                "exercises": str(len(solution_cells(notebook))),
            }
        )
    return rows


def notebook_table(paths: list[Path]) -> str:
    """The README's table of notebooks, as Markdown."""
    rows = notebook_rows(paths)
    for row, path in zip(rows, paths, strict=True):
        row["notebook"] = f"[{row['notebook']}]({path.parent.name}/{path.name})"
    return as_markdown([list(rows[0]), *(list(row.values()) for row in rows)])
