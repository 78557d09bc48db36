"""The commands `dualseg notebooks ...`."""

from __future__ import annotations

import re
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from .._util.tables import columns
from ..errors import DualsegError, require
from ..many_runs.jobs import Resources

Names = Positional[tuple[str, ...]]
Given = Annotated[UseAppendAction[tuple[tuple[str, str], ...]], arg(name="p", aliases=["-p"])]
Over = UseAppendAction[tuple[tuple[str, ...], ...]]
FOLDER = Path("notebooks")


def notebooks_list(folder: Path = FOLDER) -> None:
    """The notebooks, with the time and memory that their recording took.

    Example: dualseg notebooks list

    Args:
        folder: Folder of the notebooks.
    """
    from ..course.authoring.notebook_files import notebook_paths
    from ..course.authoring.record import notebook_rows

    rows = notebook_rows(notebook_paths(folder))
    print(columns([list(rows[0]), *(list(row.values()) for row in rows)]))


def notebooks_run(
    names: Names = (),
    profile: str | None = None,
    parameters: Given = (),
    over: Over = (),
    out: Path = Path("runs/notebooks"),
    folder: Path = FOLDER,
    resources: Resources = Resources(),  # noqa: B008 (frozen)
) -> None:
    """Run notebooks with other parameters; the executed copies stand in another folder.

    Example: dualseg notebooks run 02 --profile smoke -p seed 3

    With --workers or --cluster slurm, they run as jobs, several at a time.

    Args:
        names: Numbers like 02; if none is given, all notebooks.
        profile: The parameter `profile`: "smoke", "lesson" or "full".
        parameters: A parameter's name and value; may be given several times.
        over: A parameter's name and values, as `--over seed 0 1 2`: a run with each of them, in
            OUT/seed_0 and so on; may be given several times.
        out: Folder of the executed copies.
        folder: Folder of the notebooks.
        resources: Where the notebooks run.
    """
    from ..course.authoring.notebook_files import (
        given_parameters,
        notebook_paths,
        read_notebook,
        run_notebook,
    )

    given = dict(parameters) | ({} if profile is None else {"profile": profile})
    runs = {}
    for path, (values, part) in product(notebook_paths(folder, names), _variants(over)):
        given_parameters(read_notebook(path), path.name, given | values)  # before any takes time
        runs[f"{path.stem}_{part}".rstrip("_")] = (path, given | values, out / part)
    if resources == Resources():
        for path, values, target in runs.values():
            run = run_notebook(path, values, target, progress=True)
            print(f"{path.name}: {run.cells} code cells in {run.seconds:.0f} s; see {run.path}")
        return
    from ..many_runs.jobs import run_jobs

    calls = {name: partial(run_notebook, *run) for name, run in runs.items()}
    failed = run_jobs(calls, resources, out / "jobs")
    for name, (path, _, target) in runs.items():
        # Why a job failed was said when it did.
        seen = f"failed, see {failed[name].log}" if name in failed else f"see {target / path.name}"
        print(f"{name}: {seen}")
    if failed:
        raise DualsegError(f"{len(failed)} of {len(runs)} notebooks failed.")


def _variants(over: Over) -> list[tuple[dict[str, str], str]]:
    """Every combination of the values, and the name of its folder ("" without any)."""
    for name, *values in over:
        require(bool(values), f"--over {name}", "a name and values", "no value")
    choices = [[(name, value) for value in values] for name, *values in over]
    variants: dict[str, dict[str, str]] = {}
    for chosen in product(*choices):
        part = re.sub(r"[^\w.-]+", "-", "_".join(f"{n}_{v}" for n, v in chosen))
        require(part not in variants, "--over", "values that make different folders", part)
        variants[part] = dict(chosen)
    return [(values, part) for part, values in variants.items()]


def notebooks_record(names: Positional[tuple[str, ...]], folder: Path = FOLDER) -> None:
    """Run notebooks with their defaults and keep the outputs, stamped, for the repository.

    Example: dualseg notebooks record 02

    Args:
        names: Numbers like 02; at least one.
        folder: Folder of the notebooks.
    """
    from ..course.authoring.notebook_files import notebook_paths
    from ..course.authoring.record import measured, record

    if not names:
        raise DualsegError("names: expected numbers of notebooks like 02, found none.")
    for path in notebook_paths(folder, names):
        stamp = record(path, progress=True)
        print(f"{path}: recorded, {measured(stamp)}")


