import numpy as np
import torch

from lit_knn.database.index import Neighbors, Scan
from lit_knn.database.index.exchange import Exchange


def test_a_process_alone_asks_itself(small, tmp_path):
    """Among several, see test_sharded.py."""
    exchange = Exchange()
    share = Scan(device="cpu").open(small, "late", tmp_path)
    assert [exchange.join(share), exchange.join(share)] == [0, 1]
    features = torch.from_numpy(small.features("late", np.arange(4)))
    found = exchange.ask(1, features, 3, None)
    assert isinstance(found, Neighbors)
    assert np.array_equal(found.ids, share.search(features, 3).ids)
    exchange.finish()
