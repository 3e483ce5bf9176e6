import torch

from lit_knn.attacks.objectives import CrossEntropy, with_gradient


def test_a_value_with_a_chosen_gradient():
    image = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    ascent = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    value = with_gradient(torch.tensor([3.0, 5.0], dtype=torch.float64), image, ascent)
    assert value.tolist() == [3.0, 5.0]
    assert torch.equal(torch.autograd.grad(value.sum(), image)[0], ascent)


def test_by_default_the_objective_chooses(attack_target):
    objective = CrossEntropy()
    assert torch.equal(
        objective.choice(attack_target)(attack_target.image), objective.bind(attack_target)(attack_target.image)
    )
