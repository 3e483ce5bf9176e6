import pytest

from lit_knn.errors import UserError
from lit_knn.report.results.budgets import UNITS, parse_size, size_text, sized


def test_sizes_are_numbers_or_fractions():
    assert [parse_size(given, "here") for given in (0.06, 1, "0.5", "8/255", "1e-2")] == [0.06, 1.0, 0.5, 8 / 255, 0.01]


@pytest.mark.parametrize("given", ["", "8/0", "8/", "a", "8/255/2", "nan", "inf"])
def test_what_is_no_size(given):
    with pytest.raises(
        UserError, match=f"^here: '{given}' is no size; numbers, and fractions such as 8/255, are accepted$"
    ):
        parse_size(given, "here")


def test_sizes_are_written_as_the_field_does():
    known = {0: "0", 1: "1/255", 8: "8/255", 254: "254/255", 255: "1", 300: "300/255", 3.5: "0.0137255"}
    assert [size_text("linf", steps / 255) for steps in known] == list(known.values())
    assert size_text("linf", 0.031372551) == "8/255"  # as float32 has it
    assert size_text("linf", 0.03) == "0.03"
    assert size_text("l2", 8 / 255) == "0.0313725"
    assert [sized(norm, 0.5) for norm in UNITS] == ["Δ = 0.5", "L2 = 0.5", "L∞ = 0.5"]
    assert UNITS["relative_l2"].label == "Δ = ‖x*−x‖₂ / ‖x‖₂"
