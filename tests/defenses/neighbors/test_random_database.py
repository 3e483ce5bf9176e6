import numpy as np
import pytest
import torch
from scipy.stats import binom

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import DefenseMargin, SoftKNN
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, UW, BitDepth, FusedKNN, Query, RandomDatabase, TransformedClassifier, Variant
from lit_knn.defenses.neighbors.random_database import numbers
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.attacks.objectives.conftest import struck
from tests.conftest import TAPS

INNER = [KNN(taps=["late"], k=[5]), FusedKNN(taps=["early", "late"], fusion=["votes"], k=[5])]


@pytest.fixture
def joined_gallery(database_path, classifier, data):
    return Database(path=database_path, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data, ["early+late"])[-1]


@pytest.fixture
def asked(classifier, data, joined_gallery):
    """Ask a defense about digits that noise has moved, in float64: batches do not differ in rounding."""
    batch = data.on_after_batch_transfer(data.first_queries())
    noise = torch.Generator().manual_seed(0)
    image = (batch["image"] + 0.3 * torch.randn(batch["image"].shape, generator=noise)).clamp(0, 1).double()
    network = classifier.double()

    def call(defense, rows=slice(0, 20), seed=0):
        drawn = Randomness(seed, batch["id"][rows])
        return defense(Query(image[rows], network, joined_gallery, defense.needed, randomness=drawn))

    return call


def splitmix(rows, key):
    """Numbers of rows ``(M,)`` by NumPy, whose uint64 wrap around."""
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2**53


def test_numbers_are_those_of_splitmix():
    keys, rows = torch.tensor([0, 5, 2**62 - 1]), torch.tensor([[0, 1, 9], [7, 7, 0], [2**40, 3, 1]])
    expected = np.stack([splitmix(row.numpy(), key) for row, key in zip(rows, keys.tolist(), strict=True)])
    assert np.array_equal(numbers(rows, keys).numpy(), expected)
    assert (
        numbers(torch.tensor([[0]]), torch.tensor([1234567])).item() == 6457827717110365317 // 2**11 / 2**53
    )  # Vigna's
    many = numbers(torch.arange(100_000)[None], torch.tensor([3]))[0]
    assert abs(float(many.mean()) - 0.5) < 0.004
    assert abs(float(np.corrcoef(many[:-1], many[1:])[0, 1])) < 0.01


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_brute_force_over_the_rows_of_each_query(asked, joined_gallery, data, share):
    defense = RandomDatabase(defense=KNN(taps=["late"], k=[2, 7], weightings=[UW()]), share=share)
    scores = asked(defense)
    ids = data.on_after_batch_transfer(data.first_queries())["id"][:20]
    keys = Randomness(0, ids).of("database").integers(2**62).tolist()
    every = torch.arange(len(joined_gallery))
    rows, softmax = joined_gallery.vectors("late", every).numpy(), joined_gallery.predictions(every[None])[0][0].numpy()
    features = []
    asked(_Spy(features))
    for n, key in enumerate(keys):
        mine = np.flatnonzero(splitmix(every.numpy(), key) < share)
        distance = np.linalg.norm(features[0][n].numpy() - rows[mine], axis=1)
        near = mine[np.argsort(distance, kind="stable")]
        for line, k in enumerate((2, 7)):
            np.testing.assert_allclose(scores[line, n], softmax[near[:k]].mean(0), rtol=1e-4, atol=1e-6)


class _Spy(KNN):
    def __init__(self, found):
        super().__init__(taps=["late"], k=[1])
        self._found = found

    def __call__(self, query):
        self._found.append(query.features("late"))
        return super().__call__(query)


def test_too_few_that_are_left_are_looked_for_deeper(asked, monkeypatch):
    """However few of the nearest are left: the answer is the same."""
    for inner in (KNN(taps=["late"], k=[5]), FusedKNN(taps=["early", "late"], k=[3])):
        defense = RandomDatabase(defense=inner, share=0.2)
        expected = asked(defense)
        shallow = type(defense.requirements())(
            neighbors=dict.fromkeys(inner.needed, 6), image=False, joined=inner.requirements().joined
        )
        monkeypatch.setattr(RandomDatabase, "requirements", lambda self, shallow=shallow: shallow)
        assert torch.equal(asked(defense), expected)
        monkeypatch.undo()


