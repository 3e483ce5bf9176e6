"""Quilts against the nearest patches that NumPy finds, and the seams of `test_seams`."""

from unittest import mock

import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import EOT, DefenseMargin
from lit_knn.database import PatchDatabase
from lit_knn.defenses import BPDA, Query, Quilting, TransformedClassifier
from lit_knn.defenses.transformations.quilting import starts
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.report.results.paper_setting import of_rival
from lit_knn.report.results.published import lines
from lit_knn.storage.description import describe
from lit_knn.threat_models import WhiteBox
from tests.defenses.transformations.test_seams import laid

RANDOM = np.random.default_rng(0).random((500, 75), np.float32)


def held(patches=RANDOM, size=5):
    database = PatchDatabase(count=len(patches), size=size)
    database.hold(np.ascontiguousarray(patches))
    return database


def windows(image, size):
    """Return all patches (P, 3·S·S) of images (N, 3, H, W)."""
    patches = image.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5)
    return patches.reshape(-1, 3 * size**2).numpy()


def quilted(transformation, image, seed=0, first=0):
    return transformation(image, Randomness(seed, torch.arange(first, first + len(image))))


@pytest.mark.parametrize("sides", [(5, 5), (5, 12), (6, 7), (8, 8), (13, 10), (32, 33)])
@pytest.mark.parametrize(("size", "overlap"), [(5, 2), (4, 1)])
def test_an_image_of_its_own_patches_is_itself(sides, size, overlap):
    image = torch.rand(2, 3, *sides)
    quilting = Quilting(patches=held(windows(image, size), size), k=1, overlap=overlap)
    assert torch.equal(quilted(quilting, image), image)
    assert not quilting.random


def test_a_quilt_is_the_nearest_patches_joined():
    image = torch.rand(2, 3, 11, 8, dtype=torch.float64)  # both sides make a regular grid
    found = quilted(Quilting(patches=held(), k=1), image)
    assert found.dtype == image.dtype
    for quilt, one in zip(found, image.numpy(), strict=True):
        grid = np.empty((3, 2, 3, 5, 5))
        for a, b in np.ndindex(3, 2):
            patch = one[:, 3 * a : 3 * a + 5, 3 * b : 3 * b + 5].astype(np.float32).ravel()
            nearest = np.square(RANDOM.astype(np.float64) - patch).sum(axis=1).argmin()
            grid[a, b] = RANDOM[nearest].reshape(3, 5, 5)
        assert np.array_equal(quilt, laid(grid, 2))


@pytest.mark.parametrize("sides", [(5, 9), (6, 6), (7, 10), (12, 9), (31, 24)])
def test_last_patches_are_moved_inwards_and_no_border_is_left(sides):
    image, patches = torch.rand(1, 3, *sides), 0.5 + RANDOM / 2
    found = quilted(Quilting(patches=held(patches), k=3), image)
    assert found.shape == image.shape
    assert np.isin(found, patches).all()  # pixels of the database, so within [0, 1]
    assert (starts(sides[0], 5, 3)[-1], starts(sides[1], 5, 3)[-1]) == (sides[0] - 5, sides[1] - 5)
    last = image[0, :, -5:, -5:].flatten().numpy()  # of the lower right corner nobody overwrites anything
    nearest = np.square(patches - last).sum(axis=1).argsort()[:3]
    assert any(np.array_equal(found[0, :, -1, -1], patches[one].reshape(3, 5, 5)[:, -1, -1]) for one in nearest)


def test_each_of_the_nearest_is_drawn_as_often():
    image = torch.rand(1, 3, 5, 5)
    nearest = np.square(RANDOM - image.flatten().numpy()).sum(axis=1).argsort()[:4]
    found = quilted(Quilting(patches=held(), k=4), image.expand(2000, -1, -1, -1))
    counts = [(found.flatten(1).numpy() == RANDOM[one]).all(axis=1).sum() for one in nearest]
    assert sum(counts) == 2000
    assert np.abs(np.array(counts) - 500).max() < 5 * 500**0.5


