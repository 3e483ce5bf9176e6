import dataclasses
import json

import pytest

from lit_knn.errors import UserError
from lit_knn.report.results import Record

ATTACK = {"class": "lit_knn.attacks.pgd.PGD", "objective": {"class": "CrossEntropy"}, "steps": 10, "step": "sign"}


def test_records_of_older_schemas_are_read(record, tmp_path):
    """Before 9, each query was answered; before 8, each was evaluated once; before 7, there were no costs; before 6,
    all sizes were Δ; before 5, there were no passes; before 4, fingerprints held JSON as text; before 3, there were no
    warnings."""
    record = dataclasses.replace(
        record, passes=[], costs=[], fingerprints={"classifier": "a", "attack PGD": ATTACK, "deltas": [0.0, 0.1]}
    )
    path = record.save(tmp_path)
    content = json.loads(path.read_text())

    def load(schema):
        path.write_text(json.dumps(content | {"schema": schema}))
        return Record.load(path)

    for row in content["results"]:
        del row["keep"], row["rejected"]
    assert load(8) == record
    for row in content["results"]:
        del row["protocol"], row["evaluations"]
    assert load(7) == record
    del content["costs"]
    assert load(6) == record
    for row in content["results"]:
        del row["norm"]
    assert load(5) == record
    del content["passes"]
    assert load(4) == record
    content["fingerprints"] = {name: json.dumps(value) for name, value in record.fingerprints.items()} | {
        "classifier": "a"
    }
    assert load(3) == record
    del content["warnings"]
    assert load(2) == record
    content["fingerprints"]["attack PGD"] = content["fingerprints"]["attack PGD"][:-9]
    with pytest.raises(UserError, match=r"record\.json is damaged \(.*; remove it"):
        load(2)


@pytest.mark.parametrize("rows", [3, [3], [{}], [{"threat": "gray_box"}]])
def test_results_that_are_none_are_refused(rows, record, tmp_path):
    path = record.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 5, "results": rows}))
    with pytest.raises(UserError, match=r"record\.json is damaged \("):
        Record.load(path)
