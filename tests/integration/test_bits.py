"""A database of bits from images to votes: R-MAC, PCA, signs, and the neighbors that differ in the fewest bits."""

import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.database.store import pack_signs
from lit_knn.defenses import KNN, UW, Query
from lit_knn.errors import UserError
from tests.conftest import run, tiny

K = 5
TAPS = [
    {"layer": "layer1.0.add", "pool": "rmac", "dimension": 32, "bits": True, "name": "regions"},
    {"layer": "layer3.1.add", "pool": 1, "dimension": 64, "bits": True, "name": "codes"},
    {"layer": "layer3.1.add", "pool": 1, "dimension": 64, "name": "floats"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bits")
    config = tiny(folder / "database", folder / "runs")
    config["model"]["database"]["taps"] = TAPS
    config["model"]["defenses"] = [{"class_path": "KNN", "init_args": {"taps": [tap["name"] for tap in TAPS]}}]
    run("extract", config)
    run("index", config)
    return folder / "database"


@pytest.fixture
def gallery(folder, classifier, data):
    return Database(path=folder, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data)[-1]


@pytest.fixture
def image(data):
    return data.on_after_batch_transfer(next(iter(data.test_dataloader())))["image"]


def hamming(query, base):
    """Count the signs that differ ``(N, M)``, without floats."""
    return (query[:, None] != base[None]).sum(axis=-1)


def test_a_row_takes_a_bit_for_each_dimension(gallery):
    columns = gallery.store.schema.columns()
    assert {tap: columns[f"features/{tap}"].itemsize for tap in gallery.taps} == {
        "regions": 4,
        "codes": 8,
        "floats": 128,
    }
    assert gallery.store.schema.dimensions == {"regions": 32, "codes": 64, "floats": 64}


def test_bits_are_the_signs_of_the_same_features(gallery):
    floats, signs = (gallery.vectors(tap, gallery.ids).numpy() for tap in ("floats", "codes"))
    clear = np.abs(floats) > 1e-3  # float16 may have rounded others to zero
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(signs[clear], np.sign(floats[clear]))


@pytest.mark.parametrize("tap", ["regions", "codes"])
def test_votes_are_those_of_the_rows_that_differ_in_the_fewest_bits(gallery, classifier, image, tap):
    defense = KNN(taps=[tap], k=[K], weightings=[UW()])
    with torch.no_grad():
        query = Query(image, classifier, gallery, defense.needed)
        scores = defense(query)[0].double().numpy()
        found, features = query.neighbors(tap), query.features(tap).numpy()
    ids = np.arange(len(gallery))
    distance = hamming(features > 0, np.unpackbits(gallery.store.codes(tap, ids), axis=-1) > 0)
    nearest = np.sort(distance, axis=1)
    np.testing.assert_allclose(found.distances**2, 4 * nearest[:, :K], rtol=1e-6)
    np.testing.assert_array_equal(np.take_along_axis(distance, found.ids.numpy(), 1), nearest[:, :K])
    assert (nearest[:, K - 1] == nearest[:, K]).any()  # several sets of K rows are the nearest
    rows = np.argsort(distance, axis=1, kind="stable")[:, :K]  # that of the lowest ids
    np.testing.assert_array_equal(found.ids, rows)
    expected = gallery.store.softmax_rows(rows).astype(np.float64).mean(axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_bits_still_tell_digits_apart(gallery, classifier, data, image):
    label = next(iter(data.test_dataloader()))["label"]
    defense = KNN(taps=["regions", "codes"], k=[K], weightings=[UW()])
    with torch.no_grad():
        scores = defense(Query(image, classifier, gallery, defense.needed))
    accuracy = (scores.argmax(-1) == label).double().mean(dim=1)
    assert (accuracy > torch.tensor([0.6, 0.9])).all()  # 32 bits of an early layer, 64 of the last


@pytest.mark.parametrize("tap", ["regions", "codes"])
def test_an_attacker_has_a_gradient(gallery, classifier, image, tap):
    """And it is that of the floats under the signs."""
    image = image.clone().requires_grad_()
    features = Query(image, classifier, gallery, {tap: 1}).features(tap)
    assert set(features.detach().unique().tolist()) == {-1, 1}
    (gradient,) = torch.autograd.grad(features.sum(), image)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_bits_are_no_floats(folder, classifier, data):
    taps = [Tap(**{**tap, "bits": False}) for tap in TAPS]
    with pytest.raises(UserError, match=r"tap regions is .*, bits' where .*, dimension 32' is expected"):
        Database(path=folder, taps=taps).open(classifier, data)


def test_a_binary_index_over_the_codes_finds_the_same(gallery, classifier, image):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexBinaryFlat(64)
    for _, block in gallery.store.code_blocks("codes"):
        index.add(block)
    with torch.no_grad():
        features = Query(image, classifier, gallery, {"codes": K}).features("codes")
    distance, _ = index.search(pack_signs(features.numpy()), K)
    found = gallery.search("codes", features, K)
    np.testing.assert_allclose(found.distances**2, 4 * distance, rtol=1e-6)