@pytest.mark.parametrize("index", ["Flat", "IVF4,Flat"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_make_no_difference(index, dtype, gallery, tmp_path):
    database = PatchDatabase(count=1000, per_image=2, index=index, recall=0.5)
    database.write(tmp_path, None, gallery)
    database.read(tmp_path)
    image, quilting = torch.rand(64, 3, 14, 13, dtype=dtype), Quilting(patches=database)
    whole = quilted(quilting, image)
    assert whole.dtype == dtype
    parts = [quilted(quilting, image[row : row + 1], first=row) for row in range(64)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(quilted(quilting, image, seed=1), whole)


def test_draws_of_the_same_images_share_a_search():
    image, database = torch.rand(2, 3, 8, 8), held()
    quilting = Quilting(patches=database)
    with mock.patch.object(PatchDatabase, "nearest", autospec=True, side_effect=PatchDatabase.nearest) as search:
        first, other = (quilted(quilting, image, seed) for seed in (0, 1))
        assert search.call_count == 1
        assert torch.equal(quilted(quilting, image), first)
        assert search.call_count == 2  # so that what takes the time of a call takes that of a search
        quilted(quilting, image[:1], seed=2)
        quilted(quilting, image.double(), seed=3)
        assert search.call_count == 4
        image[1, 2, 3, 4] += 0.25  # in place
        again = quilted(quilting, image, seed=4)
        assert search.call_count == 5
    assert torch.equal(again, quilted(Quilting(patches=database), image, seed=4))
    assert not torch.equal(first, other)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_become_the_nearest_patches(level):
    patches = np.concatenate([RANDOM, np.full((60, 75), level, np.float32)])
    image = torch.full((1, 3, 9, 9), level, requires_grad=True)
    seen = quilted(BPDA(transformation=Quilting(patches=held(patches))), image)
    assert torch.equal(seen, image)
    (gradient,) = torch.autograd.grad(seen.square().sum(), image)
    assert gradient.isfinite().all()


def test_what_it_needs_is_told_by_all_around_it():
    quilting = Quilting(patches=held())
    for part in (quilting, BPDA(transformation=quilting), TransformedClassifier(transformation=quilting)):
        required = part.requirements()
        assert required.resources == [quilting.patches]
        assert required.image
        assert required.database
    (copy,) = TransformedClassifier(transformation=quilting, draws=3).copies()
    assert copy.requirements().resources == [quilting.patches]
    assert copy.differentiable
    assert copy.random


def test_the_papers_numbers_are_the_defaults():
    quilting = Quilting()
    assert (quilting.patches.count, quilting.patches.size, quilting.overlap, quilting.k) == (1_000_000, 5, 2, 10)
    (printed,) = (line for line in lines() if line.row == "Image quilting")
    facts = of_rival(describe(TransformedClassifier(transformation=quilting)), printed)
    assert not [str(fact) for fact in facts if fact.differs]
    assert len(facts) == 8


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"k": 0}, "k: 0; 1 to the 500 patches"),
        ({"k": 501}, "k: 501; 1 to the 500 patches"),
        ({"overlap": 0}, "overlap: 0; 1 to 2, half of a patch"),
        ({"overlap": 3}, "overlap: 3; 1 to 2, half of a patch"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        Quilting(patches=held(), **wrong)


@pytest.mark.parametrize("sides", [(4, 9), (9, 4)])
def test_images_smaller_than_a_patch_are_refused(sides):
    with pytest.raises(UserError, match=rf"images from 5×5 pixels, a patch, not of {sides[0]}×{sides[1]}"):
        quilted(Quilting(patches=held()), torch.rand(1, 3, *sides))


def test_attackers_climb_averages_of_the_nearest_patches():
    image = torch.rand(2, 3, 7, 5, dtype=torch.float64)  # two patches of each, of which three rows are both's
    expected = np.zeros((2, 3, 7, 5))
    for quilt, one in zip(expected, image.numpy(), strict=True):
        for top in (0, 2):
            squared = np.square(RANDOM.astype(np.float64) - one[:, top : top + 5].reshape(75)).sum(axis=1)
            nearest = squared.argsort()[:20]
            weights = np.exp(-squared[nearest] / squared[nearest].mean())
            quilt[:, top : top + 5] += (weights / weights.sum() @ RANDOM[nearest]).reshape(3, 5, 5)
        quilt[:, 2:5] /= 2
    np.testing.assert_allclose(Quilting(patches=held()).near(image), expected, rtol=1e-5)


def test_their_gradient_is_along_what_tells_similar_patches_from_each_other():
    image = torch.rand(1, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    through = BPDA(transformation=Quilting(patches=held()))
    (found,) = torch.autograd.grad(quilted(through, image), image, towards)
    squared = np.square(RANDOM.astype(np.float64) - image.detach().numpy().reshape(75)).sum(axis=1)
    nearest = squared.argsort()[:20]
    weights = np.exp(-squared[nearest] / squared[nearest].mean())
    covariance = np.cov(RANDOM[nearest].T, aweights=weights, ddof=0)
    expected = 2 / squared[nearest].mean() * covariance @ towards.numpy().reshape(75)
    np.testing.assert_allclose(found.numpy().reshape(75), expected, rtol=1e-4)


def test_who_knows_it_leaves_far_less(classifier, data, gallery, tmp_path):
    database = PatchDatabase(count=4000, per_image=4)
    database.write(tmp_path, None, gallery)
    database.read(tmp_path)
    defense = TransformedClassifier(transformation=Quilting(patches=database))
    ids = torch.arange(30)
    image = torch.stack([data.image("queries", 0, row) for row in range(30)]).float() / 255
    with torch.no_grad():
        label = classifier(image).argmax(dim=1)

    @torch.no_grad()
    def accuracy(image):
        queries = (Query(image, classifier, randomness=Randomness(seed, ids)) for seed in range(1000, 1005))
        return sum((defense(query)[0].argmax(dim=1) == label).float().mean().item() for query in queries) / 5

    (copy,) = defense.copies()
    surrogate = WhiteBox(defense=copy).surrogate_defense(classifier, None)
    objective = EOT(objective=DefenseMargin(), draws=3, evaluations=10)
    (gray,) = PGD(steps=10)(classifier, image, label, ids, [0.25])
    (white,) = PGD(steps=10, objective=objective)(classifier, image, label, ids, [0.25], surrogate)
    assert accuracy(image) > 0.8
    assert accuracy(white) < 0.6 * accuracy(gray)
