"""The paper's numbers beside the measured ones."""

from __future__ import annotations

from collections.abc import Sequence

from lit_knn.report.rendering.document import Block, Paragraph, Table
from lit_knn.report.results.paper import beside
from lit_knn.report.results.rivals import QUOTED
from lit_knn.report.results.runs import Run
from lit_knn.report.results.variant import UNDEFENDED
from lit_knn.report.table import short


def paper_comparison(runs: Sequence[Run]) -> Block:
    """Return the table, or a sentence that says why there is none."""
    rows = []
    for run in runs:
        for found in beside(run.record):
            row = found.measured
            where = f"{found.database}, " if found.database else ""
            defense = f"{where}{found.variant._replace(rows='')}"
            name = "no defense" if row["defense"] == UNDEFENDED else defense
            printed = f"{found.table}; {found.note}" if found.note else found.table
            interval = f"{short(row['accuracy'])} ({short(row['low'])}–{short(row['high'])})"
            rows.append([run.label, name, found.setting, printed, short(found.published), interval, f"{row['n']:,}"])
    if not rows:
        text = (
            "No run has the setting of the paper's tables (ImageNet validation images, torchvision's first ResNet-50, "
            "10 sign steps of PGD at Δ = 0.06, all of IN-1.3M or YFCC-100M, conv_5_1 with K = 50), so none of the "
            "paper's numbers is shown."
        )
        return Paragraph(text)
    rows += [
        ["–", rival.name, setting, f"Table 2; {rival.note}", short(published), "quoted by the paper", "–"]
        for rival in QUOTED
        for setting, published in rival.accuracies.items()
    ]
    caption = (
        "Dubey et al. 2019, PGD at Δ = 0.06, K = 50. Here Δ is a hard cap for each image in pixel space; the code that "
        "the paper used measures it in normalized space, and on average. In doubt a number is left out. "
        "Quoted by the paper: of another network, other images or another attack, so that no run stands beside it."
    )
    head = ["run", "defense", "attacker", "printed in", "paper", "measured (95 % interval)", "queries"]
    return Table(head, rows, 4, caption)
