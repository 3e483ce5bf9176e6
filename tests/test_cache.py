import copy
import json
import logging
import shutil

import pytest
import torch
from pytorch_lightning import Trainer

from lit_knn.attacks import PGD
from lit_knn.backbones import Classifier, Tap
from lit_knn.cache import AdversarialCache
from lit_knn.data import Digits, ImageData, Preprocessing
from lit_knn.database import Database
from lit_knn.defenses import CBWE, KNN, UW, Defense, NoDefense, Variant
from lit_knn.errors import UserError
from lit_knn.evaluation import Evaluation
from lit_knn.objectives import Objective
from lit_knn.threat import BlackBox, GrayBox, WhiteBox

from .conftest import NETWORK, TAPS, contents, run, tiny
from .integration.test_processes import run_two

QUERIES, BATCHES = 30, 3


class Recording(KNN):
    """Keeps its scores: equal accuracies could hide other images."""

    def __call__(self, query):
        self.scores = [*getattr(self, "scores", []), super().__call__(query)]
        return self.scores[-1]


class Bright(Defense):
    """Looks at the image."""

    variants = [Variant("bright")]  # noqa: RUF012

    def __call__(self, query):
        return query.classify((query.image * 1.05).clamp(0, 1))[None]


class Away(Objective):
    """Away from the image's own feature, in the attacker's projection, and from its nearest neighbours."""

    aware = True
    suffix = "away"

    def bind(self, victim, target=0):
        copied = victim.defense
        with torch.no_grad():
            own = copied.features(victim.image)
        near = copied.vectors(copied.nearest(own, copied.k), own).mean(1)
        return lambda image: (copied.features(image) - near).square().sum(1)


