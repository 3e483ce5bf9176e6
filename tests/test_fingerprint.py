import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.errors import UserError
from lit_knn.fingerprint import describe, fingerprint_difference
from lit_knn.objectives import Margin


def test_equal_fingerprints_differ_in_nothing():
    assert fingerprint_difference({}, {}) == ""
    assert fingerprint_difference({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == ""


def test_each_difference_is_named_with_both_values_in_a_fixed_order():
    expected, found = {"tap": "x", "data": "1", "same": "s"}, {"data": "2", "tap": "y", "same": "s"}
    assert (
        fingerprint_difference(expected, found) == "data is '2' where '1' is expected, tap is 'y' where 'x' is expected"
    )


def test_what_only_one_side_has_is_a_difference():
    assert fingerprint_difference({"tap": "x"}, {}) == "tap is 'absent' where 'x' is expected"
    assert fingerprint_difference({}, {"tap": "x"}) == "tap is 'x' where 'absent' is expected"


def test_a_part_is_described_by_its_class_and_all_it_was_built_with():
    described = describe(PGD(steps=3, objective=Margin()))
    assert described["class"] == "lit_knn.attacks.pgd.PGD"
    assert described["steps"] == 3
    assert described["objective"] == {"class": "lit_knn.objectives.classifier.Margin"}
    assert json.dumps(described) == json.dumps(describe(PGD(steps=3, objective=Margin())))
    assert describe(PGD()) != describe(PGD(seed=1))


def test_lists_paths_and_private_attributes():
    class Part:
        def __init__(self):
            self.path, self.pairs, self._cache = Path("a/b"), {"x": (1, None)}, object()

    assert {key: value for key, value in describe(Part()).items() if key != "class"} == {
        "path": "a/b",
        "pairs": {"x": [1, None]},
    }


def test_arrays_and_networks_are_told_apart_by_their_values_and_functions_not_at_all():
    assert describe(torch.zeros(3)) != describe(torch.ones(3))
    assert describe(np.zeros(3)) != describe(np.zeros((3, 1)))
    assert describe(torch.zeros(3)) == describe(np.zeros(3, np.float32))
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert describe(first) != describe(second)
    second.load_state_dict(first.state_dict())
    assert describe(first) == describe(second)
    assert describe({"b", "a"}) == ["a", "b"]
    with pytest.raises(UserError, match="make it a class"):
        describe([lambda image: image])
