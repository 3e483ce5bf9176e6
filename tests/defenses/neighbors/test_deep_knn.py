import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import SoftKNN, TargetCentroid
from lit_knn.database import StoredGallery
from lit_knn.defenses import DeepKNN, Query, Rejecting, Variant
from lit_knn.errors import UserError
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

TAPS = ["early", "late"]


@pytest.fixture
def batch(data):
    return data.on_after_batch_transfer(data.first_queries())


@pytest.fixture
def ready(classifier, gallery, tmp_path):
    """Build what a defense needs from the database, and open it."""

    def call(defense, database=gallery):
        (resource,) = defense.requirements().resources
        resource.build(tmp_path / resource.name, classifier, database)
        resource.open(tmp_path / resource.name, database)
        return defense

    return call


def votes(gallery, features, tap, k, leave_out=None):
    """Labels of the nearest rows by brute force, ``(N, C)`` counts."""
    rows = gallery.vectors(tap, gallery.ids).double()
    distance = torch.cdist(features.double(), rows, compute_mode="donot_use_mm_for_euclid_dist")
    if leave_out is not None:
        distance[torch.arange(len(features)), leave_out] = torch.inf
    near = gallery.labels(gallery.ids[distance.argsort(dim=1, stable=True)[:, :k]]).numpy()
    return np.stack([np.bincount(row, minlength=10) for row in near])


def test_p_values_are_those_of_a_brute_force_calibration(ready, gallery, classifier, batch):
    defense, k, size = ready(DeepKNN(taps=TAPS, k=7, calibration=200, seed=3)), 7, 200
    chosen = np.sort(np.random.RandomState(3).permutation(len(gallery))[:size])
    own = gallery.labels(torch.from_numpy(chosen))[:, None]
    against = 0
    for tap in TAPS:
        features = gallery.vectors(tap, torch.from_numpy(chosen))
        against += k - np.take_along_axis(votes(gallery, features, tap, k, chosen), own.numpy(), 1)[:, 0]
    calibrated = np.sort(against)

    query = Query(batch["image"], classifier, gallery, defense.needed)
    mine = 2 * k - sum(votes(gallery, query.features(tap), tap, k) for tap in TAPS)  # (N, C)
    assert np.array_equal(defense.nonconformity(query), mine)
    p_values = (calibrated >= mine[..., None]).mean(-1)
    scores = defense(query)[0].numpy()
    assert np.abs(scores - p_values).max() <= 1 / (2 * size)
    assert ((scores[:, :, None] > scores[:, None]) == (mine[:, :, None] < mine[:, None])).all()  # ties go by support
    np.testing.assert_allclose(defense.credibility(query), p_values.max(1), atol=1e-12)
    np.testing.assert_allclose(defense.confidence(query), 1 - np.sort(p_values, 1)[:, -2], atol=1e-12)


def test_credibility_is_calibrated_and_falls_under_noise(ready, gallery, classifier, data):
    """Of clean queries, at most about a tenth have a true class less like the others' than a tenth of the rows."""
    defense = ready(DeepKNN(taps=TAPS, k=20, calibration=400))
    batches = [data.on_after_batch_transfer(batch) for batch in data.test_dataloader()]
    image, label = (torch.cat([batch[name] for batch in batches]) for name in ("image", "label"))
    query = Query(image, classifier, gallery, defense.needed)
    p_value = defense.calibration.p_values(defense.nonconformity(query)).gather(1, label[:, None])
    assert (p_value < 0.1).double().mean() < 0.2
    assert (defense(query)[0].argmax(1) == label).double().mean() > 0.9
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    other = Query((image + 2 * noise) / 3, classifier, gallery, defense.needed)
    assert defense.credibility(other).mean() < 0.5 * defense.credibility(query).mean()


