"""Neighbors that another network finds: its features, the classifier's predictions, and an attacker who has both."""

import csv
import json

import h5py
import numpy as np
import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, UW, Query
from lit_knn.evaluation.module import Evaluation
from lit_knn.threat_models import WhiteBox
from tests.conftest import NETWORK, TAPS, contents, run, tiny
from tests.integration.test_processes import run_test_in_two

SECOND = {**NETWORK, "network": "lit_knn.backbones.digits.digits_surrogate"}
LAYERS = [{**TAPS[0], "layer": "layer1.0.add"}, {**TAPS[1], "layer": "layer3.0.add"}]
K = 5


def second(folder, runs, network=SECOND, taps=LAYERS):
    config = tiny(folder, runs)
    config["model"]["database"] |= {"network": dict(network), "taps": [dict(tap) for tap in taps]}
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("second")
    config = second(folder / "database", folder / "runs")
    run("extract", config)
    run("index", config)
    return folder / "database"


@pytest.fixture
def encoder():
    return Classifier(**SECOND)


@pytest.fixture
def gallery(folder, encoder, classifier, data):
    database = Database(path=folder, taps=[Tap(**tap) for tap in LAYERS], network=encoder)
    return database.open(classifier, data)[-1]


@pytest.fixture
def image(data):
    return data.on_after_batch_transfer(data.first_queries())["image"]


def test_answers_are_those_of_a_pipeline_by_brute_force(gallery, encoder, classifier, data, image):
    """PCA, distances and votes by NumPy in float64, from two networks that know nothing of each other."""
    batches = [data.on_after_batch_transfer(batch)["image"] for batch in data.database_batches([0])]
    taps = [Tap(**tap) for tap in LAYERS]
    defense = KNN(taps=["early", "late"], k=[K], weightings=[UW()])
    with torch.no_grad():
        query = Query(image, classifier, gallery, defense.needed)
        scores = defense(query).double().numpy()
        softmax = torch.cat([classifier(batch) for batch in batches]).double().softmax(dim=1).numpy()  # (M, C)
        rows = [encoder.activations(batch, taps) for batch in batches]
        asked = encoder.activations(image, taps)
    for tap, found in zip(taps, scores, strict=True):
        pooled = np.concatenate([row[tap.name].double().numpy() for row in rows])  # (M, D)
        mean = pooled.mean(axis=0)
        _, _, components = np.linalg.svd(pooled - mean, full_matrices=False)
        base = (pooled - mean) @ components[: tap.dimension].T
        features = (asked[tap.name].double().numpy() - mean) @ components[: tap.dimension].T
        distance = np.linalg.norm(features[:, None] - base[None], axis=2)  # (N, M)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :K]
        alike = [set(a) == set(b) for a, b in zip(nearest, query.neighbors(tap.name).ids.numpy(), strict=True)]
        assert np.mean(alike) > 0.9  # float16 moves a few rows over the border
        np.testing.assert_allclose(found[alike], softmax[nearest].mean(axis=1)[alike], atol=2e-3)


def columns(shard):
    with h5py.File(shard, "r") as file:
        found = {}
        file.visititems(lambda name, part: found.update({name: part[()]}) if isinstance(part, h5py.Dataset) else None)
    return found


