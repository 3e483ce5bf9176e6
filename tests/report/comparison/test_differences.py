import numpy as np
import pytest
from scipy.stats import binomtest, chi2_contingency

from lit_knn.report.comparison.differences import compare
from lit_knn.report.results import Variant
from lit_knn.report.results.samples import SAMPLES_FOLDER
from tests.report.comparison.conftest import KNN, NONE, changed, draw


def flipped(made, images, line=1):
    """Turn a defense's answers to some attacked images round."""
    hits = made.hits.copy()
    hits[0, 1, list(images), line, 0] ^= 1
    return made._replace(hits=hits)


def attacked(found, defense="kNN"):
    return next(d for d in found.differences if d.key.delta and d.key.line.defense == defense)


def test_a_result_is_compared_image_by_image(made, tmp_path):
    other = flipped(made, range(12))
    found = compare(made.write(tmp_path / "a"), other._replace(batch=11).write(tmp_path / "b"))
    assert (found.images, found.unpaired) == (40, "")
    assert len(found.differences) == 4
    one = found.differences[0]
    in_a, in_b = made.hits[0, 1, :, 1, 0], other.hits[0, 1, :, 1, 0]
    assert one == attacked(found)
    assert (one.share_a, one.share_b) == (in_a.mean(), in_b.mean())
    assert (one.only_a, one.only_b) == ((in_a & ~in_b & 1).sum(), (in_b & ~in_a & 1).sum())
    assert one.test == "McNemar"
    assert one.p == pytest.approx(binomtest(one.only_a, one.only_a + one.only_b).pvalue)
    assert one.adjusted == pytest.approx(min(1, 4 * one.p))
    assert one.low < one.size == one.share_b - one.share_a < one.high
    assert [d.size for d in found.differences[1:]] == [0, 0, 0]


def test_a_difference_is_beyond_sampling_error_once_all_results_are_counted(made, tmp_path):
    right = np.flatnonzero(made.hits[0, 1, :, 1, 0])
    run = made.write(tmp_path / "a")
    five, seven, eight = (attacked(compare(run, flipped(made, right[:n]).write(tmp_path / str(n)))) for n in (5, 7, 8))
    assert five.p > 0.05
    assert seven.p < 0.05 < seven.adjusted  # of one result alone it would be
    assert not seven.beyond
    assert eight.adjusted < 0.05
    assert eight.beyond


def test_the_largest_difference_comes_first_whatever_its_sign(made, tmp_path):
    right, wrong = (np.flatnonzero(made.hits[0, 1, :, 1, 0] == value) for value in (1, 0))
    more = flipped(flipped(made, wrong[:3]), range(9), line=0)
    sizes = [d.size for d in compare(made.write(tmp_path / "a"), more.write(tmp_path / "b")).differences]
    assert sizes == pytest.approx([9 / 40, 3 / 40, 0, 0])
    fewer = flipped(made, right[:3])
    sizes = [d.size for d in compare(made.write(tmp_path / "a"), fewer.write(tmp_path / "c")).differences]
    assert sizes == pytest.approx([-3 / 40, 0, 0, 0])


def test_of_different_queries_those_of_both_are_compared(made, tmp_path):
    first = made._replace(hits=made.hits[:, :, :30], ids=made.ids[:30])
    order = np.random.default_rng(5).permutation(30)
    last = flipped(made, range(40))._replace(ids=made.ids)
    last = last._replace(hits=last.hits[:, :, 10:][:, :, order], ids=tuple(np.array(made.ids)[10:][order].tolist()))
    found = compare(first.write(tmp_path / "a"), last.write(tmp_path / "b"))
    assert found.images == 20
    one = attacked(found)
    assert one.share_a == made.hits[0, 1, 10:30, 1, 0].mean()
    assert one.share_b == pytest.approx(1 - one.share_a)
    assert one.only_a + one.only_b == 20


