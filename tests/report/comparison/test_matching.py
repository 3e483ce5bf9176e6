import dataclasses

from lit_knn.report.comparison.matching import CLEAN, absent, match
from lit_knn.report.results import Variant
from tests.report.conftest import make_record


def with_line(record, line, of="none"):
    rows = [row | line._asdict() for row in record.results if row["defense"] == of]
    return dataclasses.replace(record, results=rows)


def test_rows_of_both_are_of_the_same_attack_size_defense_and_k():
    a = make_record(deltas=(0.0, 0.02, 0.06))
    b = make_record((("gray_box", "PGD"), ("gray_box", "FGSM")), taps=("layer1",), deltas=(0.0, 0.06))
    both, only_a, only_b = match(a, b)
    assert len(both) == 2 * 2 * 13  # clean and PGD at 0.06, top-1 and top-5, none and 12 variants of kNN
    for key, rows in both.items():
        for row in rows:
            assert (row["delta"], row["topk"], row["tap"]) == (key.delta, key.topk, key.line.tap)
            assert key.case in (CLEAN, (row["threat"], row["attack"]))
    assert {key.case for key in both} == {CLEAN, ("gray_box", "PGD")}
    assert len(both) + len(only_a) == 5 * 2 * 25  # clean, and two attacks at two sizes
    assert {key.case for key in only_b} == {("gray_box", "FGSM")}


def test_what_only_one_has_is_named_by_what_the_other_has_nowhere():
    a = make_record(deltas=(0.0, 0.02, 0.06))
    b = make_record((("gray_box", "PGD"),), taps=("layer1",), deltas=(0.0, 0.06))
    both, only_a, only_b = match(a, b)
    assert absent(only_a, [*both, *only_b]) == {
        "attack": ["black box, PGD"],
        "size": ["Δ = 0.02"],
        "tap": ["layer2"],
    }
    assert absent(only_b, [*both, *only_a]) == {}


def test_one_size_of_the_database_each_may_be_another_and_of_a_sweep_the_same_is_taken():
    small, large, sweep = (make_record(sizes=sizes) for sizes in ((100,), (1000,), (100, 1000)))
    both, only_a, only_b = match(small, large)
    assert not only_a
    assert not only_b
    assert {(a["rows"], b["rows"]) for a, b in both.values()} == {("", ""), (100, 1000)}
    both, only_a, only_b = match(small, sweep)
    assert {(a["rows"], b["rows"]) for a, b in both.values()} == {("", ""), (100, 100)}
    assert absent(only_b, [*both]) == {"rows": ["N=1000"]}


def test_means_of_any_number_of_evaluations_are_compared_and_worst_ones_of_the_same_only():
    base = make_record(taps=(), deltas=(0.0,))
    once = with_line(base, Variant("crop"))

    def several(times):
        lines = [with_line(base, line) for line in Variant("crop").evaluated(times)]
        return dataclasses.replace(base, results=[row for record in lines for row in record.results])

    assert [b["protocol"] for _, b in match(once, several(5)).both.values()] == ["mean"] * 2
    assert {b["protocol"] for _, b in match(several(4), several(5)).both.values()} == {"mean"}
    assert {b["protocol"] for _, b in match(several(5), several(5)).both.values()} == {"mean", "worst", "majority"}


def test_of_another_norm_only_clean_images_are_the_same():
    both, only_a, only_b = match(make_record(), make_record(norm="linf"))
    assert {key.case for key in both} == {CLEAN}
    assert absent(only_b, [*both, *only_a]) == {"size": ["L∞ = 0.02", "L∞ = 0.06"]}
