import copy

import numpy as np
import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.data import Digits, ImageData, Preprocessing
from lit_knn.database import Database
from lit_knn.errors import UserError
from lit_knn.index import Faiss
from lit_knn.store import Store

from .conftest import NETWORK, TAPS


@pytest.fixture
def image(data):
    """The first batch of the database, as the network sees it."""
    return data.on_after_batch_transfer(next(iter(data.database_batches([0]))))["image"]


# ---------------------------------------------------------------- answering


def test_an_image_of_the_database_is_its_own_nearest_neighbour(opened, classifier, image):
    _, features = opened.features(classifier, image)
    assert {tap: tuple(rows.shape) for tap, rows in features.items()} == {"early": (50, 24), "late": (50, 24)}
    for tap, rows in features.items():
        found = opened.search(tap, rows, 3)
        assert (found.ids[:, 0] == np.arange(50)).mean() > 0.95  # float16 may confuse twins
        assert (np.diff(found.distances, axis=1) >= 0).all()


def test_search_is_brute_force_in_float64(opened, classifier, image):
    _, features = opened.features(classifier, image)
    stored = np.concatenate([block for _, block in opened.store.feature_blocks("late")]).astype(np.float64)
    distance = np.linalg.norm(features["late"].double().numpy()[:, None] - stored[None], axis=-1)  # (N, M)
    found = opened.search("late", features["late"], 7)
    np.testing.assert_allclose(found.distances, np.sort(distance, axis=1)[:, :7], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.take_along_axis(distance, found.ids, 1), found.distances, rtol=1e-3, atol=1e-3)


def test_rows_hold_what_the_network_says(opened, classifier, image):
    with torch.no_grad():
        expected = classifier(image).softmax(-1)
    ids = np.arange(50).reshape(10, 5)  # (N, K)
    ballots = opened.ballots(ids, torch.device("cpu"))
    torch.testing.assert_close(ballots.probability.view(50, 10), expected, atol=1e-3, rtol=1e-3)
    for name in opened.store.schema.weights:
        weights = opened.weights(name, ids=ids, device=torch.device("cpu"))
        assert weights.shape == (10, 5)
        assert torch.isfinite(weights).all()


def test_one_forward_pass_gives_the_taps_asked_for(opened, classifier, image):
    logits, features = opened.features(classifier, image, ["late"])
    assert list(features) == ["late"]
    assert torch.equal(logits, classifier(image))
    everything = opened.features(classifier, image)[1]["late"]
    torch.testing.assert_close(features["late"], everything)
    with pytest.raises(UserError, match="no tap 'middle'; it has early, late"):
        opened.features(classifier, image, ["middle"])


def test_features_let_gradients_through_to_the_pixels(opened, classifier, image):
    image = image[:2].clone().requires_grad_()
    opened.features(classifier, image)[1]["early"].square().sum().backward()
    assert image.grad.abs().sum() > 0


def test_nothing_is_answered_before_it_is_opened(database):
    with pytest.raises(RuntimeError, match="not been opened"):
        _ = database.store


