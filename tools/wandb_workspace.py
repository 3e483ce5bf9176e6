"""Make a saved view of W&B for the runs of a project: a section for each threat, curves over the size of perturbations.

What there is to draw is read from the records of some runs; the view then shows every run of the project that logs the
same. Runs are grouped as they were submitted, and within a group each is a line of its own: W&B would draw the mean.
Without --save the view is printed as JSON, and nothing is sent. Needs `pip install wandb-workspaces`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from lit_knn.report.dashboard import Curve, curve_names, size_name
from lit_knn.report.headline import headline
from lit_knn.report.results import Record
from lit_knn.report.results.budgets import UNITS

MOST_RUNS = 100


def workspace(records: Sequence[Record], entity: str, project: str, name: str) -> ws.Workspace:
    """Return a view with, for each threat, a chart of each attack and norm: the headline variants of all records.

    Args:
        records: At least one, each with results.
        entity: User or team.
        project: Of W&B.
        name: Of the view.
    """
    charts: dict[str, dict[tuple[str, str, int], list[str]]] = {}
    for record in records:
        names, shown = curve_names(record), headline(record.results)
        for panel in shown.panels:
            lines = [names[Curve.of(line.rows[0])] for line in panel.lines]
            threat = charts.setdefault(panel.case.attacker, {})
            threat.setdefault((panel.case.attack, record.norm, shown.topk), []).extend(lines)
    sections = [
        ws.Section(name=threat, is_open=True, panels=[_chart(*key, lines) for key, lines in panels.items()])
        for threat, panels in charts.items()
    ]
    sections.append(ws.Section(name="results", panels=[wr.WeavePanelSummaryTable(table_name="results")]))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=size_name(records[0].norm), max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(groupby=[ws.Metric("Group"), ws.Metric("Name")]),
        auto_generate_panels=True,
    )


def _chart(attack: str, norm: str, topk: int, lines: list[str]) -> wr.LinePlot:
    return wr.LinePlot(
        title=f"{attack}, {UNITS[norm].symbol}",
        x=size_name(norm),
        y=list(dict.fromkeys(lines)),
        title_x=UNITS[norm].label,
        title_y=f"top-{topk} accuracy",
        range_y=(0, 1),
        max_runs_to_show=MOST_RUNS,
    )


def main() -> None:
    """Print the view, or save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with a record")
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="user or team (WANDB_ENTITY)")
    parser.add_argument("--name", default="lit_knn", help="of the view (%(default)s)")
    parser.add_argument("--save", action="store_true", help="save it in the project; otherwise it is printed")
    given = parser.parse_args()
    if not given.entity:
        parser.error("--entity, or WANDB_ENTITY, is needed")
    view = workspace([Record.load(run) for run in given.runs], given.entity, given.project, given.name)
    if given.save:
        view.save()
    else:
        print(json.dumps(view._spec, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
