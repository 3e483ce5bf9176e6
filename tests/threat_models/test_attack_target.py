import pytest
import torch

from lit_knn.defenses import Defense, Variant
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget, name_ids
from lit_knn.threat_models.surrogate_defense import SurrogateDefense


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

    class Drawing(Defense):
        variants = (Variant("drawing"),)

        def __call__(self, query):
            drawn.append(query.randomness("draw").uniform(query.image))
            return query.image.flatten(1)[None]

    attack_target.surrogate_defense = SurrogateDefense(attack_target.model, Drawing())
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


def test_what_is_known_of_a_part_is_known_of_the_whole_at_its_place(attack_target):
    ranks = attack_target.once("ranks", lambda: torch.arange(3))
    part = attack_target.among(torch.tensor([False, True, True])).among(torch.tensor([False, True]))
    assert part.once("ranks", lambda: torch.zeros(1)).tolist() == ranks[2:].tolist()
    part.note_flat(torch.tensor([False]))
    attack_target.note_flat(torch.tensor([False, True, True]))
    assert [flat.tolist() for flat in attack_target.take_flat()] == [[True, True, False], [False, True, True]]
    part.note_finite(torch.tensor([torch.nan]), "it")
    for known in (part, attack_target):
        with pytest.raises(UserError, match=r"it is not finite for the images with id 9$"):
            known.require_finite()


def test_the_last_answer_is_that_of_the_network_or_of_the_copy_and_all_beside_it(attack_target):
    class Flipped(Defense):
        variants = (Variant("copy"),)

        def __call__(self, query):
            return -query.image.flatten(1)[None]

    class Both(Defense):
        variants = (Variant("a"), Variant("b"))

        def __call__(self, query):
            return torch.stack([-query.image.flatten(1), 2 * query.image.flatten(1)])

    copy = SurrogateDefense(attack_target.model, Flipped(), beside=[Both()])
    attack_target.surrogate_defense = copy
    logits = attack_target.logits(attack_target.image)
    assert torch.equal(attack_target.answer(), logits[None])
    assert torch.equal(attack_target.scores(attack_target.image), -logits)
    assert torch.equal(attack_target.answer(), torch.stack([-logits, -logits, 2 * logits]))
