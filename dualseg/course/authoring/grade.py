"""Run the checkers of every exercise on the notebooks that a class has handed in.

Students' code is executed: each notebook in a kernel, a process of its own, which is ended when a
cell exceeds its time. This keeps students apart from each other, but nothing here keeps their code
from the files and the network of the machine.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from ..._util.files import write_atomically
from ...errors import DualsegError
from .answers import Exercise, exercises, sources_for
from .notebook_files import quiet_kernel, read_notebook

START_SECONDS = 300  # for a kernel to load PyTorch on a busy machine; no student's code runs yet
KEPT_OUTPUTS, KEPT_CHARACTERS = 20, 2000
RunCell = Callable[[str], NotebookNode]
# Canvas names a file by its student, the student's number, the file's number (another one for each
# file) and the name that it had, as wrongbob_LATE_4711_99888_02_name.ipynb.
CANVAS = re.compile(r"(?P<name>.+?)(_LATE)?(?P<number>_\d+)_\d{3,}_")
AGAIN = re.compile(r"-\d+$| ?\(\d+\)$")  # ends the name of a file that was handed in again


@dataclass(frozen=True)
class Verdict:
    """What became of one exercise."""

    word: str
    """One of "passed", "wrong", "empty", "crashed", "too slow", "broken" and "missing"."""
    detail: str = ""
    """The checker's hint, or the error."""

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}" if self.detail else self.word


PASSED, EMPTY, MISSING = Verdict("passed"), Verdict("empty"), Verdict("missing")


def handed_in(
    folder: Path, notebooks: Sequence[Path]
) -> tuple[dict[str, dict[Path, list[Path]]], dict[Path, str]]:
    """Find the students and their notebooks.

    A file belongs to a notebook of the course if its name contains that notebook's name, in upper
    or lower case. A file in a subfolder belongs to the student that the subfolder of `folder` is
    named after, at any depth. For a file in `folder` itself, the rest of the file's name is the
    student's name. Of a notebook that a student has handed in several times, the last one counts,
    by the numbers in the files' names.

    Parameters
    ----------
    folder : Path
        Folder of the class.
    notebooks : sequence of Path
        Notebooks of the course.

    Returns
    -------
    dict, dict
        By student and notebook, the files (several where their names do not tell which is the
        last one); and by file the reason why it is not graded. Of files that are no notebooks,
        only those of students without any notebook are named.

    Raises
    ------
    DualsegError
        If there is no notebook of the course in the folder.
    """
    students: dict[str, dict[Path, list[Path]]] = {}
    left_out: dict[Path, str] = {}
    no_notebooks = []
    for path in _visible_files(folder):
        if path.suffix.lower() != ".ipynb":
            no_notebooks.append(path)
        elif notebook := _notebook_of(path, notebooks):
            student = _student_of(path, notebook, folder)
            students.setdefault(student, {}).setdefault(notebook, []).append(path)
        else:
            left_out[path] = "its name contains the name of no notebook"
    if not students:
        raise DualsegError(
            f"{folder}: expected students' notebooks like alice/{notebooks[0].name} or "
            f"alice_{notebooks[0].name}, found none."
        )
    for files in students.values():
        for notebook, several in files.items():
            files[notebook] = last = _last(several)
            later = f"{last[0]} was handed in later"
            left_out |= {path: later for path in several if path not in last}
    for path in no_notebooks:
        if path.relative_to(folder).parts[0] not in students:
            left_out[path] = "it is no .ipynb file"
    return students, left_out


