import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.defenses import Query
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        return image.mean((2, 3))


def test_nothing_is_computed_before_it_is_asked_for_and_nothing_twice():
    classifier = Counting()
    query = Query(torch.rand(2, 3, 4, 4), classifier)
    assert classifier.calls == 0
    assert torch.equal(query.logits, query.logits)
    assert classifier.calls == 1


class Pooled:
    """A gallery that only projects."""

    def tap(self, name):
        return Tap(name)

    def encoder(self, classifier):
        return classifier

    def project(self, tap, pooled):
        return 2 * pooled


class Tapped(Counting):
    cut = 0

    def tapped(self, image, taps):
        return self(image), {tap.name: image.flatten(1) for tap in taps}

    def activations(self, image, taps):
        self.cut += 1
        return {tap.name: image.flatten(1) for tap in taps}


def test_logits_and_all_taps_come_from_one_pass():
    classifier = Tapped()
    query = Query(torch.rand(2, 3, 4, 4), classifier, Pooled(), {"a": 1, "b": 2})
    assert query.logits.shape == (2, 3)
    assert query.features("a").shape == query.features("b").shape == (2, 48)
    assert (classifier.calls, classifier.cut) == (1, 0)
    assert torch.equal(query.features("a"), 2 * query.image.flatten(1))


def test_features_alone_need_no_logits():
    classifier = Tapped()
    query = Query(torch.rand(2, 3, 4, 4), classifier, Pooled(), {"a": 1, "b": 2})
    assert query.features("a").shape == query.features("b").shape == (2, 48)
    assert (classifier.calls, classifier.cut) == (0, 1)


class OtherNetwork(Pooled):
    """A gallery that another network gives the activations of."""

    def __init__(self):
        self.network = Tapped()

    def encoder(self, classifier):
        return self.network


def test_another_network_gives_the_activations_and_each_is_asked_for_what_is_its_own():
    classifier, gallery = Tapped(), OtherNetwork()
    query = Query(torch.rand(2, 3, 4, 4), classifier, gallery, {"a": 1, "b": 2})
    assert query.features("a").shape == query.features("b").shape == (2, 48)
    assert (classifier.calls, classifier.cut, gallery.network.calls, gallery.network.cut) == (0, 0, 0, 1)
    assert torch.equal(query.logits, query.seen.logits)
    assert set(query.seen.activations) == {"a", "b"}
    assert (classifier.calls, classifier.cut, gallery.network.calls, gallery.network.cut) == (1, 0, 0, 1)
    for alone in (Query(query.image, classifier, gallery, {"a": 1}), Query(query.image, classifier, gallery)):
        assert torch.equal(alone.logits, query.logits)
    assert (classifier.calls, gallery.network.cut) == (3, 1)
    kept = Query(None, classifier, gallery, {"a": 1}, seen=query.seen)
    assert torch.equal(kept.logits, query.logits)
    assert torch.equal(kept.features("a"), query.features("a"))
    assert (classifier.calls, gallery.network.cut) == (3, 1)


def test_without_a_database_a_query_says_so():
    with pytest.raises(UserError, match=r"no model\.database"):
        Query(torch.rand(1, 3, 2, 2), Counting()).gallery  # noqa: B018


def test_random_numbers_are_of_the_images_and_begin_again_with_each_purpose():
    image, ids = torch.rand(2, 3, 4, 4), torch.tensor([5, 9])
    query = Query(image, Counting(), randomness=Randomness(3, ids))
    assert torch.equal(query.ids, ids)
    first = query.randomness("crop").normal(image)
    assert torch.equal(query.randomness("crop").normal(image), first)
    assert torch.equal(
        Query(image[1:], Counting(), randomness=Randomness(3, ids[1:])).randomness("crop").normal(image[1:]), first[1:]
    )
    for other in (query.randomness("noise"), query.randomness("crop", 1)):
        assert not torch.equal(other.normal(image), first)
    assert torch.equal(query.of("a smaller gallery").randomness("crop").normal(image), first)


def test_a_query_without_them_says_so():
    with pytest.raises(UserError, match="made without `randomness`"):
        Query(torch.rand(1, 3, 2, 2), Counting()).randomness("crop")


def test_evaluations_draw_otherwise_and_share_all_else():
    image, classifier = torch.rand(2, 3, 4, 4), Tapped()
    query = Query(image, classifier, Pooled(), {"a": 1}, randomness=Randomness(3, torch.tensor([5, 9])))
    first, second, again = (query.evaluation(number) for number in (0, 1, 0))
    drawn = [asked.randomness("crop").normal(image) for asked in (query, first, second)]
    assert torch.equal(again.randomness("crop").normal(image), drawn[1])
    assert len({tuple(values.flatten().tolist()) for values in drawn}) == 3
    query.logits  # noqa: B018
    assert all(torch.equal(query.evaluation(number).features("a"), 2 * image.flatten(1)) for number in range(3))
    assert query.evaluation(4).features("a") is query.features("a")
    assert classifier.calls == 1
    with pytest.raises(UserError, match="without `randomness`"):
        Query(image, classifier).evaluation(1).randomness("crop")
