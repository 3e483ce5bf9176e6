import subprocess
import sys

import pytest

from lit_knn.report.results import Variant, answers_of, preferred


def test_what_a_defense_does_not_have_is_blank():
    assert Variant("none") == ("none", "", "", "", "", "", "", "", "", "")


def test_in_words():
    assert str(Variant("none")) == "none"
    assert str(Variant("kNN", "late", 50, "CBW-D", "soft", 1000)) == "kNN late K=50 CBW-D soft N=1000"


def test_several_evaluations_are_a_line_of_each_protocol():
    crop = Variant("crop ×30")
    assert crop.evaluated(1) == [crop]
    lines = crop.evaluated(10)
    assert [str(line) for line in lines] == [f"crop ×30 {name}-of-10" for name in ("mean", "worst", "majority")]
    assert {line.answer for line in lines} == {crop}
    assert preferred(lines) == lines


def test_lines_of_one_answer_belong_together():
    none, crop, tv = map(Variant, ("none", "crop", "tv"))
    lines = [none, *crop.evaluated(3), *tv.evaluated(1)]
    assert answers_of(lines) == [none, crop, tv]
    assert [line.trials for line in lines] == [1, 3, 1, 1, 1]
    assert [line.enough for line in lines] == [0, 0, 3, 2, 0]
    assert [line.enough for line in crop.evaluated(4)] == [0, 4, 3]  # half is no majority


def test_of_each_defense_and_tap_the_preferred_variants_come_first():
    knn = [
        Variant("kNN", tap, k, weighting, combination, rows)
        for tap in ("early", "late")
        for k in (1, 50)
        for weighting in ("UW", "CBW-D(M=5, P=3)", "CBW-D")
        for combination in ("hard", "soft")
        for rows in (10, 1000)
    ]
    best = [Variant("kNN", tap, 50, "CBW-D", "soft", 1000) for tap in ("early", "late")]
    assert preferred([Variant("none"), *knn, Variant("jpeg")]) == [Variant("none"), *best, Variant("jpeg")]
    others = [variant for variant in knn if variant.weighting != "CBW-D" and variant.combination == "hard"]
    assert {(v.weighting, v.combination) for v in preferred(others)} == {("CBW-D(M=5, P=3)", "hard")}
    assert preferred([]) == []


def test_what_nothing_tells_apart_is_kept_in_its_order():
    several = [Variant("kNN", "late", 50, weighting, "soft") for weighting in ("UW", "CBW-E")]
    assert preferred(several) == several
    assert preferred(several[::-1]) == several[::-1]


@pytest.mark.parametrize(
    ("imported", "without"),
    [
        ("lit_knn.report.results", {"torch", "faiss", "h5py", "matplotlib", "rich"}),
        ("lit_knn.report.command", {"torch", "faiss", "h5py"}),
        ("lit_knn.defenses", {"lit_knn.report.table", "lit_knn.report.figures"}),  # Lightning brings matplotlib
    ],
)
def test_what_an_import_does_not_bring(imported, without):
    script = f"import sys, {imported}; print(*{without} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == []


def test_a_weighting_that_goes_by_the_query_has_a_line_of_its_own():
    weightings = ("UW", "CBW-D(M=5, P=3)", "CBW-D", "cosine(T=0.07)", "cosine(T=0.5)")
    lines = [Variant("kNN", "late", k, weighting, "soft") for k in (1, 50) for weighting in weightings]
    assert [(v.k, v.weighting) for v in preferred(lines)] == [(50, name) for name in weightings[2:]]
    assert [v.kind for v in lines[:5]] == ["", "", "", "cosine(T=0.07)", "cosine(T=0.5)"]