def test_the_classifier_itself_as_the_network_gives_the_same_rows_and_results(database_path, reference, tmp_path):
    config = second(tmp_path / "database", tmp_path / "runs", NETWORK, TAPS)
    run("extract", config)
    run("index", config)
    mine, others = (columns(path / "store" / "shard-000000.h5") for path in (tmp_path / "database", database_path))
    assert mine.keys() == others.keys()
    assert all(mine[name].tobytes() == others[name].tobytes() for name in mine)
    assert (run("test", config) / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()


def test_no_pass_more_than_needed_and_none_of_both_without_a_network(gallery, encoder, classifier, image, monkeypatch):
    passes = []
    for name in ("tapped", "activations", "forward"):
        real = getattr(Classifier, name)
        monkeypatch.setattr(
            Classifier, name, lambda self, *args, real=real, name=name: passes.append((self, name)) or real(self, *args)
        )
    needed = {"early": K, "late": K}
    Query(image, classifier, gallery, needed).neighbors("late")
    assert passes == [(encoder, "activations")]
    passes.clear()
    assert Query(image, classifier, gallery, needed).logits.shape == (50, 10)
    assert passes == [(classifier, "forward")]
    passes.clear()
    query = Query(image, classifier, gallery, needed)
    assert query.seen.logits is query.logits
    assert len(query.seen.activations) == len(query.activations) == 2
    assert sorted(name for _, name in passes) == ["activations", "forward"]


def test_a_white_box_has_a_gradient_through_the_network_that_retrieves(gallery, encoder, classifier, image):
    copy = WhiteBox(defense=KNN(taps=["late"], k=[K], weightings=[UW()])).surrogate_defense(classifier, gallery)
    moving = image.clone().requires_grad_()
    tap = Tap(**LAYERS[1])
    expected = gallery.project("late", encoder.activations(moving, [tap])["late"])
    torch.testing.assert_close(copy.features(moving), expected)
    (slope,) = torch.autograd.grad(copy.features(moving).square().sum(), moving)
    (wanted,) = torch.autograd.grad(expected.square().sum(), moving)
    torch.testing.assert_close(slope, wanted)
    assert slope.abs().amax() > 0


def under(folder, tmp_path, threat, attack):
    config = second(folder, tmp_path / "runs")
    config["model"] |= {"threats": [threat], "attacks": [attack], "deltas": [0.1]}
    return config


def accuracies(found, tap, weighting="CBW-D"):
    """Return the accuracy with the largest K by Δ; with tap and weighting "" of the undefended classifier."""
    with (found / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["topk"] == "1"]
    return {row["delta"]: float(row["accuracy"]) for row in rows if (row["tap"], row["weighting"]) == (tap, weighting)}


@pytest.mark.slow
def test_who_has_both_networks_is_stronger_than_who_has_the_classifier(folder, tmp_path):
    climb = {"class_path": "PGD", "init_args": {"steps": 20}}
    soft = {"class_path": "PGD", "init_args": {"steps": 20, "objective": "SoftKNN"}}
    gray, white = (
        run("test", under(folder, tmp_path, threat, attack))
        for threat, attack in (("GrayBox", climb), ("WhiteBox", soft))
    )
    for tap in ("early", "late"):
        assert accuracies(gray, tap)["0.0"] == accuracies(white, tap)["0.0"] > 0.9
        assert accuracies(white, tap)["0.1"] < accuracies(gray, tap)["0.1"] - 0.1
    # the classifier falls, and neighbors by other features much less
    assert accuracies(gray, "", "")["0.1"] < accuracies(gray, "late")["0.1"] - 0.2
    record = json.loads((white / "record.json").read_text())
    assert record["fingerprints"]["network"] == record["database"]["network"] != record["fingerprints"]["classifier"]


@pytest.mark.parametrize("what", ["another checkpoint", "none"])
def test_rows_of_another_network_are_refused(folder, tmp_path, mistake, what):
    config = second(folder, tmp_path / "runs")
    if what == "none":
        del config["model"]["database"]["network"]
    else:
        network = Classifier(**SECOND).network
        state = {name: value + (name == "fc.bias") for name, value in network.state_dict().items()}
        torch.save(state, tmp_path / "other.pt")
        config["model"]["database"]["network"] |= {
            "arguments": {"pretrained": False},
            "weights": str(tmp_path / "other.pt"),
        }
    assert "findings in" in mistake("verify", config)
    said = mistake("test", config)
    assert "network is 'digits_surrogate-" in said
    assert "is expected" in said
    assert "set another model.database.path" in said


def test_a_shared_cache_keeps_the_activations_of_each_network_apart(folder, database_path, tmp_path, reference):
    """Both databases are asked about the same attacked images, which are attacked once where they are kept."""
    cache = {"cache": {"path": str(tmp_path / "cache"), "images": True}}
    mine, own = second(folder, tmp_path / "second"), tiny(database_path, tmp_path / "own")
    for config in (mine, own):
        config["model"] |= cache
    alone = run("test", {**mine, "model": {**mine["model"], "cache": {"images": True}}})
    run("test", own)
    before = list((tmp_path / "cache").rglob("*.h5"))
    assert (run("test", mine) / "results.csv").read_bytes() == (alone / "results.csv").read_bytes()
    after = list((tmp_path / "cache").rglob("*.h5"))
    assert len(after) == len(before)  # the same attacked images
    with h5py.File(after[0], locking=False) as file:
        assert len([name for name in file if name.startswith("layer1.0.add, pool 2")]) == 2


@pytest.mark.slow
def test_what_is_known_of_a_batch_is_not_attacked_again(folder, tmp_path, monkeypatch):
    """Activations of both networks are kept: a run that was stopped goes on behind them."""
    config = second(folder, tmp_path / "runs")
    attacked, real = [], Evaluation.attacked
    monkeypatch.setattr(Evaluation, "attacked", lambda *args: attacked.append(args[5].tolist()) or real(*args))
    whole = run("test", config)
    assert [len(ids) for ids in attacked] == [50, 50, 30, 4]  # the last for pictures
    config["model"]["cache"] = {"path": str(tmp_path / "cache")}
    run("test", config, "--trainer.limit_test_batches", "1")
    attacked.clear()
    found = run("test", config)
    assert (found / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert [len(ids) for ids in attacked] == [50, 30, 4]


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(tmp_path):
    found = []
    for name, test in (("one", lambda config, _: run("test", config)), ("two", run_test_in_two)):
        config = second(tmp_path / name, tmp_path / f"runs-{name}")
        config["model"]["database"]["build_missing"] = True
        config["model"]["threats"] = ["GrayBox", "WhiteBox"]
        config["model"]["attacks"].append({"class_path": "PGD", "init_args": {"steps": 2, "objective": "SoftKNN"}})
        found.append(test(config, tmp_path / f"runs-{name}"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len({(folder / "results.csv").read_bytes() for folder in found}) == 1


def test_taps_are_those_of_the_network(tmp_path, capsys):
    config = second(tmp_path / "database", tmp_path / "runs")
    run("taps", config)
    printed = capsys.readouterr().out
    assert "digits_surrogate" in printed
    assert "layer3.0.add" in printed
    assert "layer3.1.add" not in printed


TRANSFORMER = {  # of timm, without a head, on digits of twice their size
    "network": "timm/vit_tiny_patch16_224",
    "arguments": {
        "pretrained": False,
        "num_classes": 0,
        "img_size": 16,
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "reg_tokens": 4,
    },
    "input_size": 16,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
}
TOKENS = [
    {"layer": "norm", "pool": "cls", "metric": "cosine", "name": "cls"},
    {"layer": "blocks.0", "pool": 2, "prefix_tokens": 5, "metric": "cosine", "name": "grid"},
]


def test_an_encoder_without_logits_is_searched_by_its_cosine(tmp_path, classifier, data, image):
    config = second(tmp_path / "database", tmp_path / "runs", TRANSFORMER, TOKENS)
    config["model"]["defenses"][1]["init_args"]["taps"] = ["cls", "grid"]
    torch.manual_seed(0)
    network = Classifier(**TRANSFORMER)
    torch.save(network.network.state_dict(), tmp_path / "encoder.pt")
    config["model"]["database"]["network"]["weights"] = str(tmp_path / "encoder.pt")
    del config["model"]["database"]["index"]
    run("extract", config)
    found = run("test", config)
    assert accuracies(found, "cls")["0.0"] > 0.3  # random weights, ten classes
    encoder = Classifier(**TRANSFORMER, weights=tmp_path / "encoder.pt")
    taps = [Tap(**tap) for tap in TOKENS]
    gallery = Database(path=tmp_path / "database", taps=taps, network=encoder).open(classifier, data)[-1]
    batches = [data.on_after_batch_transfer(batch)["image"] for batch in data.database_batches([0])]

    def tokens(images):
        larger = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
        with torch.no_grad():
            return encoder.network.forward_features((larger - 0.5) / 0.5)[:, 0].double().numpy()  # (N, D)

    base, asked = np.concatenate([tokens(batch) for batch in batches]), tokens(image)
    cosine = (asked @ base.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(base, axis=1)  # (N, M)
    with torch.no_grad():
        ids = Query(image, classifier, gallery, {"cls": K}).neighbors("cls").ids.numpy()
    best = -np.sort(-cosine, axis=1)[:, :K]
    assert len(gallery.projections["cls"].components) == 32  # all of them
    np.testing.assert_allclose(np.take_along_axis(cosine, ids, 1), best, atol=1e-3)
