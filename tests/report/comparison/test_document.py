import dataclasses

import numpy as np

from lit_knn.report.comparison.differences import compare
from lit_knn.report.comparison.document import cautions, document, only_in_one
from lit_knn.report.rendering.document import Paragraph, Table
from lit_knn.report.results import Variant
from lit_knn.report.results.samples import SAMPLES_FOLDER
from tests.report.comparison.conftest import NONE
from tests.report.comparison.test_differences import flipped


def of(a, b, most=20):
    """Return sentences, notes and tables."""
    blocks = document(a, b, compare(a, b), most)
    texts = [block for block in blocks if isinstance(block, Paragraph)]
    tables = [block for block in blocks if isinstance(block, Table)]
    return [t.text for t in texts if not t.warning], [t.text for t in texts if t.warning], tables


def test_two_runs_in_sentences_and_tables(made, tmp_path):
    right = np.flatnonzero(made.hits[0, 1, :, 1, 0])
    a, b = (
        part.write(tmp_path / name)
        for name, part in (("a", made), ("b", flipped(made, right[:9])._replace(config={"seed_everything": 1})))
    )
    (summary,), notes, (differences, settings) = of(a, b)
    assert summary == (
        f"A is {tmp_path}/a, B is {tmp_path}/b. They have 4 results in common, of the same 40 images: 1 differs beyond "
        "sampling error, 3 are equal."
    )
    assert notes == []
    (row,) = differences.rows
    share = made.hits[0, 1, :, 1, 0].mean()
    assert row[:3] == ["✱ gray box, PGD", "kNN late", "0.1"]  # that all are of top 1 goes without saying
    assert row[3:6] == [f".{1000 * share:.0f}", f".{1000 * share - 225:.0f}", "−.225"]
    assert row[6].startswith("−.")
    assert row[7] == ".016"  # 4 results, 2 / 2⁹ each
    assert "All retrieval: K=50, CBW-D, soft." in differences.caption
    assert "below 0.05 for ✱; by McNemar's exact test" in differences.caption
    assert "3 more are in --format csv" in differences.caption
    assert settings.rows == [["seed_everything", "0", "1"]]


def test_only_the_largest_are_listed_and_equal_ones_never(made, tmp_path):
    a, b = made.write(tmp_path / "a"), flipped(flipped(made, range(9)), range(3), line=0).write(tmp_path / "b")
    _, _, (two, *_) = of(a, b)
    assert [row[1] for row in two.rows] == ["none", "kNN late"] or len(two.rows) == 2
    _, _, (one, *_) = of(a, b, most=1)
    assert one.rows == two.rows[:1]
    (summary, sentence), _, tables = of(a, a)
    assert "0 differ beyond sampling error, 4 are equal" in summary
    assert sentence == "No setting, version or device differs."
    assert tables == []


def test_what_to_know(made, tmp_path):
    a = made.write(tmp_path / "a")
    assert cautions(a, a, compare(a, a)) == ["A and B are the same run."]
    b = made._replace(hits=made.hits[:, :, 9:], ids=made.ids[9:]).write(tmp_path / "b")
    assert cautions(a, b, compare(a, b)) == ["Accuracies are those of the 31 images that both runs have, of up to 40."]
    (tmp_path / "b" / SAMPLES_FOLDER).rename(tmp_path / "c")
    (sentence,) = cautions(a, b, compare(a, b))
    assert sentence.startswith("Not compared image by image: B does not hold what became of each image")


def test_worst_cases_of_different_attacks_and_means_of_different_numbers_are_said(made, tmp_path):
    lines = [NONE, *Variant("crop").evaluated(5)]
    hits = np.concatenate([made.hits * np.array([[1], [5]])] * 2)
    a = made._replace(cases=(("gray_box", "PGD"), ("gray_box", "FGSM")), hits=hits, lines=tuple(lines))
    b = a._replace(cases=(("gray_box", "PGD"), ("gray_box", "APGD")), lines=(NONE, *Variant("crop").evaluated(7)))
    one, other = a.write(tmp_path / "a"), b.write(tmp_path / "b")
    assert cautions(one, other, compare(one, other)) == [
        "The worst case is that of each run's own attacks, which are not the same.",
        "Means are of different numbers of evaluations: 5 in A and 7 in B.",
    ]
    assert only_in_one(compare(one, other)) == [
        "Only in A are 10 results: worst-of-5, majority-of-5; gray box, FGSM.",
        "Only in B are 10 results: worst-of-7, majority-of-7; gray box, APGD.",
    ]


def test_many_things_of_one_kind_are_counted(made, tmp_path):
    a = made.write(tmp_path / "a")
    rows = [row | {"defense": f"crop {n}"} for n in range(9) for row in a.record.results if row["defense"] == "none"]
    b = a._replace(folder=tmp_path, record=dataclasses.replace(a.record, results=[*a.record.results, *rows]))
    (sentence,) = only_in_one(compare(a, b))
    assert sentence.endswith("are 18 results: crop 0, crop 1, crop 2, crop 3, crop 4, crop 5, 3 more.")


def test_nothing_in_common_is_said(made, tmp_path):
    a, b = made.write(tmp_path / "a"), made._replace(topk=(3,)).write(tmp_path / "b")
    (summary, *others), _, tables = of(a, b)
    assert summary.endswith("They have no result in common.")
    assert others[:2] == ["Only in A are 4 results: top-1.", "Only in B are 4 results: top-3."]
    assert tables == []
