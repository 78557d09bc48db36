"""What a committed notebook must look like; each problem is one line that names the cell."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from ...errors import DualsegError
from .notebook_files import FOLDED, cell_name, code_cells, parameters, parse, reassigned, tags

MAX_CELLS, MEDIAN_LINES, MAX_LINES = 30, 8, 12  # of cells that are not folded
MAX_FOLDED = 30  # lines of a folded cell
MIN_QUESTIONS = 3  # of the quiz, each with its answer in a <details> block
MAX_OUTPUT_LINES, MAX_BYTES = 100, 1_500_000
MINUTES = re.compile(r"^\*(Core|Extra), (\d+) minutes?[.:]", re.MULTILINE)
UNTIMED = ("Learning goals", "Quiz", "Exercises", "Summary")
CARD_ROWS = ("Before this", "Time in class", "Data", "Paper", "Measured")
MACHINE_PATHS = (
    re.compile(r"/(home|Users|tmp|root|work|private)/|[A-Za-z]:\\+Users"),
    *(re.compile(re.escape(p)) for p in (str(Path.home()), tempfile.gettempdir()) if len(p) > 4),
)
CAPTION = re.compile(r"^Figure (\d\d)-(\d+)\. ", re.MULTILINE)


def form_problems(notebook: NotebookNode, name: str) -> list[str]:
    """Problems of the source: card, first cells, sizes, headings."""
    return [f"{name}: {problem}" for problem in _form(notebook, name)]


def output_problems(notebook: NotebookNode, name: str) -> list[str]:
    """Problems of the stored outputs: order, errors, paths, alternative texts, lengths."""
    return [f"{name}: {problem}" for problem in _outputs(notebook, name)]


def _form(notebook: NotebookNode, name: str) -> Iterator[str]:
    yield from _card(notebook, name)
    try:
        yield from _first_cells(notebook, name)
    except DualsegError as error:
        yield str(error).removeprefix(f"{name}: ")
    except SyntaxError as error:
        yield f"a cell is no Python: {error}"
        return
    cells = code_cells(notebook)
    open_cells = [cell for cell in cells if not FOLDED & set(tags(cell))]
    if len(open_cells) > MAX_CELLS:
        yield f"expected at most {MAX_CELLS} open code cells, found {len(open_cells)}"
    if open_cells and statistics.median(map(_lines, open_cells)) > MEDIAN_LINES:
        yield f"expected a median of at most {MEDIAN_LINES} lines an open code cell, found more"
    for cell in cells:
        place = cell_name(notebook, cell)
        most = MAX_LINES if cell in open_cells else MAX_FOLDED
        if _lines(cell) > most and cell is not cells[0]:  # which lists the imports
            fold = " (tag a figure's code 'hide-input', which folds it)" * (most == MAX_LINES)
            yield f"{place}: expected at most {most} lines{fold}, found {_lines(cell)}"
        if "NotImplementedError" in cell.source or "raises-exception" in tags(cell):
            yield f"{place}: papermill stops here; print or catch what is to be shown"
        if _branches_on_profile(parse(cell.source)):
            yield f"{place}: compares profile or dataset; use settings.choose(...) for sizes"
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    titles = re.findall(r"^## (.+)$", "\n".join(texts), re.MULTILINE)
    if titles[:1] != ["Learning goals"]:
        yield "expected '## Learning goals' as the first section"
    if "Exercises" not in titles:
        yield "expected a section '## Exercises'"
    elif not any("solution" in tags(cell) for cell in cells):
        yield "expected a code cell tagged 'solution' for each exercise, found none"
    yield from _times(notebook.cells[0].source, "\n".join(texts))
    quiz = re.search(r"^## Quiz$(.*?)(?=^## |\Z)", "\n".join(texts), re.MULTILINE | re.DOTALL)
    if not quiz or quiz[1].count("<details>") < MIN_QUESTIONS:
        yield f"expected '## Quiz' with {MIN_QUESTIONS} questions, each answered in <details>"
    if titles[-1:] != ["Summary"]:
        yield "expected '## Summary' as the last section"


def _times(card: str, text: str) -> Iterator[str]:
    """Each section names its minutes, which add up to those of the card."""
    for title, line in re.findall(r"^## (.+)\n\s*(.*)$", text, re.MULTILINE):
        if title not in UNTIMED and not MINUTES.match(line):
            yield f"section {title!r}: expected '*Core, 8 minutes.*' or '*Extra, ...' below it"
    found = {"Core": 0, "Extra": 0}
    for kind, minutes in MINUTES.findall(text):
        found[kind] += int(minutes)
    stated = re.search(r"(\d+) minutes for the core, (\d+) minutes with the extra", card)
    if not stated:
        yield "expected 'N minutes for the core, M minutes with the extra parts' in the card"
    elif (stated[1], stated[2]) != (str(found["Core"]), str(sum(found.values()))):
        yield (
            f"expected sections of {stated[1]} minutes (core) and {stated[2]} (with the extra "
            f"parts), as the card says, found {found['Core']} and {sum(found.values())}"
        )


def _lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def _card(notebook: NotebookNode, name: str) -> Iterator[str]:
    card = notebook.cells[0] if notebook.cells else None
    if card is None or card.cell_type != "markdown":
        yield "expected a text cell with title, question and card first"
        return
    if not re.match(rf"# {name[:2]} \S", card.source):
        yield f"expected the title '# {name[:2]} ...' in the first line of the first cell"
    if not re.search(r"^\*[^*]+\?\*$", card.source, re.MULTILINE):
        yield "expected the notebook's question in the first cell, in a line like *What is ...?*"
    for row in CARD_ROWS:
        if not re.search(rf"^\| {row} \|", card.source, re.MULTILINE):
            yield f"expected a row '| {row} | ... |' in the card of the first cell"
    if not re.search(r"<!-- measured -->.*<!-- end -->", card.source):
        yield "expected <!-- measured --><!-- end --> in the card's row 'Measured'"


def _first_cells(notebook: NotebookNode, name: str) -> Iterator[str]:
    """One cell of imports, the parameters, and a cell that checks every one of them."""
    names = set(parameters(notebook, name))
    cells = code_cells(notebook)
    for i, cell in enumerate(cells):
        statements = parse(cell.source).body
        imports = [isinstance(s, ast.Import | ast.ImportFrom) for s in statements]
        if i == 0 and not all(imports):
            yield "expected imports alone in the first code cell"
        if i > 0 and any(imports):
            yield f"{cell_name(notebook, cell)}: imports belong in the first code cell"
    if len(cells) < 3 or "parameters" not in tags(cells[1]):
        yield "expected the second code cell to be tagged 'parameters', and a check of them next"
        return
    for line in _without_comment(cells[1].source):
        yield f"parameters cell: expected a comment behind `{line}`"
    used = {n.id for n in ast.walk(parse(cells[2].source)) if isinstance(n, ast.Name)}
    if "notebook_settings" not in used or not names <= used:
        left_out = ", ".join(sorted(names - used)) or "its call"
        yield f"expected notebook_settings(...) of all parameters next, found no {left_out}"
    for cell, parameter in reassigned(notebook, name):
        yield f"{cell_name(notebook, cell)}: assigns the parameter {parameter!r} again"


def _without_comment(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    statements = [(s.lineno, s.end_lineno or s.lineno) for s in ast.parse(source).body]
    lines = source.splitlines()
    return [lines[a - 1] for a, b in statements if not commented & set(range(a, b + 1))]


def _branches_on_profile(tree: ast.AST) -> bool:
    compared = (n for c in ast.walk(tree) if isinstance(c, ast.Compare) for n in ast.walk(c))
    names = {getattr(node, "id", getattr(node, "attr", "")) for node in compared}
    return bool(names & {"profile", "dataset", "data_dir"})


def _outputs(notebook: NotebookNode, name: str) -> Iterator[str]:
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"expected execution counts 1 to {len(cells)} in order, found {counts}"
    if "widgets" in notebook.metadata:
        yield "expected no widget state in the metadata, which GitHub refuses to show"
    figures = []
    for cell in cells:
        place = cell_name(notebook, cell)
        lines = 0
        if "nbval-check-output" in tags(cell) and not any(map(text_of, cell.outputs)):
            yield f"{place}: tagged nbval-check-output without stored text, which passes anything"
        for output in cell.outputs:
            text = text_of(output)
            lines += len(text.splitlines())
            figures += [tuple(map(int, match)) for match in CAPTION.findall(text)]
            yield from (f"{place}: {problem}" for problem in _output(output, text))
        if lines > MAX_OUTPUT_LINES:
            yield f"{place}: expected at most {MAX_OUTPUT_LINES} lines of output, found {lines}"
        if _images(cell) != sum(len(CAPTION.findall(text_of(o))) for o in cell.outputs):
            yield f"{place}: expected every picture to come from `show`, with a caption"
    if figures != [(int(name[:2]), k) for k in range(1, len(figures) + 1)]:
        yield f"expected figures {name[:2]}-1, {name[:2]}-2 and so on, found {figures}"


def _output(output: NotebookNode, text: str) -> Iterator[str]:
    path = next(filter(None, (pattern.search(text) for pattern in MACHINE_PATHS)), None)
    if path:
        yield f"the output names a path of a machine ({path[0]})"
    if output.output_type == "error":
        yield f"ends in an error, {output.ename}"
    if output.get("name") == "stderr":
        yield f"wrote a warning or progress to stderr: {text.strip()[:80]!r}"
    if "not yet: replace" in text:
        yield "the solution of this exercise does not fill its answer"
    if any(kind.endswith("widget-view+json") for kind in output.get("data", ())):
        yield "stored a widget, which static viewers cannot show"
    for kind in output.get("data", ()):
        alt = output.metadata.get(kind, {}).get("alt", "")
        if kind.startswith("image/") and not alt.strip():
            yield "a picture has no alternative text; show it with dualseg.course.display.show"


def text_of(output: NotebookNode) -> str:
    """The text of a stored output, without images."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return "\n".join(v for k, v in output.get("data", {}).items() if k.startswith("text/"))


def _images(cell: NotebookNode) -> int:
    return sum(k.startswith("image/") for o in cell.outputs for k in o.get("data", ()))
