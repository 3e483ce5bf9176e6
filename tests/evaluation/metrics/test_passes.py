import torch

from lit_knn.evaluation.metrics import NetworkPasses

CASES = [("gray_box", "PGD"), ("white_box late", "Square")]


def test_passes_of_all_queries_add_up_for_each_case_and_size():
    counts = NetworkPasses(CASES, [0.0, 0.05, 0.1])
    of_clean = torch.zeros(2, 1, 2, 2, dtype=torch.int64)
    attacked = torch.tensor([[[10, 10], [10, 9]], [[1001, 0], [3, 0]]]).repeat(2, 1, 1).view(2, 2, 2, 2).transpose(0, 1)
    for _ in range(2):
        counts.update(torch.cat([of_clean, attacked], dim=1))
    assert [tuple(row.values()) for row in counts.rows()] == [
        ("gray_box", "PGD", 0.05, 40, 38),
        ("gray_box", "PGD", 0.1, 40, 38),
        ("white_box late", "Square", 0.05, 2008, 0),
        ("white_box late", "Square", 0.1, 2008, 0),
    ]
    assert list(counts.rows()[0]) == ["threat", "attack", "delta", "forward", "backward"]
