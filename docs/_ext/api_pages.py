"""Write the pages of the API reference (docs/api, ignored by git) from the public names.

The first page holds what `import dualseg as ds` offers. Each other page holds the public names of
one folder of the package; an object that an earlier page describes is only linked.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import dualseg

NOT_SHOWN = ("_util", "cli")  # private, or described by the page of the commands
MARKS = re.compile(
    r"(``.*?``|:\w+:`[^`]*`|`[^`]*`)|\$([^$]+)\$|(\*+)", re.DOTALL
)  # code, $formula$, stars
COLON = "\ue000"  # stands for a colon while napoleon works


def packages() -> list[ModuleType]:
    """All packages in dualseg that have public names; last the course, which repeats others'."""
    names = [module.name for module in pkgutil.iter_modules(dualseg.__path__) if module.ispkg]
    names.sort(key=lambda name: name == "course")
    found = [importlib.import_module(f"dualseg.{name}") for name in names if name not in NOT_SHOWN]
    return [package for package in found if hasattr(package, "__all__")]


def write_api(app: Sphinx) -> None:
    """Write the page of the main names, and one for each folder."""
    folder = Path(app.srcdir) / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    described: dict[int, str] = {}  # the full name of each object that has its description
    for package in [dualseg, *packages()]:
        text = _page(package, described)
        (folder / f"{package.__name__}.md").write_text(text, encoding="utf-8")


def _page(package: ModuleType, described: dict[int, str]) -> str:
    """The page of one package; adds to `described` what it describes, and links to the rest."""
    own, links = [], []
    for name in package.__all__:
        member = getattr(package, name)
        if isinstance(member, ModuleType):
            continue
        if id(member) in described:
            links.append(f"{{py:obj}}`{name} <{described[id(member)]}>`")
        else:
            described[id(member)] = f"{package.__name__}.{name}"
            own.append(name)
    members = f"   :members: {', '.join(own)}\n" if own else ""
    text = f"# {package.__name__}\n\n"
    text += f"```{{eval-rst}}\n.. automodule:: {package.__name__}\n{members}```\n"
    if links:
        text += f"\nIt also offers these, which are described elsewhere: {', '.join(links)}.\n"
    return text


def before_napoleon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Formulas between dollars, and stars that are no emphasis, in reST."""
    text = MARKS.sub(_as_rst, "\n".join(lines))
    if what in ("attribute", "data", "property"):  # napoleon takes words before a colon for a type
        text = text.replace(":", COLON)
    lines[:] = text.split("\n")


def _as_rst(found: re.Match[str]) -> str:
    code, formula, stars = found.groups()
    if formula:
        return f":math:`{' '.join(formula.split())}`"
    return code or (stars if stars == "**" else stars.replace("*", r"\*"))


def after_napoleon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """The options that a command describes below "Args:"; named tuples' fields need no remark."""
    if "Args:" in lines:
        place = lines.index("Args:")
        lines[place:] = [re.sub(r"^ {4}(\w+): ", r":param \1: ", li) for li in lines[place + 1 :]]
    kept = (line for line in lines if not line.startswith("Alias for field number"))
    lines[:] = [line.replace(COLON, ":") for line in kept]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
