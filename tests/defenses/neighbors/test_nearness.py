import numpy as np
import torch

from lit_knn.defenses.neighbors.nearness import Nearness


def never():
    raise AssertionError("nobody asked for this")


def test_measures_are_those_of_numpy():
    rng = np.random.default_rng(0)
    features, vectors = rng.standard_normal((5, 7)), rng.standard_normal((5, 4, 7))
    nearness = Nearness(lambda: torch.from_numpy(features), lambda: torch.from_numpy(vectors))
    difference = features[:, None] - vectors
    np.testing.assert_allclose(nearness.squared, np.einsum("nkd,nkd->nk", difference, difference), rtol=1e-12)
    lengths = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(vectors, axis=2)
    np.testing.assert_allclose(nearness.cosine, np.einsum("nd,nkd->nk", features, vectors) / lengths, rtol=1e-12)


def test_known_distances_take_nothing_else():
    nearness = Nearness(never, never, torch.tensor([[0.0, 3.0]]))
    assert nearness.squared.tolist() == [[0, 9]]


def test_a_query_or_row_without_length_has_cosine_and_gradient_zero():
    features = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    vectors = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    cosine = Nearness(lambda: features, lambda: vectors).cosine
    cosine.sum().backward()
    assert cosine.tolist() == [[0], [0]]
    assert features.grad is not None
    assert not features.grad.any()


def test_gradients_are_those_of_the_measures():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, dtype=torch.float64, generator=generator).requires_grad_()
    vectors = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator)
    for measure in ("squared", "cosine"):
        assert torch.autograd.gradcheck(lambda x, m=measure: getattr(Nearness(lambda: x, lambda: vectors), m), features)
