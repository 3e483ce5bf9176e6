import dataclasses
from pathlib import Path

from lit_knn.report.paper_table import paper_comparison
from lit_knn.report.rendering.document import Paragraph
from lit_knn.report.results.rivals import MEASURED
from lit_knn.report.results.runs import Run
from tests.report.conftest import make_record
from tests.report.results.test_paper import imagenet_run


def test_only_runs_in_the_setting_of_the_paper_are_beside_it():
    table = paper_comparison([Run("in", Path(), imagenet_run()), Run("a", Path(), make_record())])
    assert {row[0] for row in table.rows} == {"in", "–"}
    assert ["in", "no defense", "gray box", "Table 2", ".038", ".027 (.019–.039)", "1,000"] in table.rows
    assert ["IN-1.3M, kNN conv_5_1 K=50 UW soft", "gray box", "Table 1", ".285"] in [row[1:5] for row in table.rows]
    assert "hard cap" in table.caption


def test_what_the_paper_only_quotes_stands_beside_nothing_measured():
    table = paper_comparison([Run("in", Path(), imagenet_run())])
    quoted = {(row[1], row[2]): row[4:] for row in table.rows if row[0] == "–"}
    assert quoted["ALP", "gray box"] == [".279", "quoted by the paper", "–"]
    assert quoted["RA-CNN", "clean"] == [".609", "quoted by the paper", "–"]
    assert {name for name, _ in quoted} == {"Ensemble training", "ALP", "RA-CNN"}
    assert "quoted by the paper: of another network" in table.caption.lower()


def test_a_rival_says_what_else_is_not_the_same():
    record = imagenet_run()
    crops, tv = ({**rival.described, "name": rival.name} for rival in MEASURED[:2])
    results = [
        row | {"defense": name}
        for name in (crops["name"], tv["name"])
        for row in record.results
        if row["defense"] == "none"
    ]
    record = dataclasses.replace(
        record, results=[*record.results, *results], fingerprints=record.fingerprints | {"defenses": [crops, tv]}
    )
    rows = {(row[1], row[2]): row[3:5] for row in paper_comparison([Run("in", Path(), record)]).rows}
    assert rows["Crop ensemble", "black box"] == ["Table 2", ".512"]
    assert rows["TV Minimization", "clean"] == ["Table 2; its network was trained on such images", ".635"]


def test_without_any_it_says_so():
    sentence = paper_comparison([Run("a", Path(), make_record())])
    assert isinstance(sentence, Paragraph)
    assert "none of the paper's numbers is shown" in sentence.text
