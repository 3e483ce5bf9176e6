import importlib
import json
import sys
from pathlib import Path

import pytest

from lit_knn.report.dashboard import points
from tests.report.conftest import make_record

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # in its older reports
TOOLS = Path(__file__).parents[2] / "tools"
CASES = [("gray_box", "PGD"), ("gray_box", "FGSM"), ("white_box layer1", "PGD-FS"), ("all", "worst case")]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("wandb_workspace")


def sections(view):
    return {section["name"]: section["panels"] for section in view["spec"]["section"]["panelBankConfig"]["sections"]}


def test_a_section_for_each_threat_and_a_chart_for_each_attack_over_the_size(script):
    record = make_record(CASES)
    view = script.workspace([record, record], "me", "study", "curves")._spec
    found = sections(view)
    assert list(found) == ["gray box", "white box layer1", "worst case", "results"]
    charts = {name: [panel["config"] for panel in panels] for name, panels in found.items()}
    assert [chart["chartTitle"] for chart in charts["gray box"]] == ["PGD, Δ", "FGSM, Δ"]
    logged = {name for point in points(record) for name in point}
    for chart in (chart for name in charts if name != "results" for chart in charts[name]):
        assert chart["xAxis"] == "size/relative_l2"
        assert {*chart["metrics"], chart["xAxis"]} <= logged
        assert len(chart["metrics"]) == len({*chart["metrics"]}) == 3  # no defense, and the kNN of two taps
        assert "top1" in chart["metrics"][0]
    assert '"val": "results"' in json.dumps(found["results"])


def test_norms_are_not_drawn_together(script):
    records = [make_record(CASES[:1]), make_record(CASES[:1], norm="linf")]
    charts = [panel["config"] for panel in sections(script.workspace(records, "e", "p", "n")._spec)["gray box"]]
    assert [chart["xAxis"] for chart in charts] == ["size/relative_l2", "size/linf"]


def test_runs_are_grouped_and_no_mean_is_drawn_over_a_group(script):
    (runs,) = script.workspace([make_record()], "e", "p", "n")._spec["spec"]["section"]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["group", "displayName"]


def test_without_save_it_is_printed(script, tmp_path, monkeypatch, capsys):
    make_record(CASES).save(tmp_path)
    monkeypatch.setattr(script.ws.Workspace, "save", lambda self: pytest.fail("nobody asked for that"))
    monkeypatch.setattr(sys, "argv", ["wandb_workspace.py", str(tmp_path), "--project", "study", "--entity", "me"])
    script.main()
    assert json.loads(capsys.readouterr().out)["project"] == "study"
    saved = []
    monkeypatch.setattr(script.ws.Workspace, "save", lambda self: saved.append(self.name))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--save"])
    script.main()
    assert saved == ["lit_knn"]
