import dataclasses
import re
from itertools import pairwise

import pytest

from lit_knn.report.dashboard import Curve, curve_names, points, realized_name, size_name, summary
from lit_knn.report.results import WORST_CASE, Case
from tests.report.conftest import make_record

WHITE = ("white_box layer3.8.add", "PGD-FS")


@pytest.fixture
def record():
    return make_record([("gray_box", "PGD"), WHITE, WORST_CASE], taps=("layer3.8.add",))


def test_every_row_is_one_number_at_its_size(record):
    logged, names = points(record), curve_names(record)
    assert [point["size/relative_l2"] for point in logged] == [0.0, 0.02, 0.06]
    for row in record.results:
        (point,) = (point for point in logged if point[size_name("relative_l2")] == row["delta"])
        assert point[names[Curve.of(row)]] == row["accuracy"]
        assert point[realized_name("relative_l2", Case.of(row))] == row["delta_mean"]
    assert sum(name.startswith("curve/") for point in logged for name in point) == len(record.results)


def test_sizes_ascend_however_the_rows_stand(record):
    logged = points(dataclasses.replace(record, results=record.results[::-1]))
    assert all(one["size/relative_l2"] < other["size/relative_l2"] for one, other in pairwise(logged))


def test_names_are_those_that_the_app_takes(record):
    written = {name for point in points(record) for name in point} | {*summary(record)}
    assert all(re.fullmatch(r"[A-Za-z_]\w*(/\w+)*", name, flags=re.ASCII) for name in written)
    assert "curve/relative_l2/white_box_layer3_8_add/PGD_FS/kNN_layer3_8_add_K_10_CBW_D_soft_top5" in written
    assert "curve/relative_l2/all/worst_case/none_top1" in written


def test_runs_of_one_norm_share_names_and_those_of_another_have_their_own_axis(record):
    smaller = make_record([("gray_box", "PGD")], taps=("layer3.8.add",), sizes=(10,), deltas=(0.0, 0.5))
    assert {*curve_names(smaller).values()} < {*curve_names(record).values()}
    other = make_record([("gray_box", "PGD")], norm="linf")
    assert not {*points(other)[0]} & {*points(record)[0]}


def test_several_sizes_of_the_database_are_several_lines():
    names = curve_names(make_record(sizes=(10, 100)))
    assert len({*names.values()}) == len(names)
    assert "curve/relative_l2/gray_box/PGD/kNN_layer1_K_10_UW_soft_N_10_top1" in names.values()


def test_names_that_differ_in_signs_only_stay_apart():
    names = curve_names(make_record(taps=("a.b", "a-b", "a b")))
    assert len({*names.values()}) == len(names)


def test_the_summary_has_clean_accuracy_and_the_worst_case_of_headline_variants(record):
    found = summary(record)
    worst = [row for row in record.results if Case.of(row) == WORST_CASE and row["topk"] == 1]
    best = [row for row in worst if (row["k"], row["weighting"], row["combination"]) == (50, "CBW-D", "soft")]
    clean, small, large = (row["accuracy"] for row in best)
    name = "kNN_layer3_8_add_K_50_CBW_D_soft"
    assert found[f"clean/{name}"] == clean
    assert found[f"worst_case/relative_l2/{name}/0_02"] == small
    assert found[f"worst_case/relative_l2/{name}/0_06"] == large
    assert found["worst_case/relative_l2/none/0_06"] == worst[-13]["accuracy"]  # before its 12 kNN
    assert found["attacker_knows_defense"] is True
    assert summary(make_record())["attacker_knows_defense"] is False
    assert not any("K_10" in name for name in found)


def test_sizes_in_gray_steps_and_warnings():
    record = make_record(norm="linf", deltas=(0.0, 8 / 255))
    found = summary(dataclasses.replace(record, warnings=["random weights"]))
    assert "worst_case/linf/none/8_255" in found
    assert found["warnings"] == ["random weights"]
