import numpy as np
import torch

from lit_knn.database.index import Neighbors, nearest


def test_merging_does_not_depend_on_order_and_gives_the_lower_id_first():
    rng = np.random.default_rng(0)
    distances = torch.from_numpy(rng.integers(0, 5, (3, 40))).float()  # many equal ones
    ids = torch.from_numpy(rng.permutation(40)).repeat(3, 1)
    parts = [Neighbors(ids[:, part], distances[:, part]) for part in (slice(0, 7), slice(7, 30), slice(30, 40))]
    parts.append(Neighbors.none(3, 2))
    expected = [sorted(zip(d, i, strict=True))[:9] for d, i in zip(distances.tolist(), ids.tolist(), strict=True)]
    for found in (parts, parts[::-1]):
        merged = nearest(found, 9)
        assert [
            list(zip(d, i, strict=True)) for d, i in zip(merged.distances.tolist(), merged.ids.tolist(), strict=True)
        ] == expected
    assert (nearest(parts, 42).ids[:, 40:] == -1).all()
