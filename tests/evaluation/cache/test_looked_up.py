import numpy as np
import torch

from lit_knn.database.index import Neighbors
from lit_knn.evaluation.cache import LookedUp


class View:
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return self.rows


def test_each_view_answers_from_its_own_neighbors_and_asks_nobody():
    views = [View(5), View(9)]
    found = [{"late": Neighbors(np.full((2, 3), rows), np.zeros((2, 3), np.float32))} for rows in (5, 9)]
    logits, features = torch.randn(2, 4), {"late": torch.randn(2, 6)}
    query = LookedUp(logits, features, found, None, views)
    assert query.neighbors("late") is found[1]["late"]
    assert query.of(views[0]).neighbors("late") is found[0]["late"]
    for asked in (query, query.of(views[0])):
        assert asked.logits is logits
        assert asked.features("late") is features["late"]
