import torch

from lit_knn.answers import answers
from lit_knn.cache import Attacked
from lit_knn.defenses import Defense, NoDefense, Query, Seen, Variant


class Second(Defense):
    """Two variants: the logits, and these with classes 0 and 1 exchanged."""

    variants = (Variant("same"), Variant("swapped"))

    def __call__(self, query):
        return torch.stack([query.logits, query.logits[:, [1, 0, 2]]])


def look(predicted, size):
    """Return queries whose logits are for these classes."""
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    realised = torch.full((len(predicted),), size)
    return Attacked(Query(None, None, seen=Seen(logits, {})), realised, 2 * realised)


def test_cases_and_sizes_are_told_apart_and_the_clean_images_stand_in_each():
    clean, first, second = (
        look([0, 1], 0.0),
        [look([1, 1], 0.1), look([2, 1], 0.2)],
        [look([0, 0], 0.3), look([0, 2], 0.4)],
    )
    outcome = answers(
        iter([clean, *first, *second]), torch.tensor([0, 1]), [NoDefense(), Second()], topk=[1, 2], sizes=2
    )
    assert outcome.hits.shape == (2, 3, 2, 3, 2)  # (A, E, N, V, T)
    none = outcome.hits[..., 0, 0]
    assert none.tolist() == [
        [[True, True], [False, True], [False, True]],
        [[True, True], [True, False], [True, False]],
    ]
    assert torch.equal(outcome.hits[..., 1, 0], none)
    assert outcome.hits[0, 0, :, 2, 0].tolist() == [False, False]
    assert outcome.realised[:, :, 0].tolist() == torch.tensor([[0, 0.1, 0.2], [0, 0.3, 0.4]]).tolist()
    assert torch.equal(outcome.realised_normalized, 2 * outcome.realised)
