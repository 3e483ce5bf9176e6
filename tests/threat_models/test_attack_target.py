import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget, name_ids


@pytest.fixture
def attack_target():
    image = torch.rand(3, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return AttackTarget(lambda image: image.flatten(1), image, torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9]))


def test_the_loss_by_hand(attack_target):
    logits = attack_target.image.flatten(1)
    expected = torch.stack([row.logsumexp(0) - row[n] for n, row in enumerate(logits)])
    torch.testing.assert_close(attack_target.cross_entropy(attack_target.image), expected)


def test_a_label_that_the_network_does_not_know(attack_target):
    unknown = AttackTarget(attack_target.model, attack_target.image, torch.tensor([0, 1, 3]), attack_target.ids)
    with pytest.raises(UserError, match="label 3 is outside the 3 classes"):
        unknown.cross_entropy(attack_target.image)


def test_without_a_copy_of_the_defense(attack_target):
    with pytest.raises(UserError, match="run it as a WhiteBox"):
        attack_target.defense  # noqa: B018


def test_what_was_ever_not_finite_names_its_images_and_says_what(attack_target):
    assert attack_target.note_finite(torch.zeros(3, 2, 2), "it").all()
    attack_target.require_finite()
    rows = torch.tensor([[0.0, torch.inf], [0.0, 0.0], [1.0, 1.0]])
    assert attack_target.note_finite(rows, "that").tolist() == [False, True, True]
    with pytest.raises(UserError, match=r"that is not finite for the images with id 7$"):
        attack_target.require_finite()
    attack_target.note_finite(torch.tensor([0.0, torch.nan, 0.0]), "it")
    attack_target.note_finite(torch.tensor([0.0, 0.0, -torch.inf]), "it")
    attack_target.note_finite(torch.zeros(3), "it")
    with pytest.raises(UserError, match=r"it is not finite for the images with id 8, 9$"):
        attack_target.require_finite()


def test_only_the_first_ids_are_named():
    assert name_ids(torch.arange(8), torch.arange(8) > 0) == "1, 2, 3, 4, 5 and 2 more"


def test_what_depends_on_the_clean_images_is_made_once_for_each_key(attack_target):
    made = iter(range(9))

    def make():
        return torch.tensor(next(made))

    assert [attack_target.once(key, make).item() for key in ("a", "a", "b", "a")] == [0, 0, 1, 0]


def test_some_of_the_images_go_on_as_they_would_with_the_others(attack_target):
    drawn = []

    class Copy:
        def scores(self, image, randomness):
            drawn.append(randomness.uniform(image))
            return image.flatten(1)

    attack_target.surrogate_defense = Copy()
    attack_target.draw_from(Randomness(3, attack_target.ids, "run", 2))
    attack_target.scores(attack_target.image)
    chosen = torch.tensor([True, False, True])
    some = attack_target.among(chosen)
    assert some.ids.tolist() == [7, 9]
    torch.testing.assert_close(some.cross_entropy(some.image), attack_target.cross_entropy(attack_target.image)[chosen])
    some.scores(some.image)
    attack_target.scores(attack_target.image)
    assert torch.equal(drawn[1], drawn[2][chosen])
    assert not torch.equal(drawn[1], drawn[0][chosen])