def test_each_tap_has_an_index_of_its_own(opened):
    assert opened._indexes["early"] is not opened._indexes["late"]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("softmax", "classes", "packs"),
    [("auto", 64, False), ("auto", 65, True), ("dense", 1000, False), ("packed", 10, True)],
)
def test_softmax_is_shortened_where_that_is_shorter(tmp_path, softmax, classes, packs):
    assert Database(path=tmp_path, taps=[Tap("a")], softmax=softmax).packs(classes) is packs


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"taps": []}, "at least one"),
        ({"taps": [Tap("a"), Tap("b", name="a")]}, "different names"),
        ({"projection_rows": 1}, "projection_rows is 1"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        Database(**{"path": tmp_path, "taps": [Tap("a")], **changes})


# ---------------------------------------------------------------- what belongs together


def test_the_fingerprint_names_everything_that_rows_depend_on(database, classifier, data):
    parts = database.fingerprint(classifier, data)
    assert set(parts) == {
        *("classifier", "dataset", "preprocessing", "tap early", "tap late", "projection early", "projection late")
    }
    assert Store(database.store_path).fingerprint == parts
    assert database.is_complete()
    assert database.unfitted() == []
    assert database.unsealed([0, 1], parts) == [1]


@pytest.mark.parametrize("what", ["classifier", "dataset", "preprocessing", "tap early"])
def test_a_database_of_something_else_is_refused_and_the_difference_named(database, classifier, data, what):
    taps = [Tap(**tap) for tap in TAPS]
    if what == "classifier":
        classifier = Classifier(**{**NETWORK, "mean": [0.4] * 3})
    elif what == "dataset":
        data = ImageData(queries=data.queries, database=Digits(split="all"))
    elif what == "preprocessing":
        data = ImageData(queries=data.queries, database=data.database, preprocessing=Preprocessing(resize=16))
    else:
        taps = [Tap(**{**TAPS[0], "pool": 1}), taps[1]]
    changed = Database(path=database.path, taps=taps)
    with pytest.raises(UserError, match=f"{what} is '.*' where '.*' is expected"):
        changed.open(classifier, data)


def test_an_index_with_other_settings_is_refused(database, classifier, data):
    changed = Database(path=database.path, taps=[Tap(**tap) for tap in TAPS], index=Faiss(factory="HNSW8"))
    with pytest.raises(UserError, match="run `lit-knn index`"):
        changed.open(classifier, data)


def test_a_tap_less_needs_a_store_of_its_own(database, classifier, data):
    """The store says what it was made from as a whole."""
    changed = Database(path=database.path, taps=[Tap(**TAPS[0])])
    with pytest.raises(UserError, match=r"tap late is '.*' where 'absent' is expected"):
        changed.open(classifier, data)


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("projection/early.h5", "extract"),
        ("store/manifest.json", "extract"),
        ("store/shard-000000.h5", "extract"),
        ("index/late.faiss", "index"),
        ("index/late.faiss.json", "index"),
    ],
)
def test_whatever_is_missing_the_sentence_names_the_command(tmp_path, database, classifier, data, missing, command):
    changed = copy.copy(database)
    changed.path = tmp_path / "copy"
    for path in database.path.rglob("*"):
        if path.is_file() and path.relative_to(database.path).as_posix() != missing:
            target = changed.path / path.relative_to(database.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    with pytest.raises(UserError, match=f"run `lit-knn {command}`"):
        changed.open(classifier, data)


# ---------------------------------------------------------------- parts of it


def test_views_are_windows_over_one_random_order(opened, classifier, image):
    rows = len(opened.store)
    small, large, other = opened.view(0, 300), opened.view(0, 900), opened.view(200, 500)
    assert [view.among.sum() for view in (small, large, other)] == [300, 900, 300]
    assert (large.among | ~small.among).all()  # nested
    assert (small.among & other.among).sum() == 100  # the overlap is exact
    assert small.among[: rows // 2].any()
    assert small.among[rows // 2 :].any()  # spread over the store
    assert opened.among is None
    features = opened.features(classifier, image)[1]["late"]
    found = small.search("late", features, 5)
    assert small.among[found.ids].all()
    full = opened.search("late", features, rows).ids
    expected = np.stack([row[small.among[row]][:5] for row in full])
    np.testing.assert_array_equal(found.ids, expected)
    with pytest.raises(UserError, match=r"rows 0 to 9,999 .* but it has 1,297"):
        opened.view(0, 9999)


def test_the_defense_may_search_a_part(database_path, classifier, data):
    taps = [Tap(**tap) for tap in TAPS]
    part = Database(path=database_path, taps=taps, rows=200)
    part.open(classifier, data)
    assert part.among.sum() == 200
    again = Database(path=database_path, taps=taps, rows=200, order_seed=1)
    again.open(classifier, data)
    assert (part.among != again.among).any()
    with pytest.raises(UserError, match="rows is 0"):
        Database(path=database_path, taps=taps, rows=0)


def test_images_of_rows_come_back(opened, data):
    ids = np.array([[3, 0], [1296, 7]])
    images = opened.images(ids, torch.device("cpu"))
    assert images.shape == (2, 2, 3, 8, 8)
    source = data.database.open_shard(0)
    for found, id in zip(images.flatten(0, 1), ids.ravel(), strict=True):
        expected = np.asarray(source.read(int(id)).image).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
