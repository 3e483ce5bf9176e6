from types import SimpleNamespace

import pytest

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import SoftKNN
from lit_knn.backbones import Classifier
from lit_knn.data import Digits, ImageData
from lit_knn.defenses import KNN, NoDefense
from lit_knn.evaluation.module import Evaluation
from lit_knn.evaluation.provenance import CLEAN, case_origins, network_hashes
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.conftest import NETWORK

OF_ATTACKS = {"attack", "attacked", "norm"}


@pytest.fixture(scope="module")
def surrogate():
    return Classifier(**{**NETWORK, "network": "lit_knn.backbones.digits.digits_surrogate"})


@pytest.fixture
def cases(classifier, gallery, data, surrogate):
    """What each case of an evaluation depends on."""

    def call(*attacks, threats=None, data=data, precision="32-true", norm="relative_l2", view=gallery, defenses=()):
        threats = threats or [GrayBox()]
        pairs = [(threat, attack) for threat in threats for attack in attacks or [PGD(steps=2)]]
        surrogate_defenses = {threat.name: threat.surrogate_defense(classifier, view) for threat in threats}
        hashes = network_hashes(classifier, threats, surrogate_defenses)
        known = {"precision": precision, "norm": norm, "defenses": defenses}
        origins = case_origins(pairs, surrogate_defenses, classifier, data, hashes, **known)
        assert origins.pop(CLEAN).keys() & OF_ATTACKS == set()
        return list(origins.values())

    return call


def white(**options):
    return [WhiteBox(defense=KNN(taps=["late"], k=[5], combinations=["soft"], weightings=WEIGHT), **options)]


WEIGHT = KNN(taps=["late"]).weightings[:1]


def test_names_do_not_matter_settings_do(cases):
    (plain,) = cases()
    assert cases(PGD(steps=2, name="another"))[0] == plain
    for settings in ({"steps": 3}, {"steps": 2, "seed": 1}, {"steps": 2, "step": "sign"}, {"steps": 2, "restarts": 2}):
        assert cases(PGD(**settings))[0] != plain


def test_another_norm_is_another_attack_of_the_same_clean_images(cases):
    (delta,), (l2,), (linf,) = cases(), cases(norm="l2"), cases(norm="linf")
    assert {name for name in delta if delta[name] != linf[name]} == {"norm"}
    assert len({origin["norm"] for origin in (delta, l2, linf)}) == 3


def test_the_attacked_network_matters(cases, surrogate, data):
    gray, black = cases(threats=[GrayBox(), BlackBox(surrogates=[surrogate])])
    assert {name for name in gray if gray[name] != black[name]} == {"attacked"}
    both = cases(threats=[BlackBox(surrogates=[surrogate, surrogate])])[0]
    assert both["attacked"] not in (gray["attacked"], black["attacked"])


def test_what_stops_early_where_only_the_network_answers_is_another_attack_elsewhere(cases):
    undefended, defended = [NoDefense()], [NoDefense(), KNN(taps=["late"])]
    for enough, different in ((None, set()), (0, {"stops"})):
        alone, beside = (cases(PGD(enough=enough), defenses=defenses)[0] for defenses in (undefended, defended))
        assert {name for name in beside if alone[name] != beside[name]} == different


def test_queries_and_precision_matter(cases, data):
    other = ImageData(queries=Digits(split="all"), database=data.database, num_queries=130)
    assert cases(data=other)[0]["queries"] != cases()[0]["queries"]
    assert cases(precision="64-true") != cases()


def test_results_depend_on_which_images_are_queries(classifier, tmp_path):
    def origin(data):
        evaluation = Evaluation(classifier=classifier, attacks=[PGD()], deltas=[0.1])
        evaluation._trainer = SimpleNamespace(datamodule=data, precision="32-true")
        return evaluation.origin()

    listed = ImageData(queries=Digits(split="test"), query_subset=str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("3\n1\n")
    before = origin(listed)
    again = ImageData(queries=Digits(split="test"), query_subset=[1, 3])
    assert origin(again) == before
    (tmp_path / "list.txt").write_text("3\n2\n")
    changed = ImageData(queries=Digits(split="test"), query_subset=str(tmp_path / "list.txt"))
    assert origin(changed) != before


def test_a_white_box_depends_on_its_copy_and_its_rows_a_gray_box_does_not(cases, gallery):
    attack = PGD(steps=2, objective=SoftKNN())
    half = gallery.view(0, 600)
    assert cases(attack, threats=white()) == cases(attack, threats=white())
    assert cases(attack, threats=white(), view=half) != cases(attack, threats=white())
    assert cases(attack, threats=white(rows=100), view=half) != cases(attack, threats=white(rows=101), view=half)
    part = cases(attack, threats=white(rows=100, overlap=0.5), view=half)
    assert part != cases(attack, threats=white(rows=100), view=half)
    assert cases(attack, view=half) == cases(attack)


def test_outcomes_depend_on_the_seed_where_a_defense_may_draw(classifier, data, monkeypatch):
    class Own(NoDefense):
        random = True

    def origin(defense, seed):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        evaluation = Evaluation(classifier=classifier, attacks=[PGD()], deltas=[0.1], defenses=[defense])
        evaluation._trainer = SimpleNamespace(datamodule=data, precision="32-true")
        return evaluation.origin()

    assert origin(NoDefense(), 0) == origin(NoDefense(), 1)
    assert origin(Own(), 0) == origin(Own(), 0) != origin(Own(), 1)
