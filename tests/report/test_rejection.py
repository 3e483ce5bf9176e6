import dataclasses

import pytest

from lit_knn.report.rejection import kept, rejection_table
from tests.report.conftest import make_record


def make_rejecting(keeps=(0.9, 0.5), cases=(("gray_box", "PGD"), ("white_box", "PGD-soft-kNN"))):
    """A record whose only counts are of a defense that rejects, in thousandths."""
    known = {  # (keep, Δ) → answered rightly, right or rejected, for the first and the second attack
        (0.9, 0.0): [(850, 950), (850, 950)],
        (0.9, 0.06): [(300, 500), (200, 350)],
        (0.5, 0.0): [(500, 980), (500, 980)],
        (0.5, 0.06): [(250, 700), (100, 650)],
    }
    blank = make_record(cases[:1], taps=(), deltas=(0.0,))
    first, rows = blank.results[0], []
    for number, (threat, attack) in enumerate(cases):
        for delta in (0.0, 0.06):
            for keep in keeps:
                for rejected, correct in zip(("wrong", "right"), known[keep, delta][number], strict=True):
                    row = first | {"threat": threat, "attack": attack, "delta": delta, "correct": correct, "n": 1000}
                    named = {"defense": "rejecting by agreement, kNN", "tap": "late", "k": 5, "topk": 1}
                    row |= named | {"accuracy": correct / 1000, "keep": keep, "rejected": rejected}
                    rows.append(row)
    return dataclasses.replace(blank, results=rows)


def test_coverage_follows_from_both_lines():
    strict, loose = sorted(kept(make_rejecting()), key=lambda point: point.keep)
    assert strict.coverage == pytest.approx(0.52)  # 500 rightly and 20 wrongly
    assert strict.clean == pytest.approx(500 / 520)
    assert loose.coverage == pytest.approx(0.9)
    assert (loose.robust, loose.answered) == (0.35, 0.2)  # what the stronger attack leaves
    assert loose.line == "rejecting by agreement, kNN late K=5"
    assert {point.delta for point in (strict, loose)} == {0.06}


def test_a_table_at_one_size():
    table = rejection_table(make_rejecting(), 0.06)
    assert [row[1:] for row in table.rows] == [
        ["0.9", ".900", ".944", ".350", ".200"],
        ["0.5", ".520", ".962", ".650", ".100"],
    ]
    assert "Tramèr 2022" in table.caption
    assert rejection_table(make_rejecting(), 0.5) is None
    assert rejection_table(make_record(), 0.06) is None


def test_a_record_of_them_is_read_back(tmp_path):
    record = make_rejecting()
    assert type(record).load(record.save(tmp_path)) == record


def test_of_several_evaluations_the_mean_counts_and_a_threshold_has_no_share():
    record = make_rejecting(keeps=(0.9,))
    protocols = ("mean", "worst", "majority")
    rows = [row | {"protocol": one, "evaluations": 3, "keep": ""} for row in record.results for one in protocols]
    rows = [row | {"accuracy": 0.0} if row["protocol"] == "worst" else row for row in rows]
    table = rejection_table(dataclasses.replace(record, results=rows), 0.06)
    assert table.rows == [
        ["rejecting by agreement, kNN late K=5 mean-of-3", "–", ".900", ".944", ".350", ".200"],
    ]
