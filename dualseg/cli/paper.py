"""What the paper says: the commands `networks`, `explain`, `gradients` and `paper`."""

from __future__ import annotations

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


def paper(table: Positional[str] = "", dataset: str | None = None) -> None:
    """The paper's tables as numbers, with remarks where its text says something else.

    Example: dualseg paper comparison --dataset la

    Args:
        table: Name of a table; without it, the tables are listed.
        dataset: Rows of one data set: "la", "pancreas" or "brats2019".
    """
    from ..paper.tables import TABLES, paper_remarks, paper_table

    if not table:
        print(columns(list(TABLES.items())))
        return
    rows = paper_table(table, dataset)
    shown = ([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)
    print(columns([list(rows[0]), *shown]))
    print("\nRemarks:", *paper_remarks(table), sep="\n- ")
