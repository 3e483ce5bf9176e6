import dataclasses

import pytest

from lit_knn.report.results.threats import threats
from tests.report.conftest import make_record


def of(given):
    return threats(dataclasses.replace(make_record(), config={"model": {"threats": given}}))


def test_threats_have_the_names_that_the_run_gives_them_or_their_own():
    found = of(
        [
            {"class_path": "lit_knn.threat_models.gray_box.GrayBox"},
            {"class_path": "WhiteBox", "init_args": {"rows": 0.5, "name": "half"}},
            {"class_path": "mine.Box", "init_args": {}},
            {"class_path": "WhiteBox", "init_args": {"name": "half", "rows": 0.1}},
        ]
    )
    assert found == {
        "gray_box": {"class": "GrayBox"},
        "half": {"class": "WhiteBox", "rows": 0.5, "name": "half"},
        "mine.Box": {"class": "mine.Box"},
    }


@pytest.mark.parametrize("given", [None, 5, "GrayBox", {}, []])
def test_a_configuration_of_any_form_has_none(given):
    assert of(given) == {}
    assert threats(dataclasses.replace(make_record(), config={"model": given})) == {}
