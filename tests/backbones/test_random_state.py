import random

import numpy as np
import pytest
import torch

from lit_knn.backbones.random_state import RandomState

DRAWS = [lambda: torch.rand(1).item(), random.random, np.random.rand, lambda: None]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_is_noticed_and_undone(draw):
    with RandomState(torch.device("cpu")) as before:
        first = draw()
        assert RandomState(torch.device("cpu")).same(before) == (first is None)
    assert RandomState(torch.device("cpu")).same(before)
    assert draw() == first
