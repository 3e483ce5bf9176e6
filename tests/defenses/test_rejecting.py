import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD, Square
from lit_knn.attacks.objectives import DefenseMargin, SoftKNN
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import (
    CBWD,
    KNN,
    UW,
    BitDepth,
    DeepKNN,
    FusedKNN,
    GridCrop,
    NoDefense,
    OtherClassifier,
    Query,
    Rejecting,
    TransformedClassifier,
    randomized,
)
from lit_knn.defenses.rejecting import AcceptedAnswer
from lit_knn.errors import UserError
from lit_knn.evaluation.metrics import hits
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.attacks.objectives.conftest import struck
from tests.conftest import TAPS


@pytest.fixture
def joined_gallery(database_path, classifier, data):
    return Database(path=database_path, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data, ["early+late"])[-1]


@pytest.fixture
def ready(classifier, joined_gallery, tmp_path):
    """Build and open what a defense needs."""

    def call(defense):
        for number, resource in enumerate(defense.requirements().resources):
            resource.build(tmp_path / str(number), classifier, joined_gallery)
            resource.open(tmp_path / str(number), joined_gallery)
        return defense

    return call


@pytest.fixture
def batch(data):
    found = data.on_after_batch_transfer(data.first_queries())
    noise = torch.Generator().manual_seed(0)
    return found | {"image": (found["image"] + 0.3 * torch.randn(found["image"].shape, generator=noise)).clamp(0, 1)}


@pytest.fixture
def asked(classifier, joined_gallery, batch):
    def call(defense):
        return defense(Query(batch["image"], classifier, joined_gallery, defense.needed))

    return call


def left_out(gallery, k, rows):
    """Softmax of the k nearest rows of each row but itself, and their mean distances, by NumPy in float64."""
    every = torch.arange(len(gallery))
    vectors, softmax = gallery.vectors("late", every).double().numpy(), gallery.predictions(every[None])[0][0].numpy()
    agreement, distance = [], []
    for row in rows:
        apart = np.linalg.norm(vectors - vectors[row], axis=1)
        apart[row] = np.inf
        near = np.argsort(apart, kind="stable")[:k]
        agreement.append(softmax[near].mean(0).max())
        distance.append(apart[near].mean())
    return {"agreement": np.array(agreement), "distance": -np.array(distance)}


@pytest.mark.parametrize("confidence", ["agreement", "distance"])
def test_thresholds_lines_and_counts_by_brute_force(ready, asked, batch, joined_gallery, confidence):
    inner, k = KNN(taps=["late"], k=[7, 3], weightings=[UW()]), [3, 7]
    defense = ready(Rejecting(defense=inner, confidence=confidence, keep=[0.9, 0.5], rows=2000))
    scores, label = asked(inner), batch["label"]
    sure = asked(inner).amax(2).numpy()
    if confidence == "distance":
        query = joined_gallery.search("late", _features(asked), 7)
        sure = -np.stack([query.distances[:, :number].double().mean(1).numpy() for number in k])
    known = {number: np.sort(left_out(joined_gallery, number, range(1297))[confidence]) for number in k}
    counted = hits(asked(defense), label, [1])[:, :, 0]  # (N, V)
    assert counted.shape[1] == len(defense.variants) == 8
    for column, variant in enumerate(defense.variants):
        line = k.index(variant.k)
        threshold = known[variant.k][1297 - int(np.ceil(variant.keep * 1297))]
        assert (known[variant.k] >= threshold).mean() >= variant.keep
        accepted = torch.from_numpy(sure[line] >= threshold * (1 - 1e-5 * np.sign(threshold)))
        right = scores[line].argmax(1) == label
        expected = accepted & right if variant.rejected == "wrong" else right | ~accepted
        assert (counted[:, column] == expected).float().mean() > 0.98, variant  # float32 against float64 at a border
        assert 0 < accepted.float().mean() < 1


def _features(asked):
    found = []

    class Spy(KNN):
        def __call__(self, query):
            found.append(query.features("late"))
            return super().__call__(query)

    asked(Spy(taps=["late"], k=[1]))
    return found[0]


@pytest.mark.parametrize("confidence", ["agreement", "distance"])
def test_several_taps(ready, asked, confidence):
    inner = FusedKNN(taps=["early", "late"], k=[5, 2], weightings=[UW(), CBWD()])
    strict, loose = (
        ready(Rejecting(defense=inner, confidence=confidence, keep=[keep], rows=200)) for keep in (0.5, 1.0)
    )
    assert [variant.tap for variant in strict.variants] == ["early+late"] * 24
    kept = [asked(defense)[::2].isfinite().all(dim=2).float().mean(dim=1) for defense in (strict, loose)]
    assert (kept[0] <= kept[1]).all()
    assert (kept[0] < 1).any()
    copies = strict.copies()
    assert len(copies) == 3
    for copy in copies:
        lines = [variant._replace(rejected="") for variant in strict.variants[::2]]
        place = lines.index(copy.variants[0])
        scores = asked(copy)[0]
        above = []
        copy_call = copy.acceptance
        asked(_Asker(copy, lambda query, scores: above.append(copy_call(query, scores, scores.argmin(1)))))  # noqa: B023
        accepted = asked(strict)[2 * place].isfinite().all(dim=1)
        assert scores.isfinite().all()
        assert ((above[0] > -1e-5) == accepted).all()