def test_means_of_different_numbers_of_evaluations(tmp_path, made):
    once = made._replace(lines=(NONE, Variant("crop")))
    five = made._replace(lines=(NONE, *Variant("crop").evaluated(5)), hits=made.hits * np.array([[1], [5]]))
    same = attacked(compare(once.write(tmp_path / "a"), five.write(tmp_path / "b")), "crop")
    assert (same.test, same.p, same.size) == ("paired t", 1, 0)
    fewer = five._replace(hits=np.clip(five.hits - np.array([[0], [1]]), 0, None))
    one = attacked(compare(once.write(tmp_path / "c"), fewer.write(tmp_path / "d")), "crop")
    assert one.size == pytest.approx(-0.2 * one.share_a)
    assert (one.only_a, one.only_b) == (round(40 * one.share_a), 0)
    assert one.p < 1e-3


def unpaired(found, reason):
    assert (found.images, found.unpaired) == (0, reason)
    one = attacked(found)
    table = [[row["correct"], row["n"] - row["correct"]] for row in (one.a, one.b)]
    assert one.test == "two proportions"
    assert one.p == pytest.approx(chi2_contingency(table, correction=False).pvalue)
    assert (one.only_a, one.only_b) == (None, None)


def test_where_images_are_not_known_to_be_the_same_two_samples_are_compared(made, tmp_path):
    a, other = made.write(tmp_path / "a"), flipped(made, range(12))
    b = other._replace(source="digits-train").write(tmp_path / "b")
    unpaired(compare(a, b), "the queries are other images: A digits-test, B digits-train")
    moved = other._replace(ids=tuple(range(100, 140))).write(tmp_path / "c")
    unpaired(compare(a, moved), "no image is in both runs")
    record_only = other.write(tmp_path / "d")
    (tmp_path / "d" / SAMPLES_FOLDER).rename(tmp_path / "elsewhere")
    sentence = "does not hold what became of each image of its record; run the same test again"
    unpaired(compare(a, record_only), f"B {sentence}")
    unpaired(compare(record_only, a), f"A {sentence}")
    unknown = changed(tmp_path / "a", queries={"images": 40})
    unpaired(compare(unknown, unknown), "the queries are other images: A unknown, B unknown")


def test_settings_and_surroundings_that_differ(made, tmp_path):
    a, b = (
        made._replace(config={"seed_everything": 0, "model": {"attacks": [{"class_path": "PGD", "steps": steps}]}})
        for steps in (10, 20)
    )
    first, second = a.write(tmp_path / "a"), b.write(tmp_path / "b")
    second = changed(tmp_path / "b", versions={"lit_knn": "0.2.0", "device": "NVIDIA H200"}, git="0123")
    assert compare(first, second).settings == {
        "model.attacks.0.steps": (10, 20),
        "git": ("", "0123"),
        "versions.torch": ("2.14", ""),
        "versions.lit_knn": ("", "0.2.0"),
        "versions.device": ("", "NVIDIA H200"),
    }


def test_a_run_does_not_differ_from_itself(made, tmp_path):
    run = made.write(tmp_path)
    found = compare(run, run)
    assert {(d.size, d.p, d.beyond) for d in found.differences} == {(0, 1, False)}
    assert found.settings == {}


def test_nothing_in_common(made, tmp_path):
    other = made._replace(topk=(3,), lines=(NONE, KNN))
    found = compare(made.write(tmp_path / "a"), other.write(tmp_path / "b"))
    assert found.differences == []
    assert len(found.matched.only_a) == len(found.matched.only_b) == 4


def test_equal_runs_are_called_different_no_more_often_than_said(made, tmp_path):
    """Two draws of the same accuracy: any of the results is beyond sampling error in at most 5 % of comparisons."""
    random, wrong = np.random.default_rng(0), 0
    for number in range(40):
        hits = [draw((1, 2, 40, 2, 1), 0.6, seed=int(random.integers(2**31))) for _ in "ab"]
        a, b = (
            made._replace(hits=part, batch=40).write(tmp_path / f"{name}{number}")
            for part, name in zip(hits, "ab", strict=True)
        )
        wrong += any(difference.beyond for difference in compare(a, b).differences)
    assert wrong <= 5  # 5 % of 40 are 2; more than 5 in 1 % of cases
