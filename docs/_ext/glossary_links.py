"""Link the first use of each glossary term on a page of the course to the glossary."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

# Glossary terms that are also words of everyday English: a link would mostly be wrong.
EVERYDAY = {"case", "label", "step", "batch", "truth", "floor", "ceiling", "power", "record"}
EVERYDAY |= {"vote", "split", "push", "supervised", "test", "full grid", "budget", "visits"}
EVERYDAY |= {"pull", "effect", "silent", "skip", "shortcut", "paired", "held back", "recall"}
NO_LINKS_IN = (nodes.literal, nodes.title, nodes.reference, pending_xref, nodes.math, nodes.raw)


def terms(glossary: Path) -> list[str]:
    """The terms of the glossary's definition lists, longest first."""
    found = re.findall(r"^(\S.*)\n: ", glossary.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(set(found) - EVERYDAY, key=len, reverse=True)


def link_first_uses(app: Sphinx, document: nodes.document) -> None:
    """Put a reference to the glossary around the first use of each term in running text."""
    if not app.env.docname.startswith("notebooks/"):
        return
    left = {term.lower(): term for term in terms(Path(app.srcdir) / "glossary.md")}
    alternatives = "|".join(map(re.escape, left))
    pattern = re.compile(rf"(?<![\w-])({alternatives})s?(?![\w-])", re.IGNORECASE)
    for paragraph in list(document.findall(nodes.paragraph)):
        for text in list(paragraph.findall(nodes.Text)):
            if not isinstance(text.parent, NO_LINKS_IN):
                text.parent.replace(text, _linked(text.astext(), pattern, left, app.env.docname))


def _linked(
    text: str, pattern: re.Pattern[str], left: dict[str, str], docname: str
) -> list[nodes.Node]:
    """The text, cut where terms that are still `left` stand; takes these out of `left`."""
    parts: list[nodes.Node] = []
    end = 0
    for match in pattern.finditer(text):
        term = left.pop(match[1].lower(), None)
        if term is None:
            continue
        parts.append(nodes.Text(text[end : match.start()]))
        words = nodes.inline(match[0], match[0], classes=["glossary-link"])
        parts.append(
            pending_xref(
                "",
                words,
                refdomain="std",
                reftype="term",
                reftarget=term,
                refexplicit=True,
                refdoc=docname,
                refwarn=True,
            )
        )
        end = match.end()
    return [*parts, nodes.Text(text[end:])]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", link_first_uses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
