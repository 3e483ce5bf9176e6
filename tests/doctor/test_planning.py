import pytest

from lit_knn.attacks import CWL2, FMN, PGD, Square
from lit_knn.attacks.objectives import EOT, DefenseMargin, FeatureSpace
from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, BitDepth, NoDefense, OtherClassifier, RandomCrop, TransformedClassifier
from lit_knn.doctor.planning import plan
from lit_knn.evaluation.cache import ActivationCache
from lit_knn.evaluation.module import Evaluation
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.conftest import SURROGATE, TAPS

CROPS = TransformedClassifier(transformation=RandomCrop(size=0.5), draws=30)


@pytest.fixture
def make(classifier, tmp_path):
    def make(*defenses, rows=None, images=False, cache=True, network=None, **options):
        options = {"attacks": [PGD(steps=3)], "deltas": [0.1, 0.2], **options}
        return Evaluation(
            classifier=network or classifier,
            defenses=list(defenses) or [KNN(taps=["early"])],
            database=Database(path=tmp_path / "none", taps=[Tap(**tap) for tap in TAPS], rows=rows),
            cache=ActivationCache(path=tmp_path / "cache" if cache else None, images=images),
            **options,
        )

    return make


def attacked(planned):
    return sum(part.forward + 2 * part.both for part in planned.attacks)


def test_a_test_attacks_in_each_case_at_each_size_and_shows_what_it_has_to_the_network(make, classifier):
    boxes = [GrayBox(), BlackBox(surrogates=[Classifier(**SURROGATE)])]
    planned = plan(make(threats=boxes, attacks=[PGD(steps=3, restarts=2), PGD(steps=5, name="more")]), kept={})
    assert planned.observed == 1 + 2 * 2 * 2
    assert [part.both for part in planned.attacks] == [12, 10, 12, 10]
    assert [part.network is classifier for part in planned.attacks] == [True, True, False, False]
    assert planned.passes == 9 + 2 * 44
    assert planned.shape == (4, 3, 3)


def test_what_a_test_before_has_left_is_not_done_again(make):
    kept = {}
    first = plan(make(KNN(taps=["early", "late"])), kept=kept)
    assert (first.observed, attacked(first)) == (3, 12)
    again = plan(make(KNN(taps=["late"], k=[1, 3]), rows=[0.1, None], attacks=[PGD(steps=3, name="x")]), kept=kept)
    assert (again.observed, again.attacks, again.cells) == (0, [], [])
    more = plan(make(deltas=[0.1, 0.3]), kept=kept)
    assert (more.observed, attacked(more), [cell.new for cell in more.cells]) == (1, 6, [True])


@pytest.mark.parametrize(
    "other",
    [
        {"cache": False},
        {"attacks": [PGD(steps=4)]},
        {"network": Classifier(**SURROGATE)},
        {"norm": "linf"},
        {"cascade": True},
    ],
)
def test_nothing_is_shared_with_another_cache_attack_network_norm_or_a_cascade(make, other):
    kept = {}
    plan(make(), kept=kept, run="first")
    found = plan(make(**other), kept=kept, run="second")
    assert attacked(found) == attacked(plan(make(**other), kept={})) > 0
    assert found.cascade is ("cascade" in other)


def test_nothing_is_shared_by_other_queries_or_precisions(make):
    kept = {}
    plan(make(), kept=kept, queries="200", precision="32-true")
    assert attacked(plan(make(), kept=kept, queries="1000", precision="32-true")) == 12
    assert attacked(plan(make(), kept=kept, queries="200", precision="bf16-mixed")) == 12
    assert attacked(plan(make(), kept=kept, queries="200", precision="32-true")) == 0


@pytest.mark.parametrize(("images", "again"), [(False, 12), (True, 0)])
def test_a_column_that_is_missing_takes_the_attacks_again_unless_images_are_kept(make, images, again):
    kept = {}
    plan(make(KNN(taps=["early"]), images=images), kept=kept)
    looking = TransformedClassifier(transformation=BitDepth())
    found = plan(make(looking, KNN(taps=["early"]), images=images), kept=kept)
    assert attacked(found) == again
    assert found.observed == 3
    assert [len(cell.columns) for cell in found.cells] == [1, 1, 1]
    assert [part.forward for part in found.asked] == [3]


def test_defenses_that_look_at_the_image_pass_it_once_for_each_draw_and_evaluation(make, classifier):
    other = OtherClassifier(classifier=Classifier(**SURROGATE))
    found = plan(make(CROPS, other, NoDefense(), evaluations=5), kept={}).asked
    assert [(part.network is classifier, part.forward) for part in found] == [(True, 3 * 30 * 5), (False, 3)]


def test_white_boxes_are_the_same_where_their_rows_are(make):
    def boxes(*threats, **options):
        return make(KNN(taps=["late"]), threats=list(threats), attacks=[PGD(objective=FeatureSpace())], **options)

    kept = {}
    assert attacked(plan(boxes(WhiteBox(rows=0.5, name="half"), WhiteBox()), kept=kept)) == 2 * 2 * 20
    assert attacked(plan(boxes(WhiteBox(rows=0.5, name="another name")), kept=kept)) == 0
    assert attacked(plan(boxes(WhiteBox(), rows=0.5), kept=kept)) == 2 * 20  # whose rows are the other half
    assert attacked(plan(boxes(WhiteBox(overlap=1.0), rows=0.5), kept=kept)) == 0
    assert attacked(plan(boxes(WhiteBox(overlap=0.5), rows=0.5), kept=kept)) == 2 * 20


def test_passes_of_a_copy_count_each_draw_and_each_value_of_what_is_random(make):
    box = {"threats": [WhiteBox()], "deltas": [0.1]}
    square = plan(make(CROPS, attacks=[Square(queries=9)], **box), kept={}).attacks
    assert [(part.forward, part.both) for part in square] == [(10 * 30, 0)]  # whose 30 draws are as many as it wants
    averaged = [PGD(steps=2, objective=EOT(objective=DefenseMargin(), draws=60))]
    assert [part.both for part in plan(make(CROPS, attacks=averaged, **box), kept={}).attacks] == [2 * 2 * 30]


def test_one_search_serves_all_sizes(make):
    cw = CWL2(steps=5, binary_search_steps=3)
    assert [part.both for part in plan(make(attacks=[cw, FMN(steps=7)]), kept={}).attacks] == [15, 7]


def test_a_store_without_an_index_is_searched_for_all_at_once(make):
    found = plan(make(KNN(taps=["early", "late"], k=[3, 7]), rows=[0.5, None]), kept={})
    assert (found.searched, found.views) == ({"early": 7, "late": 7}, 2)
    assert plan(make(cascade=True), kept={}).searched == {}