def _visible_files(folder: Path) -> Iterator[Path]:
    """All files in order, but none like .DS_Store or in a folder like .ipynb_checkpoints."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _notebook_of(path: Path, notebooks: Sequence[Path]) -> Path | None:
    """The notebook of the course whose name stands in the name of a file."""
    for notebook in notebooks:
        if re.search(re.escape(notebook.stem), path.stem, re.IGNORECASE):
            return notebook
    return None


def _student_of(path: Path, notebook: Path, folder: Path) -> str:
    """The name of the student who handed in a file."""
    first, *deeper = path.relative_to(folder).parts
    if deeper:
        return first
    before, after = re.split(re.escape(notebook.stem), path.stem, maxsplit=1, flags=re.IGNORECASE)
    if canvas := CANVAS.match(before):
        return canvas["name"] + canvas["number"]
    if before:  # else a number after the notebook's name may be the student's
        after = AGAIN.sub("", after)
    return (before + after).strip("_-. ") or folder.resolve().name


def _last(files: Sequence[Path]) -> list[Path]:
    """The file with the highest numbers in its path; several if they have the same numbers."""
    numbers = {path: [int(n) for n in re.findall(r"\d+", path.as_posix())] for path in files}
    highest = max(numbers.values())
    return [path for path in files if numbers[path] == highest]


def grade_class(
    students: Mapping[str, Mapping[Path, Sequence[Path]]], seconds: int
) -> Iterator[tuple[str, dict[str, Verdict]]]:
    """Grade one student after the other.

    Parameters
    ----------
    students : mapping
        By student and notebook of the course, the handed-in files, as `handed_in` finds them.
    seconds : int
        The most that a cell may take.

    Yields
    ------
    tuple of str and dict
        A student, and the verdict on each exercise, by its column (as `02.1`). All students have
        all exercises of every notebook that somebody has handed in.
    """
    notebooks = sorted({notebook for files in students.values() for notebook in files})
    asked = {notebook: exercises(read_notebook(notebook)) for notebook in notebooks}
    for student, files in sorted(students.items()):
        yield (
            student,
            {
                exercise.column: verdict
                for notebook in notebooks
                for exercise, verdict in grade_files(
                    files.get(notebook, ()), asked[notebook], seconds
                ).items()
            },
        )


def grade_files(
    files: Sequence[Path], asked: Sequence[Exercise], seconds: int
) -> dict[Exercise, Verdict]:
    """Grade what one student has handed in for one notebook.

    Parameters
    ----------
    files : sequence of Path
        One file; none is "missing", several are "broken", since nobody knows which one counts.
    asked : sequence of Exercise
        The exercises of the notebook.
    seconds : int
        The most that a cell may take.

    Returns
    -------
    dict
        The verdict on each exercise.
    """
    if len(files) != 1:
        several = Verdict("broken", f"expected one file, found {', '.join(map(str, files))}")
        return dict.fromkeys(asked, several if files else MISSING)
    try:
        notebook = read_notebook(files[0])
    except Exception as error:  # a file may be broken in ways that its reader does not expect
        return dict.fromkeys(asked, Verdict("broken", _one_line(error)))
    verdicts = {}
    left = list(asked)
    while left:  # each round is a new kernel
        with _kernel(left[0].notebook, seconds) as run:
            alive = True
            while left and alive:
                exercise = left.pop(0)
                verdicts[exercise], alive = _grade(exercise, notebook, run)
    return verdicts


def _grade(exercise: Exercise, notebook: NotebookNode, run: RunCell) -> tuple[Verdict, bool]:
    """The verdict on an exercise, and whether its kernel can be used for the next one."""
    try:
        run("get_ipython().reset(new_session=False)")  # no answer sees what another one left
        cells = [run(source) for source in sources_for(exercise, notebook)]
    except CellTimeoutError:
        return Verdict("too slow"), False
    except RuntimeError:  # nbclient's, for a kernel that died
        return Verdict("crashed", "the process ended (out of memory, or the code ended it)"), False
    return verdict_of(exercise, cells), True


def verdict_of(exercise: Exercise, cells: Sequence[NotebookNode]) -> Verdict:
    """What the checker said; if it did not come to its end, the first error on the way."""
    errors = [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    for hint in (out for out in cells[-1].outputs if out.get("ename") == "Hint"):
        return Verdict("wrong", _one_line(hint.evalue))
    if not any(out.output_type == "error" for out in cells[-1].outputs):
        # The checker speaks last; what the answer itself prints comes before, maybe on its line.
        said = "".join(out.text for out in cells[-1].outputs if out.get("name") == "stdout")
        verdict = said.rstrip().rpartition("\n")[2]
        title = exercise.title.replace("_", " ").capitalize()
        if verdict.endswith(f"{title}: right."):
            return PASSED
        if f"{title}: not yet" in verdict:
            return EMPTY
    reason = f"{errors[0].ename}: {errors[0].evalue}" if errors else "the checker said nothing"
    return Verdict("crashed", _one_line(reason))


class _BoundedClient(NotebookClient):
    """Keeps the last outputs of a cell only: an endless loop may print gigabytes."""

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: Any, cell_index: int
    ) -> NotebookNode | None:
        # Without display_id, so that no later message looks for an output that is gone.
        made = super().output(outs, msg, None, cell_index)
        del outs[:-KEPT_OUTPUTS]
        if made and made.output_type == "stream":
            made.text = made.text[-KEPT_CHARACTERS:]
        return made


@contextmanager
def _kernel(notebook: str, seconds: int) -> Iterator[RunCell]:
    """A function that runs a cell in a new kernel and returns the cell with its outputs.

    The kernel works in a folder that goes with it.

    It raises CellTimeoutError for a cell that takes more than `seconds`, after which the kernel
    cannot be used, and RuntimeError where the kernel died.
    """
    client = _BoundedClient(
        new_notebook(cells=[new_code_cell()]),
        timeout=START_SECONDS,
        kernel_name="python3",  # the student's may have another name
        allow_errors=True,
        shutdown_kernel="immediate",
        extra_arguments=["--log-level=ERROR"],
    )
    client.log.disabled = True  # it reports what becomes a verdict

    def run(source: str) -> NotebookNode:
        return client.execute_cell(new_code_cell(source), 0)

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        quiet_kernel(),
        client.setup_kernel(cwd=folder),
    ):
        run(f"import matplotlib.pyplot, torch, dualseg.course.checkers.nb{notebook}")
        client.timeout = seconds
        yield run


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


def words_table(results: Mapping[str, Mapping[str, Verdict]]) -> list[list[str]]:
    """One row a student, one column an exercise, and the number passed, with a header."""
    columns = list(next(iter(results.values())))
    rows = [["student", *columns, "total"]]
    for student, verdicts in results.items():
        words = [verdicts[column].word for column in columns]
        rows.append([student, *words, str(words.count("passed"))])
    return rows


def write_csv(path: Path, results: Mapping[str, Mapping[str, Verdict]]) -> None:
    """Write the table, with hints and errors in its cells, for a spreadsheet."""
    table = words_table(results)
    for row, verdicts in zip(table[1:], results.values(), strict=True):
        row[1:-1] = map(str, verdicts.values())
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    # Excel takes a file for UTF-8 only if it begins with this mark.
    write_atomically(path, text.getvalue().encode("utf-8-sig"))
