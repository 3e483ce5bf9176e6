import torch

from lit_knn.threat_models.passes import Passes


def test_outputs_and_the_gradients_through_them_are_counted():
    passes = Passes(3)
    image = torch.rand(3, 2, requires_grad=True)
    output = passes.through(image**2)
    for _ in range(4):
        torch.autograd.grad(output.sum(), image, retain_graph=True)
    torch.autograd.grad(passes.through(2 * image).sum(), image)
    passes.through(image.detach())
    assert passes.take().tolist() == [[3, 5]] * 3
    assert passes.take().tolist() == [[0, 0]] * 3


def test_an_output_is_passed_on_as_it_is():
    output = torch.rand(3, 2, requires_grad=True) ** 2
    assert Passes(3).through(output) is output
    (slope,) = torch.autograd.grad(output.sum(), output)
    assert torch.equal(slope, torch.ones(3, 2))


def test_some_of_the_images_count_among_all():
    passes = Passes(3)
    passes.add()
    part = passes.among(torch.tensor([False, True, True]))
    part.add()
    part.among(torch.tensor([False, True])).add()
    with passes.only(torch.tensor([True, False, False])):
        output = passes.through(torch.ones(3, requires_grad=True) ** 2)
        torch.autograd.grad(output.sum(), output)
    passes.add()
    assert passes.take().tolist() == [[3, 1], [3, 0], [4, 0]]
    part.add()
    assert passes.take().tolist() == [[0, 0], [1, 0], [1, 0]]