def notebooks_check(names: Names = (), folder: Path = FOLDER) -> None:
    """Check form, outputs, stamps and student copies of the committed notebooks.

    Example: dualseg notebooks check

    Args:
        names: Numbers like 02; if none is given, all notebooks.
        folder: Folder of the notebooks.
    """
    from ..course.authoring.check import check_notebook
    from ..course.authoring.notebook_files import notebook_paths

    paths = notebook_paths(folder, names)
    found = []
    for path in paths:
        problems, notes = check_notebook(path)
        found += problems
        for line in (*problems, *(f"{note} (note)" for note in notes)):
            print(line)
    if found:
        raise DualsegError(f"{len(found)} problems found in {len(paths)} notebooks.")
    print(f"{len(paths)} notebooks, no problem found.")


def notebooks_exercises(names: Names = (), folder: Path = FOLDER) -> None:
    """Write the student copies: the notebooks without solutions and outputs.

    Example: dualseg notebooks exercises 02

    Args:
        names: Numbers like 02; if none is given, all notebooks.
        folder: Folder of the notebooks.
    """
    from ..course.authoring.notebook_files import notebook_paths, read_notebook
    from ..course.authoring.student_copy import solution_cells, write_student_copy

    for path in notebook_paths(folder, names):
        if solution_cells(read_notebook(path)):
            print(f"{write_student_copy(path)}: written")


def notebooks_table(markdown: bool = False, folder: Path = FOLDER) -> None:
    """The table of notebooks, from the stamps of their recordings.

    Example: dualseg notebooks table --markdown

    Args:
        markdown: As the README's Markdown table.
        folder: Folder of the notebooks.
    """
    from ..course.authoring.notebook_files import notebook_paths
    from ..course.authoring.record import notebook_table

    if not markdown:
        return notebooks_list(folder)
    print(notebook_table(notebook_paths(folder)))


def notebooks_grade(
    handed_in: Positional[Path],
    csv: Path | None = None,
    seconds: int = 60,
    folder: Path = FOLDER,
) -> None:
    """Run the checkers of every exercise on the notebooks of a class.

    Example: dualseg notebooks grade handed_in --csv grades.csv

    THIS EXECUTES THE STUDENTS' CODE. Run it in a container, or on a machine without secrets. Each
    notebook has a process of its own, which is ended if it exceeds its time, so that no student's
    work disturbs another's.

    The class's folder holds either a folder for each student, named after the student (as
    alice/02_measuring_overlap_and_distance.ipynb), or files that begin or end with the student's
    name (as alice_02_measuring_overlap_and_distance.ipynb), also with the numbers that Canvas adds.
    Of a notebook that a student has handed in several times, the last one counts. What is not
    graded is listed first, with the reason.

    Args:
        handed_in: The class's folder.
        csv: A file for the table, with the hints of the checkers.
        seconds: The most that a cell may take, in seconds.
        folder: Folder of the course's notebooks.
    """
    from ..course.authoring import grade
    from ..course.authoring.notebook_files import notebook_paths

    require(seconds > 0, "--seconds", "more than 0", seconds)
    if not handed_in.is_dir():
        raise DualsegError(f"{handed_in}: expected the folder of a class, found no folder.")
    students, left_out = grade.handed_in(handed_in, notebook_paths(folder))
    for path, reason in left_out.items():
        print(f"{path}: not graded, since {reason}")
    results = {}
    for student, verdicts in grade.grade_class(students, seconds):
        results[student] = verdicts
        for exercise, verdict in verdicts.items():
            if verdict.detail:
                print(f"{student} {exercise}: {verdict}")
        print(f"{student}: graded ({len(results)} of {len(students)})", flush=True)
        if csv:  # after each student, so that a stop loses no work
            grade.write_csv(csv, results)
    print(columns(grade.words_table(results)))
    if csv:
        print(f"see {csv}")


COMMANDS = {
    "list": notebooks_list,
    "run": notebooks_run,
    "record": notebooks_record,
    "check": notebooks_check,
    "exercises": notebooks_exercises,
    "grade": notebooks_grade,
    "table": notebooks_table,
}