class _Asker:
    """Ask something else about the query of a defense."""

    def __init__(self, defense, ask):
        self.needed, self._defense, self._ask = defense.needed, defense, ask

    def __call__(self, query):
        self._ask(query, self._defense(query)[0])
        return self._defense(query)


def test_a_threshold_is_given_to_any_defense(asked, classifier, batch):
    given = Rejecting(defense=NoDefense(), threshold=0.9)
    assert given.requirements().resources == []
    assert str(given.variants[1]) == "rejecting by agreement 0.9, none rejected=right"
    exponential = asked(NoDefense())[0].double().exp()
    probability = exponential.amax(1) / exponential.sum(1)
    accepted = asked(given)[0].isfinite().all(dim=1)
    assert torch.equal(accepted, probability >= 0.9)
    assert 0 < accepted.float().mean() < 1
    assert randomized([given], classifier, batch["image"]) == []


def test_draws_are_as_sure_as_the_mean_of_their_softmax(asked, classifier, batch):
    crops = TransformedClassifier(transformation=GridCrop(size=0.7))
    with torch.no_grad():
        images = [crops.transformation(batch["image"], Randomness(0, batch["id"]).of("", draw)) for draw in range(9)]
        sure = torch.stack([classifier(image).softmax(1) for image in images]).mean(0).amax(1)
        query = Query(batch["image"], classifier, randomness=Randomness(0, batch["id"]))
        accepted = Rejecting(defense=crops, threshold=0.6)(query)[0].isfinite().all(dim=1)
    assert torch.equal(accepted, sure >= 0.6)
    assert 0 < accepted.float().mean() < 1


def test_who_attacks_a_network_that_rejects_raises_a_wrong_probability(classifier, batch):
    rejecting = Rejecting(defense=OtherClassifier(classifier=classifier), threshold=0.9)
    (copied,) = rejecting.copies()
    attacked = AttackTarget(
        classifier, batch["image"], batch["label"], batch["id"], SurrogateDefense(classifier, copied, None)
    )
    logits = classifier(batch["image"])
    true = torch.nn.functional.one_hot(batch["label"], 10).bool()
    wrong = logits.softmax(1)[~true].view(-1, 9).amax(1)
    margin = logits[~true].view(-1, 9).amax(1) - logits[true]
    expected = torch.minimum(margin, wrong / 0.9 - 1)
    torch.testing.assert_close(DefenseMargin().bind(attacked)(batch["image"]), expected)


def test_deep_knn_rejects_by_credibility(asked, classifier, joined_gallery, tmp_path):
    deep = DeepKNN(taps=["early", "late"], k=5, calibration=200)
    deep.calibration.build(tmp_path / "deep", classifier, joined_gallery)
    deep.calibration.open(tmp_path / "deep", joined_gallery)
    defense = Rejecting(defense=deep, threshold=0.1)
    assert defense.requirements().labels
    credible = []
    asked(_Asker(deep, lambda query, _: credible.append(deep.credibility(query))))
    accepted = asked(defense)[0].isfinite().all(dim=1)
    assert 0 < accepted.float().mean() < 1
    assert (accepted == (credible[0] >= 0.1 - 1 / 400)).float().mean() > 0.95  # ties are decided by less than 1 / 400


@pytest.mark.parametrize("confidence", ["agreement", "distance"])
def test_attackers_are_wrong_and_accepted(classifier, data, joined_gallery, ready, confidence):
    inner = KNN(taps=["late"], k=[5], weightings=[CBWD()])
    defense = ready(Rejecting(defense=inner, confidence=confidence, keep=[0.95], rows=500))
    (threat,) = WhiteBox().against([defense])
    assert threat.name == f"white_box rejecting by {confidence}, kNN late K=5 CBW-D soft keep=0.95"
    assert threat.transfers([defense])  # whose answer alone ends no attack
    batch = data.on_after_batch_transfer(data.first_queries())

    def robust(copied, attack):
        copy = SurrogateDefense(classifier, copied, joined_gallery)
        attacked = AttackTarget(classifier, batch["image"], batch["label"], batch["id"], copy)
        assert attack.objective.fits(copied, gradient=not attack.gradient_free)
        found = struck(attack, attacked, 0.3)
        query = Query(found, classifier, joined_gallery, defense.needed)
        return float(hits(defense(query), batch["label"], [1])[:, 1, 0].float().mean())

    aware = robust(threat.defense, PGD(steps=30, objective=SoftKNN()))
    assert aware <= 0.1
    assert aware <= robust(inner, PGD(steps=30, objective=SoftKNN()))
    assert robust(threat.defense, Square(queries=5)) <= 1


