import pytest
import torch

from lit_knn.evaluation.metrics import CleanCounts, CleanQueries, cautions


def test_sums_over_batches():
    clean = CleanQueries()
    clean.update(torch.tensor([True, False, True]), torch.tensor([False, False, True]))
    clean.update(torch.tensor([True]), torch.tensor([True]))
    assert clean.counts() == CleanCounts(4, 3, 2)


@pytest.mark.parametrize(
    ("seen", "right", "classes", "guesses"),
    [
        (500, 50, 10, True),
        (500, 0, 10, True),  # below: labels of other classes
        (500, 63, 10, True),  # P(X ≥ 63) = .033 for X ~ Binomial(500, .1): not beyond the 95 % interval of two sides
        (500, 70, 10, False),
        (50_000, 50, 1000, True),
        (50_000, 300, 1000, False),
        (10, 3, 10, False),
        (4, 4, 2, False),
        (0, 0, 10, False),
    ],
)
def test_a_classifier_that_guesses_is_told_by_its_interval(seen, right, classes, guesses):
    found = cautions(CleanCounts(seen, right, 0), classes)
    assert len(found) == guesses
    assert not guesses or "look at which classes the labels mean" in found[0]


def test_queries_in_the_database():
    (sentence,) = cautions(CleanCounts(1000, 990, 3), 10)
    assert sentence.startswith("3 of 1,000 queries are in the database")
    assert cautions(CleanCounts(1000, 990, 1), 10)[0].startswith("1 of 1,000 queries is in the database")
