"""What the paper says: the commands `networks`, `explain`, `gradients` and `dualseg paper ...`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from .._util.tables import columns


def networks() -> None:
    """Parameters and multiply-accumulates of both networks, beside the paper's figures.

    Example: dualseg networks
    """
    from ..paper.complexity import complexity_table

    print(complexity_table())


def explain(
    preset: str | None = None, dataset: str = "la", at: float = 0.0, method: str = "dual"
) -> None:
    """The losses of a method: equations, weights over training, gradients, disputed points.

    Example: dualseg explain --preset released

    Args:
        preset: One of the method's presets (listed at the end); without it, the first: "paper".
        dataset: The data set whose settings to take, as "la" or "pancreas" (alpha, gamma differ).
        at: The t = step / steps of the column "now".
        method: "dual", or another name in METHODS.
    """
    from ..paper.explain import explain as explanation

    print(explanation(preset, dataset, at, method))


def gradients(preset: str | None = None, dataset: str = "la", method: str = "dual") -> None:
    """Which network learns from which term, found by autograd; beside it the released program.

    Example: dualseg gradients --preset released

    Args:
        preset: As for `dualseg explain`.
        dataset: As for `dualseg explain`.
        method: As for `dualseg explain`.
    """
    from ..paper.explain import explain_gradients

    print(explain_gradients(preset, dataset, method))


def paper_table(name: Positional[str] = "", dataset: str | None = None) -> None:
    """The paper's tables as numbers, with remarks where its text says something else.

    Example: dualseg paper table comparison --dataset la

    Args:
        name: Of a table; without it, the tables are listed.
        dataset: Rows of one data set: "la", "pancreas" or "brats2019".
    """
    from ..paper import tables

    if not name:
        print(columns(list(tables.TABLES.items())))
        return
    rows = tables.paper_table(name, dataset)
    shown = ([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)
    print(columns([list(rows[0]), *shown]))
    print("\nRemarks:", *tables.paper_remarks(name), sep="\n- ")


def paper_claims(folder: Path = Path("figures/records"), markdown: bool = False) -> None:
    """Each figure that the paper prints: reproduced, differs, not run or cannot be checked.

    Example: dualseg paper claims

    Args:
        folder: Folder of the published records.
        markdown: As Markdown tables.
    """
    from ..paper import claims

    print(claims.claims_table(claims.paper_claims(folder), markdown))


def paper_equations(notebooks: Path = Path("notebooks"), markdown: bool = False) -> None:
    """Each numbered equation of the paper: its function, its test, its place in the notebooks.

    Example: dualseg paper equations

    Args:
        notebooks: Folder of the notebooks.
        markdown: As a Markdown table with the links of the site.
    """
    from ..paper.equations import equation_map, equations_table

    print(equations_table(equation_map(), notebooks, markdown))


COMMANDS = {
    "table": paper_table,
    "claims": paper_claims,
    "equations": paper_equations,
}