@pytest.fixture
def gradients(monkeypatch):
    """The size of each batch of which a gradient was taken."""
    taken, real = [], torch.autograd.grad

    def counted(outputs, inputs, *args, **kwargs):
        taken.append(len(inputs))
        return real(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    return taken


@pytest.fixture
def queries():
    """Some digits, to be changed; their database is 1,297 others."""

    def build(split="test", batch_size=12, **changes):
        changes = {"num_queries": QUERIES, **changes}
        return lambda: ImageData(
            queries=Digits(split=split), database=Digits(split="train"), batch_size=batch_size, **changes
        )

    return build


@pytest.fixture(scope="module")
def classifier():
    """The quickstart's network, traced once for all tests."""
    return Classifier(**NETWORK)


@pytest.fixture(scope="module")
def surrogate():
    return Classifier(**{**NETWORK, "network": "lit_knn.backbones.digits.digits_surrogate"})


@pytest.fixture
def evaluate(classifier, queries, database_path, surrogate, tmp_path):
    """Run a test on a cache in `tmp_path`, or on none, and return all that came of it, to the last bit."""

    def call(*, cache=True, images=False, rows=None, seed=0, taps=TAPS, data=None, precision="32-true", **changes):
        given = {
            "classifier": classifier,
            "attacks": [PGD(steps=2)],
            "deltas": [0.05, 0.1],
            "threats": [GrayBox(), BlackBox(surrogates=[surrogate])],
            "defenses": [NoDefense(), Recording(taps=[tap["name"] for tap in taps], k=[1, 5])],
            "database": Database(path=database_path, taps=[Tap(**tap) for tap in TAPS], rows=rows, order_seed=seed),
        }
        evaluation = Evaluation(
            cache=AdversarialCache(path=tmp_path / "cache", images=images) if cache else None,
            **{**given, **changes},
        )
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        Trainer(accelerator="cpu", devices=1, precision=precision, **quiet).test(
            evaluation, (data or queries())(), verbose=False
        )
        scores = [value for defense in evaluation.defenses for value in getattr(defense, "scores", [])]
        return evaluation.results, [value.tolist() for value in scores]

    return call


@pytest.fixture
def folders(tmp_path):
    return lambda: sorted(path.name for path in (tmp_path / "cache").iterdir())


@pytest.fixture(scope="module")
def other_projection(tmp_path_factory):
    """The same images with PCA of fewer rows and dimensions."""
    folder = tmp_path_factory.mktemp("other")
    config = tiny(folder / "database", folder / "runs")
    config["model"]["database"] |= {"projection_rows": 300, "taps": [{**tap, "dimension": 12} for tap in TAPS]}
    run("extract", config)
    run("index", config)
    return Database(
        path=folder / "database", taps=[Tap(**{**tap, "dimension": 12}) for tap in TAPS], projection_rows=300
    )


# ---------------------------------------------------------------- what costs no attack


def test_a_first_run_gives_what_it_gives_without_a_cache(evaluate, gradients):
    expected = evaluate(cache=False)
    attacked = len(gradients)
    assert evaluate() == expected
    assert len(gradients) == 2 * attacked == 2 * (2 * 2 * 2 * BATCHES)  # cases, Δ, steps


def test_a_second_run_attacks_nothing_and_gives_the_same_to_the_bit(evaluate, gradients):
    evaluate()
    for changes in (
        {},
        {"defenses": [Recording(taps=["late"], k=[3, 7], weightings=[UW(), CBWE()], combinations=["soft", "hard"])]},
        {"defenses": [NoDefense()], "database": None},
        {"rows": 300},
        {"rows": 300, "seed": 3},
        {"deltas": [0.1]},
        {"threats": [GrayBox()], "attacks": [PGD(steps=2, name="an old acquaintance")]},
    ):
        fresh = copy.deepcopy(changes)
        gradients.clear()
        found = evaluate(**changes)
        assert not gradients, changes
        assert found == evaluate(cache=False, **fresh), changes
        assert gradients


def test_another_projection_attacks_nothing(evaluate, gradients, other_projection):
    first = evaluate()
    gradients.clear()
    found = evaluate(database=copy.deepcopy(other_projection))
    assert not gradients
    assert found == evaluate(cache=False, database=other_projection)
    assert found[1] != first[1]


def test_a_new_delta_costs_only_itself(evaluate, gradients):
    evaluate(threats=[GrayBox()])
    gradients.clear()
    found = evaluate(threats=[GrayBox()], deltas=[0.05, 0.07, 0.1])
    assert len(gradients) == 2 * BATCHES
    assert found == evaluate(cache=False, threats=[GrayBox()], deltas=[0.05, 0.07, 0.1])


class Mortal(PGD):
    """Dies in one of its batches at one Δ."""

    _dies_in = 0
    _done = 0

    def prepare(self, victim, objective):
        perturb = super().prepare(victim, objective)

        def mortal(radius, noise):
            Mortal._done += 1
            if Mortal._done == Mortal._dies_in:
                raise RuntimeError("power cut")
            return perturb(radius, noise)

        return mortal


def test_an_interrupted_run_goes_on_where_it_stopped(evaluate, monkeypatch):
    monkeypatch.setattr(Mortal, "_dies_in", 4)
    monkeypatch.setattr(Mortal, "_done", 0)
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(attacks=[Mortal(steps=2)], threats=[GrayBox()])
    found = evaluate(attacks=[Mortal(steps=2)], threats=[GrayBox()])
    assert Mortal._done == 2 * BATCHES + 1  # the one that it died of
    assert found == evaluate(cache=False, attacks=[Mortal(steps=2)], threats=[GrayBox()])


# ---------------------------------------------------------------- what does


def test_another_attack_has_another_folder(evaluate, gradients, folders):
    gray = {"threats": [GrayBox()], "deltas": [0.1], "defenses": [NoDefense()], "database": None}
    evaluate(**gray)
    for number, changes in enumerate(({"steps": 3}, {"seed": 1}, {"step": "sign"}, {"restarts": 2}), start=2):
        gradients.clear()
        found = evaluate(**gray, attacks=[PGD(**{"steps": 2, **changes})])
        assert gradients
        assert found == evaluate(cache=False, **gray, attacks=[PGD(**{"steps": 2, **changes})])
        assert len(folders()) == number


@pytest.mark.parametrize(
    "changes",
    [{"split": "train"}, {"batch_size": 10}, {"query_seed": 1}, {"preprocessing": Preprocessing(resize=12)}],
    ids=["images", "batches", "subset", "preprocessing"],
)
def test_other_queries_are_attacked(evaluate, gradients, queries, changes):
    gray = {"threats": [GrayBox()], "deltas": [0.1], "defenses": [NoDefense()], "database": None}
    evaluate(**gray)
    gradients.clear()
    evaluate(**gray, data=queries(**changes))
    assert gradients


def test_another_network_or_precision_is_another_case(evaluate, gradients, surrogate, folders):
    gray = {"threats": [GrayBox()], "deltas": [0.1], "defenses": [NoDefense()], "database": None}
    evaluate(**gray)
    for number, changes in enumerate(
        ({"classifier": surrogate}, {"classifier": Classifier(**NETWORK), "precision": "64-true"}), start=2
    ):
        gradients.clear()
        evaluate(**gray, **changes)
        assert gradients
        assert len(folders()) == number


def white(tap="late", k=5, **options):
    """A gray box, and a white one that copies a defense of its own."""
    copied = KNN(taps=[tap], k=[k], weightings=[UW()])
    return {
        "attacks": [PGD(steps=2), PGD(steps=2, objective=Away())],
        "deltas": [0.1],
        "threats": [GrayBox(), WhiteBox(defense=copied, **options)],
    }


def test_a_white_box_is_attacked_again_over_another_view_and_a_gray_box_is_not(evaluate, gradients):
    evaluate(**white(), rows=400)
    for changes in (
        {"rows": 300},
        {"seed": 1},
        white(rows=300),
        white(overlap=0.5),
        white(k=7),
        white(tap="early"),
    ):
        changes = {"rows": 400, **white(), **changes}
        fresh = copy.deepcopy(changes)
        gradients.clear()
        found = evaluate(**changes)
        assert len(gradients) == 2 * BATCHES, changes  # steps; of the white box alone
        assert found == evaluate(cache=False, **fresh), changes


def test_a_white_box_over_the_same_view_is_not_attacked_again(evaluate, gradients):
    """Another K of the *defense* is none of the attacker's business if they copied something else."""
    evaluate(**white())
    gradients.clear()
    evaluate(**white(), defenses=[NoDefense(), KNN(taps=["early"], k=[3])])
    assert not gradients


# ---------------------------------------------------------------- images


def test_kept_images_stay_in_the_budget_and_change_no_answer_twice(evaluate, gradients):
    looking = {"defenses": [NoDefense(), Bright(), Recording(taps=["early"])], "images": True}
    plain, first = evaluate(cache=False, **copy.deepcopy(looking)), evaluate(**copy.deepcopy(looking))
    gradients.clear()
    assert evaluate(**copy.deepcopy(looking)) == first
    assert not gradients
    for row, exact in zip(first[0], plain[0], strict=True):
        assert abs(row["correct"] - exact["correct"]) <= 1  # a perturbation is shorter by at most 1/1024
        assert exact["delta_mean"] * (1 - 2**-10) <= row["delta_mean"] <= exact["delta_mean"] * (1 + 1e-6)
        assert row["delta_max"] <= row["delta"] * (1 + 1e-6)


def test_a_tap_that_is_added_later_is_read_from_kept_images(evaluate, gradients, tmp_path):
    first = evaluate(images=True, taps=TAPS[:1])
    gradients.clear()
    found = evaluate(images=True)
    assert evaluate(images=True, taps=TAPS[:1]) == first  # which are still there
    assert not gradients
    shutil.rmtree(tmp_path / "cache")
    assert evaluate(images=True) == found
    assert gradients


def test_a_tap_that_is_added_later_costs_the_attack_without_images_and_only_once(evaluate, gradients, caplog):
    early, late = TAPS[:1], TAPS[1:]
    evaluate(taps=early)
    gradients.clear()
    with caplog.at_level(logging.INFO, logger="lit_knn"):
        found = evaluate(taps=late)
    assert gradients
    assert "keeps no images and lacks layer3.1.add, pool 1: attacking again" in caplog.text
    assert found == evaluate(cache=False, taps=late)
    gradients.clear()
    for taps in (early, late, TAPS):
        evaluate(taps=taps)
    assert not gradients


def test_rounded_images_are_not_taken_for_exact_ones(evaluate):
    gray = {"threats": [GrayBox()], "deltas": [0.1]}
    rounded = evaluate(images=True, **gray)
    exact = evaluate(**gray)
    assert exact == evaluate(cache=False, **gray) != rounded
    assert evaluate(images=True, **gray) == rounded


# ---------------------------------------------------------------- mistakes


def test_a_defense_that_looks_at_images_needs_them(evaluate):
    with pytest.raises(UserError, match=r"Bright looks at attacked images.*set model\.cache\.images: true"):
        evaluate(defenses=[NoDefense(), Bright()])


class Sly(Bright):
    """Says that it does not look, and looks."""

    uses_image = False


def test_an_image_that_is_not_kept_is_missing_the_first_time_too(evaluate):
    with pytest.raises(UserError, match=r"set model\.cache\.images: true"):
        evaluate(defenses=[Sly()])


def test_a_damaged_file_of_another_case_or_folder_is_named(evaluate, tmp_path):
    gray = {"threats": [GrayBox()], "deltas": [0.05, 0.1], "defenses": [NoDefense()], "database": None}
    evaluate(**gray)
    (folder,) = (tmp_path / "cache").iterdir()
    one, two = (next((folder / f"delta-{delta}").iterdir()) for delta in (0.05, 0.1))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    with pytest.raises(UserError, match=rf"{one} .* another case: delta is '0.1' where '0.05' is expected; delete it"):
        evaluate(**gray)
    one.write_bytes(kept[:-100])
    with pytest.raises(UserError, match=rf"{one} of the adversarial cache is damaged.*delete it"):
        evaluate(**gray)
    one.unlink()
    evaluate(**gray)
    assert one.read_bytes() == kept

    origin = folder / "origin.json"
    whole = json.loads(origin.read_text())
    origin.write_text(json.dumps(whole | {"precision": "none"}))
    with pytest.raises(UserError, match=rf"{folder} .* another case: precision is 'none'"):
        evaluate(**gray)
    origin.write_text("{")
    with pytest.raises(UserError, match=rf"{origin} of the adversarial cache is damaged.*delete {folder}"):
        evaluate(**gray)


def test_a_folder_that_cannot_be_written_is_named(evaluate, tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(UserError, match=r"model\.cache\.path .*cache cannot be written"):
        evaluate()


# ---------------------------------------------------------------- whole runs


@pytest.mark.parametrize("images", [False, True])
def test_the_run_is_the_same_run_unless_images_are_rounded(built, tmp_path, reference, images):
    built["model"]["cache"] = {"path": str(tmp_path / "cache"), "images": images}
    found = run("test", built)
    fingerprints, plain = (
        json.loads((folder / "record.json").read_text())["fingerprints"] for folder in (found, reference)
    )
    assert fingerprints == plain | ({"images": "rounded to float16"} if images else {})
    if not images:
        assert (found / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()


@pytest.mark.ddp
def test_two_processes_fill_it_with_the_same_bytes_as_one(built, tmp_path):
    results = []
    for name, start in {"one": run, "two": run_two}.items():
        built["trainer"]["default_root_dir"] = str(tmp_path / f"runs-{name}")
        built["model"]["cache"] = {"path": str(tmp_path / name), "images": True}
        start("test", built)
        (folder,) = (tmp_path / f"runs-{name}").glob("run-*")
        results.append((folder / "results.csv").read_bytes())
    assert results[0] == results[1]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 1 + 2 * 3  # origin.json; Δ, batches
