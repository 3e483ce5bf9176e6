import torch

from lit_knn.evaluation.metrics import FlatGradients

CASES = [("gray_box", "PGD"), ("white_box late", "PGD-FS")]


def flat(*queries):
    """Return `(A, E, N)`: of the second case none."""
    first = torch.tensor(queries, dtype=torch.bool)
    return torch.stack([first, torch.zeros_like(first)])


def test_each_case_says_how_many_at_the_size_where_there_are_most():
    counts = FlatGradients(CASES, [0.0, 0.05, 0.1])
    counts.update(flat([0, 0], [1, 1], [0, 1]))
    counts.update(flat([0], [1], [0]))
    (sentence,) = counts.cautions(1000)
    assert sentence.startswith(
        "gray_box: PGD had no direction for 3 of 1,000 queries at Δ = 0.05: the gradient is zero"
    )
    assert "Square" in sentence


def test_sizes_in_the_units_of_others():
    counts = FlatGradients(CASES, [0.0, 8 / 255], "linf")
    counts.update(flat([0], [1]))
    assert "queries at L∞ = 8/255: the gradient" in counts.cautions(1)[0]


def test_none_is_no_warning():
    counts = FlatGradients(CASES, [0.0, 0.1])
    counts.update(flat([0, 0], [0, 0]))
    assert counts.cautions(2) == []
