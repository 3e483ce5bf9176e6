import torch

from lit_knn.defenses import NoDefense, Query, Variant


def test_it_returns_the_classifiers_logits():
    image = torch.rand(2, 3, 4, 4)
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    scores = NoDefense()(Query(image, classifier))
    assert torch.equal(scores, classifier(image)[None])
    assert NoDefense().variants == [Variant("none")]


def test_nobody_copies_it():
    assert NoDefense().copies() == []
