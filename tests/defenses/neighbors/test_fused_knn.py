import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import CBWD, CBWE, KNN, UW, FusedKNN, Query, Similarity, Variant
from lit_knn.defenses.neighbors.fused_knn import first_of_each
from lit_knn.errors import UserError
from tests.conftest import TAPS

BOTH = ["early", "late"]


@pytest.fixture
def joined_gallery(database_path, classifier, data):
    return Database(path=database_path, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data, ["early+late"])[-1]


@pytest.fixture
def asked(classifier, data, joined_gallery):
    """Ask a defense about attacked-looking digits."""
    image = data.on_after_batch_transfer(data.first_queries())["image"][:20]
    noise = torch.Generator().manual_seed(0)
    image = (image + 0.3 * torch.randn(image.shape, generator=noise)).clamp(0, 1)

    def call(defense, rows=slice(None)):
        return defense(Query(image[rows], classifier, joined_gallery, defense.needed))

    return call


def by_hand(asked, gallery, fusion, k, weights, hard):
    """Scores by NumPy in float64: brute force over all rows, one query at a time."""
    every = torch.arange(len(gallery))
    rows = {tap: gallery.vectors(tap, every).double().numpy() for tap in BOTH}
    seen = {}

    class Spy(KNN):
        def __call__(self, query):
            seen.update({tap: query.features(tap).double().numpy() for tap in BOTH})
            return super().__call__(query)

    asked(Spy(taps=BOTH, k=[1], weightings=[UW()]))
    probability = gallery.predictions(every[None]).probability[0].double().numpy()
    length = {tap: np.sqrt(gallery.projections[tap].variances.double().sum().item()) for tap in BOTH}
    ballots = np.eye(10)[probability.argmax(1)] if hard else probability
    scores = []
    for n in range(len(seen["late"])):
        squared = {tap: ((rows[tap] - seen[tap][n]) ** 2).sum(1) for tap in BOTH}
        near = {tap: np.argsort(squared[tap], kind="stable")[:k].tolist() for tap in BOTH}
        if fusion == "features":
            total = sum(squared[tap] / length[tap] ** 2 for tap in BOTH)
            sets = [np.argsort(total, kind="stable")[:k].tolist()]
        else:
            sets = [near["early"], near["late"]] if fusion == "votes" else [sorted({*near["early"], *near["late"]})]
        scores.append(
            np.mean([np.average(ballots[chosen], axis=0, weights=weights[chosen]) for chosen in sets], axis=0)
        )
    return np.stack(scores)


@pytest.mark.parametrize("combination", ["soft", "hard"])
@pytest.mark.parametrize("weighting", [UW(), CBWE(), CBWD()])
@pytest.mark.parametrize("fusion", ["votes", "neighbors", "features"])
def test_brute_force_in_float64(asked, joined_gallery, fusion, weighting, combination):
    every = torch.arange(len(joined_gallery))[None]
    column = {"UW": "", "CBW-E": "cbw_e", "CBW-D": "cbw_d"}[weighting.name]
    weights = joined_gallery.weights(column, every)[0].double().numpy() if column else np.ones(len(joined_gallery))
    defense = FusedKNN(taps=BOTH, fusion=[fusion], k=[12, 5], weightings=[weighting], combinations=[combination])
    for scores, k in zip(asked(defense), [5, 12], strict=True):
        expected = by_hand(asked, joined_gallery, fusion, k, weights, combination == "hard")
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_similarity_goes_by_the_features_side_by_side(asked, joined_gallery):
    """Each nearest row of a tap has the weight exp(−d²/T) of its distance side by side."""
    weighting = Similarity(similarity="euclidean", temperature=0.5)
    united = asked(FusedKNN(taps=BOTH, fusion=["neighbors"], k=[len(joined_gallery)], weightings=[weighting]))
    beside = asked(FusedKNN(taps=BOTH, fusion=["features"], k=[len(joined_gallery)], weightings=[weighting]))
    torch.testing.assert_close(united, beside, rtol=1e-4, atol=1e-5)  # where all rows are found, both are the same


def test_lines_requirements_and_their_order(asked):
    defense = FusedKNN(taps=BOTH, k=[5, 3], combinations=["hard", "soft"])
    assert defense.variants[0] == Variant("fused votes", "early+late", 3, "UW", "hard")
    assert [str(variant) for variant in defense.variants[-1:]] == ["fused features early+late K=5 CBW-D soft"]
    assert len(set(defense.variants)) == 3 * 2 * 2 * 3
    assert defense.needed == {"early": 5, "late": 5, "early+late": 5}
    assert defense.requirements().joined == ("early+late",)
    votes = defense.by("votes")
    assert votes.needed == {"early": 5, "late": 5}
    assert votes.requirements().joined == ()
    assert FusedKNN(taps=BOTH, fusion=["features"]).needed == {"early+late": 50}
    together = asked(defense)
    assert torch.equal(torch.cat([asked(defense.by(fusion)) for fusion in defense.fusion]), together)


def test_each_fusion_is_copied_with_what_the_results_put_first():
    copies = FusedKNN(taps=BOTH, k=[5, 9], weightings=[UW(), CBWD()], combinations=["hard", "soft"]).copies()
    assert [copy.variants for copy in copies] == [
        [Variant(f"fused {fusion}", "early+late", 9, "CBW-D", "soft")] for fusion in ("votes", "neighbors", "features")
    ]


def test_a_knn_may_name_taps_side_by_side(asked):
    one = KNN(taps=["early+late"], k=[5])
    assert one.requirements().joined == ("early+late",)
    assert torch.equal(asked(one), asked(FusedKNN(taps=BOTH, fusion=["features"], k=[5])))


def test_a_row_counts_once_where_it_is_named_first():
    ids = torch.tensor([[[4, 7, 9], [7, 4, 2]], [[0, 1, 2], [0, 1, 2]]])
    of = {k: first_of_each(ids, torch.arange(3) < k).tolist() for k in (1, 2, 3)}
    assert of[1] == [[True, False, False, True, False, False], [True, False, False, False, False, False]]
    assert of[2] == [[True, True, False, False, False, False], [True, True, False, False, False, False]]
    assert of[3] == [[True, True, True, False, False, True], [True, True, True, False, False, False]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"taps": ["late"]},
        {"taps": ["late", "late"]},
        {"fusion": []},
        {"fusion": ["votes", "votes"]},
        {"fusion": ["sum"]},
    ],
)
def test_settings(wrong):
    with pytest.raises(UserError, match="FusedKNN has taps: "):
        FusedKNN(**{"taps": BOTH, **wrong})
