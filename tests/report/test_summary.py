from lit_knn.report import summary
from tests.report.conftest import make_record


def test_it_speaks_of_the_smallest_delta_that_breaks_the_undefended_network():
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0, 0.02, 0.06))  # none: 1.0, .301, .027
    first, last = summary(record).splitlines()
    assert first.startswith("gray box, PGD: at Δ = 0.02 the accuracy is none 0.30, kNN layer1 ")
    assert first.endswith("(1.00 clean, undefended).")
    assert "do not know the defense" in last


def test_an_unbroken_network_is_spoken_of_at_the_largest_delta():
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0, 0.001, 0.002))
    assert "at Δ = 0.002" in summary(record)


def test_one_sentence_per_case_and_no_warning_about_neighbours_where_there_are_none():
    assert len(summary(make_record()).splitlines()) == 3
    assert len(summary(make_record(taps=())).splitlines()) == 2
