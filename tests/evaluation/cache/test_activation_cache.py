import copy
import json

import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import Objective
from lit_knn.backbones import Classifier
from lit_knn.data import Preprocessing
from lit_knn.defenses import KNN, UW, NoDefense, Requirements
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import from_text, to_text
from lit_knn.threat_models import GrayBox, WhiteBox
from tests.conftest import NETWORK, contents, run
from tests.evaluation.cache.conftest import BATCHES, Bright
from tests.integration.test_processes import run_two


class Away(Objective):
    """Away from the image's own feature, in the attacker's projection, and from its nearest neighbors."""

    adaptive = True
    suffix = "away"

    def bind(self, attack_target, target=0):
        copied = attack_target.defense
        with torch.no_grad():
            own = copied.features(attack_target.image)
        near = copied.vectors(copied.nearest(own, copied.k), own).mean(1)
        return lambda image: (copied.features(image) - near).square().sum(1)


# ---------------------------------------------------------------- what does


def test_another_attack_has_another_folder(evaluate, gradients, folders):
    gray = {"threats": [GrayBox()], "deltas": [0.1], "defenses": [NoDefense()], "database": None}
    evaluate(**gray)
    for number, changes in enumerate(({"steps": 3}, {"seed": 1}, {"step": "sign"}, {"restarts": 2}), start=2):
        gradients.clear()
        found = evaluate(**gray, attacks=[PGD(**{"steps": 2, **changes})])
        assert gradients
        assert found == evaluate(cache=False, **gray, attacks=[PGD(**{"steps": 2, **changes})])
        assert len(folders()) == number + 1  # and one of clean images


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
        assert len(folders()) == 2 * number  # clean images are others, too


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


# ---------------------------------------------------------------- mistakes


class Sly(Bright):
    """Says that it does not look, and looks."""

    def requirements(self):
        return Requirements(image=False)


@pytest.mark.parametrize("cache", [False, True])
def test_an_image_is_at_hand_only_for_a_defense_that_says_that_it_looks(evaluate, cache):
    with pytest.raises(UserError, match="at hand only for one that says so: set its uses_image to True"):
        evaluate(cache=cache, defenses=[Sly()])


def test_a_damaged_file_of_another_case_or_folder_is_named(evaluate, tmp_path):
    gray = {"threats": [GrayBox()], "deltas": [0.05, 0.1], "defenses": [NoDefense()], "database": None}
    evaluate(**gray)
    (folder,) = (path.parent for path in (tmp_path / "cache").glob("*/delta-0.1"))
    one, two = (next((folder / f"delta-{delta}").iterdir()) for delta in (0.05, 0.1))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    with pytest.raises(UserError, match=rf"{one} .* another case: delta is '0.1' where '0.05' is expected; delete it"):
        evaluate(**gray)
    one.write_bytes(kept[:-100])
    with pytest.raises(UserError, match=rf"{one} is damaged.*delete it"):
        evaluate(**gray)
    one.unlink()
    evaluate(**gray)
    assert one.read_bytes() == kept

    origin = folder / "origin.json"
    whole = json.loads(origin.read_text())
    origin.write_text(json.dumps(whole | {"precision": "none"}))
    with pytest.raises(UserError, match=rf"{origin} is damaged \(its checksum is another\).*delete {folder}"):
        evaluate(**gray)
    origin.write_text(to_text(from_text(json.dumps(whole)) | {"precision": "none"}))
    with pytest.raises(UserError, match=rf"{folder} .* another case: precision is 'none'"):
        evaluate(**gray)
    origin.write_text("{")
    with pytest.raises(UserError, match=rf"{origin} is damaged.*delete {folder}"):
        evaluate(**gray)


def test_a_tap_that_the_database_has_not_is_named(evaluate):
    with pytest.raises(UserError, match=r"wants neighbors at 'middle', .* it has early, late"):
        evaluate(defenses=[KNN(taps=["middle"])])


def test_a_folder_that_cannot_be_written_is_named(evaluate, tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(UserError, match=r"cache/[0-9a-f]+/origin\.json cannot be written: Not a directory"):
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


@pytest.mark.slow
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
    assert len(contents(tmp_path / "one")) == 2 + 3 * 3  # origin.json, clean and attacked; Δ, batches
