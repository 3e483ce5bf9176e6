import dataclasses

import pytest

from lit_knn.evaluation.checks import Check, Finding, run_checks
from tests.evaluation.checks.conftest import evidence


class Says(Check):
    def __init__(self, name):
        self.name = name

    def __call__(self, evidence):
        return Finding(self.name, "pass", f"{len(evidence.rows)} rows")


def test_each_check_is_asked_once_in_order():
    found = run_checks([Says("b"), Says("a")], evidence([]))
    assert found == [Finding("b", "pass", "0 rows"), Finding("a", "pass", "0 rows")]


def test_a_check_has_to_say_how():
    with pytest.raises(TypeError, match="abstract"):
        type("Mute", (Check,), {})()


def test_no_check_changes_the_evidence_of_the_next():
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence([]).rows = []


def test_a_cascade_has_no_single_attacks_to_compare():
    several, single = Says("several"), Says("one")
    several.of_single_attacks = True
    skipped, asked = run_checks([several, single], evidence([], cascade=True))
    assert skipped.verdict == "skipped"
    assert "model.cascade to false" in skipped.sentence
    assert asked == Finding("one", "pass", "0 rows")
    assert run_checks([several], evidence([])) == [Finding("several", "pass", "0 rows")]
