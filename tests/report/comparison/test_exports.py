import csv
import json

from lit_knn.report.comparison.differences import compare
from lit_knn.report.comparison.exports import COLUMNS, as_csv, as_json
from tests.report.comparison.conftest import Made, draw
from tests.report.comparison.test_differences import flipped


def test_csv_and_json_have_every_difference(made, tmp_path):
    a, b = made.write(tmp_path / "a"), flipped(made, range(12)).write(tmp_path / "b")
    found = compare(a, b)
    rows = list(csv.DictReader(as_csv(found).splitlines()))
    content = json.loads(as_json(a, b, found))
    assert [tuple(row) for row in rows] == [COLUMNS] * 4
    assert [{name: str(value) for name, value in one.items()} for one in content["differences"]] == rows
    first, one = content["differences"][0], found.differences[0]
    assert (first["defense"], first["tap"], first["k"], first["delta"]) == ("kNN", "late", 50, 0.1)
    assert (first["accuracy_a"], first["accuracy_b"], first["difference"]) == (one.share_a, one.share_b, one.size)
    assert (first["p"], first["p_holm"], first["beyond"]) == (one.p, one.adjusted, one.beyond)
    assert (content["a"], content["b"], content["images"]) == (str(tmp_path / "a"), str(tmp_path / "b"), 40)


def test_json_has_what_only_one_has_what_to_know_and_what_differs(made, tmp_path):
    more = Made(draw((2, 2, 40, 2, 1), 0.5), made.ids, cases=(("gray_box", "PGD"), ("gray_box", "FGSM")))
    a, b = made._replace(source="x").write(tmp_path / "a"), more._replace(config={}).write(tmp_path / "b")
    content = json.loads(as_json(a, b, compare(a, b)))
    assert content["only_a"] == []
    assert content["only_b"] == [row for row in b.record.results if row["attack"] != "PGD" and row["delta"]]
    assert content["images"] is None
    assert "the queries are other images: A x, B digits-test" in content["cautions"][0]
    assert content["settings"] == {"seed_everything": {"a": 0, "b": ""}}
    assert {one["only_a"] for one in content["differences"]} == {None}
