import pytest
import torch

from lit_knn.defenses.neighbors.hull import project_onto_hull
from tests.defenses.neighbors.hull_reference import nearest_by_slsqp


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def corners(rows, k, dimension):
    """Copies, lines, planes, and a query at a row, on an edge, inside, far away and far from the origin."""
    vertices = drawn(rows, k, dimension)
    query = drawn(rows, dimension, seed=1)
    vertices[0] = vertices[0, :3].repeat(k // 3 + 1, 1)[:k]
    vertices[1] = torch.linspace(0, 1, k)[:, None] * vertices[1, 0]
    vertices[2] = drawn(k, 2, seed=2) @ drawn(2, dimension, seed=3)
    query[3] = vertices[3, 1]
    query[4] = (vertices[4, 0] + vertices[4, 1]) / 2
    query[5] = vertices[5].mean(dim=0)
    query[6] += 10
    query[7] += 100
    vertices[7] += 100
    return query, vertices


def smallest(query, vertices):
    """Half the squared distance by scipy, and the scale of the vertices."""
    value, _, scale = nearest_by_slsqp((vertices - query).numpy())
    return value, scale


@pytest.mark.parametrize(("k", "dimension"), [(7, 40), (20, 40), (20, 5), (40, 12)])
def test_the_objective_is_that_of_scipy(k, dimension):
    query, vertices = corners(12, k, dimension)
    found = project_onto_hull(query, vertices)
    assert bool((found.weights >= 0).all())
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(12, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.point, (found.weights[:, None] @ vertices)[:, 0], rtol=0, atol=1e-10)
    mine = (found.point - query).square().sum(dim=1) / 2
    for row in range(12):
        best, scale = smallest(query[row], vertices[row])
        assert float(found.gap[row]) <= 1e-10 * scale
        assert abs(float(mine[row]) - best) <= 1e-7 * best + 1e-10 * scale  # SLSQP stops where it thinks it is good


def test_the_certificate_is_no_bound_of_its_own_making():
    """Optimality is that no vertex lies nearer to the query, seen along the way to the point."""
    query, vertices = corners(40, 30, 16)
    point = project_onto_hull(query, vertices).point
    away = query - point
    ahead = ((vertices - point[:, None]) @ away[..., None])[..., 0]  # at most 0 of a projection onto a convex set
    assert bool((ahead.amax(dim=1) <= 1e-9 * (vertices - query[:, None]).square().sum(dim=2).mean(dim=1)).all())


def test_simple_hulls():
    triangle = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    for query, expected in [((3, -1), (2, 0)), ((2, 2), (1, 1)), ((0.5, 0.5), (0.5, 0.5)), ((-1, -1), (0, 0))]:
        found = project_onto_hull(torch.tensor([query], dtype=torch.float32), triangle)
        torch.testing.assert_close(found.point[0], torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)
    alone = project_onto_hull(torch.tensor([[9.0, 9.0]]), torch.tensor([[[1.0, 2.0]]]))
    assert (alone.point.tolist(), alone.weights.tolist()) == ([[1, 2]], [[1]])
    itself = project_onto_hull(torch.ones(1, 3), torch.ones(1, 4, 3))
    assert (itself.point.tolist(), itself.weights.tolist()) == ([[1, 1, 1]], [[0.25] * 4])


def test_float32_is_rounded_at_the_end():
    query, vertices = (part.float() for part in corners(12, 20, 40))
    single, double = project_onto_hull(query, vertices), project_onto_hull(query.double(), vertices.double())
    assert single.point.dtype == torch.float32
    assert torch.equal(single.weights, double.weights)
    torch.testing.assert_close(single.point.double(), double.point, rtol=2e-6, atol=2e-6)


def test_each_query_on_its_own():
    query, vertices = corners(12, 20, 40)
    together = project_onto_hull(query, vertices)
    apart = torch.cat([project_onto_hull(query[[n]], vertices[[n]]).point for n in range(12)])
    torch.testing.assert_close(apart, together.point, rtol=0, atol=1e-9)


def test_gradients_are_those_of_the_face():
    query, vertices = drawn(4, 6).requires_grad_(), drawn(4, 8, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda q, v: project_onto_hull(q, v).point, (query, vertices), atol=1e-4)
    inside = drawn(2, 3).mul(0.01).requires_grad_()
    around = torch.cat([torch.eye(3), -torch.eye(3)]).double().expand(2, 6, 3)
    point = project_onto_hull(inside, around).point
    (slope,) = torch.autograd.grad((point * drawn(2, 3, seed=2)).sum(), inside)
    torch.testing.assert_close(slope, drawn(2, 3, seed=2), rtol=1e-5, atol=1e-5)  # there the projection is nothing


def test_what_is_no_number_stays_none():
    found = project_onto_hull(torch.tensor([[torch.nan, 0.0], [0.0, 0.0]]), drawn(2, 5, 2).float())
    assert found.point[0].isnan().any()
    assert found.point[1].isfinite().all()


@pytest.mark.gpu
def test_the_gpu_finds_the_same():
    query, vertices = corners(12, 20, 40)
    found, expected = project_onto_hull(query.cuda(), vertices.cuda()), project_onto_hull(query, vertices)
    torch.testing.assert_close(found.point.cpu(), expected.point, rtol=0, atol=1e-8)
    assert bool((found.gap.cpu() <= 1e-10 * (vertices - query[:, None]).square().sum(dim=2).mean(dim=1)).all())
