"""What every defense of the package keeps; a new one is found by itself."""

import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, BitDepth, Defense, Query, Rejecting
from lit_knn.randomness import Randomness
from tests.conformance import examples
from tests.conftest import SURROGATE, TAPS

DEFENSES = examples(
    Defense,
    {
        "TransformedClassifier": {"transformation": BitDepth()},
        "KNN": {"taps": ["early", "late"], "k": [1, 5]},
        "DeepKNN": {"taps": ["early", "late"], "k": 5, "calibration": 100},
        "RACNN": {"tap": "late", "k": 5, "layer": "layer3.1.add"},
        "FusedKNN": {"taps": ["early", "late"], "k": [1, 5]},
        "RandomDatabase": {"defense": KNN(taps=["early"], k=[5]), "share": 0.3, "draws": 2},
        "Rejecting": {"defense": KNN(taps=["early"], k=[5]), "threshold": 0.8},
        "AcceptedAnswer": {"rejecting": Rejecting(defense=KNN(taps=["early"], k=[5]), threshold=0.8)},
        "OtherClassifier": {"classifier": Classifier(**SURROGATE)},
    },
)


@pytest.fixture
def gallery(database_path, classifier, data):
    """The database, which an exact scan searches: taps side by side, too."""
    database = Database(path=database_path, taps=[Tap(**tap) for tap in TAPS])
    return database.open(classifier, data, ["early+late"])[-1]


@pytest.fixture
def answer(classifier, gallery, tmp_path):
    @torch.no_grad()
    def call(defense, image, ids):
        for resource in defense.requirements().resources:
            if not (folder := tmp_path / resource.name).exists():
                resource.build(folder, classifier, gallery)
                resource.open(folder, gallery)
        drawn = Randomness(0, ids)  # the same for an image in any batch
        return defense(Query(image, classifier, gallery if defense.needed else None, defense.needed, randomness=drawn))

    return call


@pytest.mark.parametrize("name", DEFENSES)
def test_it_scores_each_class_for_each_of_its_variants_whatever_the_batch(name, data, answer):
    defense, batch = DEFENSES[name], data.on_after_batch_transfer(data.first_queries())
    image, ids = batch["image"][:12], batch["id"][:12]
    kept = image.clone()
    together = answer(defense, image, ids)
    assert together.shape == (len(defense.variants), 12, 10)
    assert together.is_floating_point()
    assert name == "Rejecting" or together.isfinite().all()  # infinite where it does not answer
    assert len(set(defense.variants)) == len(defense.variants)
    assert torch.equal(image, kept)
    if name != "Rejecting":
        sure = defense.agreement(together)
        assert (sure >= 0).all()
        assert (sure <= 1 + 1 / 200).all()  # of deep k-NN half of an image of its calibration set decides between ties
        assert torch.equal(sure.argmax(dim=2), together.argmax(dim=2))
    apart = torch.cat([answer(defense, image[[row]], ids[[row]]) for row in range(12)], dim=1)
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-4)
