import torch

from lit_knn.evaluation.metrics import CleanCounts, Tally
from lit_knn.evaluation.sample_results import SampleResults
from lit_knn.report.results import WORST_CASE, Variant

CASES = [("gray_box", "FGSM"), ("gray_box", "PGD")]


def results(cases):
    """Two queries at two sizes; the first case breaks the first query, the second the other one."""
    hits = torch.tensor([[[1, 1], [0, 1]], [[1, 1], [1, 0]]], dtype=torch.bool)[:cases, :, :, None, None]
    size = torch.tensor([[[0.0, 0.0], [0.1, 0.05]]] * 2)[:cases]
    right, stored = torch.tensor([True, False]), torch.tensor([False, False])
    return SampleResults(hits, size, 2 * size, right, stored, size > 0.07, torch.ones(cases, 2, 2, 2).long())


def test_cautions_are_of_clean_queries_and_of_gradients():
    tally = Tally(CASES, [0.0, 0.1], [Variant("none")], [1])
    tally.count(torch.tensor([3, 8]), results(2)._replace(stored=torch.tensor([True, False])))
    guesses, stored, *flat = tally.cautions(2)
    assert "no better than guessing" in guesses
    assert stored.startswith("1 of 2")
    assert [sentence.split(" of 2")[0] for sentence in flat] == [
        f"gray_box: {a} had no direction for 1" for _, a in CASES
    ]


def counted(cases):
    tally = Tally(CASES[:cases], [0.0, 0.1], [Variant("none")], [1])
    tally.count(torch.tensor([3, 8]), results(cases))
    tally.audit.verify(torch.tensor([8, 3]))
    assert tally.clean.counts() == CleanCounts(2, 1, 0)
    assert [row["forward"] for row in tally.passes.rows()] == [2] * cases
    return {(row["threat"], row["attack"], row["delta"]): row["correct"] for row in tally.accuracy.rows()}


def test_several_cases_have_a_worst_one_of_each_image():
    assert counted(2) == {(*case, 0.0): 2 for case in [*CASES, WORST_CASE]} | {
        (*CASES[0], 0.1): 1,
        (*CASES[1], 0.1): 1,
        (*WORST_CASE, 0.1): 0,
    }


def test_one_case_is_its_own_worst():
    assert counted(1) == {(*CASES[0], 0.0): 2, (*CASES[0], 0.1): 1}


def test_a_cascade_counts_the_worst_case_only():
    tally = Tally(CASES, [0.0, 0.1], [Variant("none")], [1], cascade=True)
    tally.count(torch.tensor([3, 8]), results(2))
    found = {(row["threat"], row["attack"], row["delta"]): row["correct"] for row in tally.accuracy.rows()}
    assert found == {(*WORST_CASE, 0.0): 2, (*WORST_CASE, 0.1): 0}
    assert len(tally.cautions(2)) == 3  # the two cases without a gradient are named all the same
