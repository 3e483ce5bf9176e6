import dataclasses

import pytest

from lit_knn.errors import UserError
from lit_knn.report.results import Record
from lit_knn.report.results.costs import COST_FORM, Cost


def test_a_record_with_costs_of_another_form_is_damaged(record, tmp_path):
    assert set(COST_FORM) == set(Cost.__annotations__) == set(record.costs[0])
    path = record.save(tmp_path)
    assert Record.load(path) == record
    for wrong in ({**record.costs[0], "random": 1}, {**record.costs[0], "seconds": "1"}, {}):
        dataclasses.replace(record, costs=[wrong]).save(tmp_path)
        with pytest.raises(UserError, match="is damaged"):
            Record.load(path)