def test_attackers_who_know_it_leave_nothing(ready, gallery, classifier, batch):
    defense = ready(DeepKNN(taps=TAPS, k=10, calibration=200))
    itself, vote = defense.copies()
    assert itself is defense
    assert vote.variants == [Variant("fused votes", "early+late", 10, "UW", "soft")]
    assert DeepKNN(taps=["late"], k=3).copies()[1].variants == [Variant("kNN", "late", 3, "UW", "soft")]
    image, label = batch["image"], batch["label"]
    scores = SurrogateDefense(classifier, itself, gallery).scores
    left = scores(image).argmax(1) == label
    held = SurrogateDefense(classifier, vote, gallery)
    for objective in (SoftKNN(), TargetCentroid()):
        attacked = next(PGD(steps=20, objective=objective)(classifier, image, label, batch["id"], [0.3], held))
        left &= scores(attacked).argmax(1) == label
    assert not left.any()


def test_rejection_by_credibility_is_attacked_by_the_vote_as_well(ready, gallery, classifier, batch):
    defense = ready(DeepKNN(taps=TAPS, k=10, calibration=200))
    rejecting = Rejecting(defense=defense, threshold=0.05)
    accepted, vote = rejecting.copies()
    assert accepted.defense is defense
    assert vote.variants == [Variant("fused votes", "early+late", 10, "UW", "soft")]

    image, label = batch["image"], batch["label"]

    def lines(image):
        return rejecting(Query(image, classifier, gallery, defense.needed)).argmax(2) == label

    answered_rightly, _ = lines(image)
    assert answered_rightly.float().mean() > 0.8
    held = SurrogateDefense(classifier, vote, gallery)
    fooled = torch.zeros_like(label, dtype=torch.bool)
    for objective in (SoftKNN(), TargetCentroid()):
        attacked = next(PGD(steps=20, objective=objective)(classifier, image, label, batch["id"], [0.4], held))
        query = Query(attacked, classifier, gallery, defense.needed)
        fooled |= (defense(query)[0].argmax(1) != label) & (defense.credibility(query) > 0.05)
    assert fooled.float().mean() > 0.9


class Unlabeled(StoredGallery):
    """Some rows have no label."""

    def labels(self, ids):
        return super().labels(ids).masked_fill(ids % 7 == 0, -1)


def test_every_row_needs_a_label(gallery, classifier, tmp_path):
    some = Unlabeled(**{name: getattr(gallery, name) for name in gallery.__dataclass_fields__})
    sentence = r"but 186 of 1,297 rows have none: .* fewer labels than rows, or some that are none of .* 10 classes$"
    with pytest.raises(UserError, match=sentence):
        DeepKNN(taps=["late"], k=3).calibration.write(tmp_path, classifier, some)
    assert DeepKNN(taps=["late"]).requirements().labels


def test_a_small_database(gallery, classifier, ready):
    few = gallery.view(0, 8)
    with pytest.raises(UserError, match="looks for 8 neighbors of a row beside itself, but the database has 8 rows"):
        ready(DeepKNN(taps=["late"], k=8), few)
    assert ready(DeepKNN(taps=["late"], k=7), few).calibration.size == 8


def test_a_row_is_left_out_though_copies_of_it_come_first(gallery, classifier, ready, monkeypatch):
    vectors = StoredGallery.vectors
    monkeypatch.setattr(StoredGallery, "vectors", lambda self, tap, ids: vectors(self, tap, ids) * 0 + 100)
    assert ready(DeepKNN(taps=["late"], k=3, calibration=50)).calibration.size == 50


def test_its_line_and_what_it_depends_on():
    defense = DeepKNN(taps=TAPS, k=9)
    assert defense.variants == [Variant("DkNN", "early+late", 9)]
    assert defense.needed == {"early": 9, "late": 9}
    assert not defense.uses_image
    assert not defense.differentiable
    names = {DeepKNN(taps=taps, k=k).calibration.name for taps in (["a"], ["a", "b"]) for k in (1, 2)}
    assert len(names) == 4  # each in a folder of its own


@pytest.mark.parametrize("wrong", [{"taps": []}, {"taps": ["a", "a"]}, {"k": 0}, {"calibration": 0}, {"seed": -1}])
def test_bad_arguments(wrong):
    with pytest.raises(UserError, match="DeepKNN"):
        DeepKNN(**({"taps": ["a"]} | wrong))