@pytest.mark.parametrize("inner", [{"taps": ["early"]}, {"taps": ["early", "late"], "fusion": ["votes"]}])
def test_who_has_to_stay_near_is_wrong_as_often_as_who_has_not(classifier, data, joined_gallery, ready, inner):
    """A distance that is nearly used up must not hold back a margin that is measured in other units."""
    batch = data.on_after_batch_transfer(data.first_queries())
    plain = (FusedKNN if "fusion" in inner else KNN)(**inner, weightings=[CBWD()])
    (copied,) = ready(Rejecting(defense=plain, confidence="distance", rows=500)).copies()
    wrong = {}
    for copy in (plain, copied):
        attacked = AttackTarget(
            classifier, batch["image"], batch["label"], batch["id"], SurrogateDefense(classifier, copy, joined_gallery)
        )
        found = struck(PGD(steps=20, objective=SoftKNN()), attacked, 0.15)
        query = Query(found, classifier, joined_gallery, copied.needed)
        scores = plain(query)[0]
        answers = scores.argmax(1) != batch["label"]
        near = copied.acceptance(query, scores, batch["label"]) >= 0
        wrong[copy] = [float(part.float().mean()) for part in (answers, answers & near)]
    assert wrong[copied][0] >= wrong[plain][0] - 0.02, wrong
    assert wrong[copied][1] >= wrong[plain][1], wrong


def test_who_is_right_and_unsure_climbs_a_wrong_answer_and_not_its_own(classifier, data, joined_gallery, ready):
    """The threshold is all of the votes: what rises is the share of a wrong class, by search as by gradient."""
    inner = KNN(taps=["late"], k=[50], weightings=[UW()])
    (copied,) = Rejecting(defense=inner, threshold=1.0).copies()
    batch = data.on_after_batch_transfer(data.first_queries())
    copy = SurrogateDefense(classifier, copied, joined_gallery)
    attacked = AttackTarget(classifier, batch["image"], batch["label"], batch["id"], copy)
    before = copy.scores(batch["image"])
    right = before.argmax(1) == batch["label"]
    value = DefenseMargin().bind(attacked)(batch["image"])
    wrong = before.scatter(1, batch["label"][:, None], -torch.inf).amax(1)
    true = before.gather(1, batch["label"][:, None])[:, 0]
    torch.testing.assert_close(value, torch.minimum(wrong - true, wrong - 1))
    found = struck(PGD(steps=10, objective=SoftKNN()), attacked, 0.1)
    after = copy.scores(found).gather(1, batch["label"][:, None])[:, 0]
    assert (after < true)[right].float().mean() > 0.8


@pytest.mark.parametrize("wrong", [{"keep": []}, {"keep": [0]}, {"keep": [1.1]}, {"keep": [0.5, 0.5]}, {"rows": 0}])
def test_settings(wrong):
    with pytest.raises(UserError, match="Rejecting has keep: "):
        Rejecting(defense=KNN(taps=["late"]), **wrong)
    for threshold, settings in ((9, {}), (0, {}), (0.5, {"confidence": "distance"})):
        with pytest.raises(UserError, match=f"Rejecting has threshold: {threshold} of "):
            Rejecting(defense=KNN(taps=["late"]), threshold=threshold, **settings)
    with pytest.raises(UserError, match="Rejecting has confidence: 'entropy'"):
        Rejecting(defense=KNN(taps=["late"]), confidence="entropy")
    for settings in ({}, {"threshold": -0.5, "confidence": "distance"}):
        with pytest.raises(UserError, match="Rejecting has defense: TransformedClassifier, which takes a threshold"):
            Rejecting(defense=TransformedClassifier(transformation=BitDepth()), **settings)
    rejecting = Rejecting(defense=KNN(taps=["late"], k=[5]), threshold=0.5)
    with pytest.raises(UserError, match="one that always answers is accepted"):
        Rejecting(defense=rejecting, threshold=0.5)
    assert AcceptedAnswer(rejecting=rejecting).variants[0].weighting == "CBW-D"
    for settings in ({"keep": 0.5}, {"defense": KNN(taps=["late"], k=[5])}, {"defense": NoDefense()}):
        with pytest.raises(UserError, match="one share and one variant of the defense that rejects"):
            AcceptedAnswer(rejecting=rejecting, **settings)