def test_a_part_of_fewer_rows_than_neighbors_gets_the_next(asked, joined_gallery, data, monkeypatch):
    defense = RandomDatabase(defense=KNN(taps=["late"], k=[5], weightings=[UW()]), share=1e-9)
    monkeypatch.setattr(
        RandomDatabase, "requirements", lambda self: type(super(RandomDatabase, self).requirements())({"late": 5})
    )
    scores = asked(defense)
    ids = data.on_after_batch_transfer(data.first_queries())["id"][:20]
    every = torch.arange(len(joined_gallery))
    softmax = joined_gallery.predictions(every[None])[0][0]
    for n, key in enumerate(Randomness(0, ids).of("database").integers(2**62).tolist()):
        nearest = torch.from_numpy(np.argsort(splitmix(every.numpy(), key))[:5].copy())
        torch.testing.assert_close(scores[0, n], softmax[nearest].mean(0))


def test_one_image_has_its_own_database_in_any_batch_and_another_in_each_evaluation(asked):
    defense = RandomDatabase(defense=FusedKNN(taps=["early", "late"], k=[3, 5]), share=0.3, draws=2)
    together = asked(defense, slice(0, 12))
    assert torch.equal(torch.cat([asked(defense, [row]) for row in range(12)], dim=1), together)
    assert not torch.equal(asked(defense, slice(0, 12), seed=1), together)
    once = RandomDatabase(defense=defense.defense, share=0.3)
    assert not torch.equal(asked(once, slice(0, 12)), together)


def test_on_average_a_row_is_a_neighbor_as_the_binomial_distribution_says(asked, joined_gallery):
    """What attackers climb: the mean over all databases, from the ranking of all rows."""
    k, share, draws = 4, 0.25, 3000
    defense = RandomDatabase(defense=KNN(taps=["late"], k=[k], weightings=[UW()]), share=share, draws=draws)
    scores = asked(defense, slice(0, 3))[0]
    features = []
    asked(_Spy(features), slice(0, 3))
    ids = joined_gallery.search("late", features[0], 200).ids
    rank = np.arange(200)  # r − 1
    chance = torch.from_numpy(share * binom.cdf(k - 1, rank, share)).float()
    expected = (chance[None, :, None] * joined_gallery.predictions(ids)[0]).sum(1) / k
    torch.testing.assert_close(scores.float(), expected, rtol=0, atol=4 * 0.5 / draws**0.5)
    assert defense.reach == 16
    assert chance[:16].sum() / k > 0.8


def test_lines_copies_and_what_is_asked_for():
    defense = RandomDatabase(defense=KNN(taps=["early", "late"], k=[50], weightings=[UW()]), share=0.1)
    assert defense.variants[0] == Variant("random 0.1 of rows, kNN", "early", 50, "UW", "soft")
    assert defense.needed == {"early": 863, "late": 863}
    assert not defense.uses_image
    assert [copy.variants for copy in defense.copies()] == [[variant] for variant in defense.variants]
    named = RandomDatabase(defense=defense.defense, draws=3, name="obfuscated")
    assert named.variants[0].defense == "obfuscated kNN"
    assert [copy.draws for copy in named.copies()] == [3, 3]
    assert RandomDatabase(defense=defense.defense, draws=3).variants[0].defense == "random 0.5 of rows ×3, kNN"


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1}, {"draws": 0}])
def test_settings(wrong):
    with pytest.raises(UserError, match="RandomDatabase has share: "):
        RandomDatabase(defense=KNN(taps=["late"]), **wrong)
    with pytest.raises(UserError, match="RandomDatabase has defense: TransformedClassifier; KNN and FusedKNN"):
        RandomDatabase(defense=TransformedClassifier(transformation=BitDepth()))


@pytest.mark.parametrize(
    "inner", [KNN(taps=["late"], k=[5]), FusedKNN(taps=["early", "late"], fusion=["votes"], k=[5])]
)
def test_it_hides_nothing_from_who_knows_the_database(classifier, data, joined_gallery, inner):
    """The soft vote of K / share neighbors, climbed at a size that leaves nothing of a kNN."""
    batch = data.on_after_batch_transfer(data.first_queries())
    defense = RandomDatabase(defense=inner, share=0.25)
    (threat,) = WhiteBox().against([defense])
    assert threat.transfers([defense])
    assert threat.beside == []
    copy = SurrogateDefense(classifier, threat.defense, joined_gallery)
    assert SoftKNN().fits(copy.defense, gradient=True)
    assert copy.k == 20
    attacked = AttackTarget(classifier, batch["image"], batch["label"], batch["id"], copy)
    found = struck(PGD(steps=20, objective=SoftKNN()), attacked, 0.3)
    attacked.draw_from(Randomness(5, batch["id"]).of("the defender's"))
    assert float((DefenseMargin().bind(attacked)(found) <= 0).float().mean()) <= 0.1
