import numpy as np
import pytest
import torch

from lit_knn.database.patches import PatchDatabase
from lit_knn.errors import UserError

PATCHES = np.random.default_rng(0).random((400, 48), np.float32)


def held():
    database = PatchDatabase(count=400, size=4)
    database.hold(PATCHES)
    return database


def test_it_is_built_sealed_and_opened(gallery, tmp_path):
    place = tmp_path / "patches"
    built, other = (PatchDatabase(count=3000, per_image=4, index=index) for index in ("auto", "IVF8,Flat"))
    built.build(place, None, gallery)
    assert built.fault(place, gallery) == ""
    assert other.fault(place, gallery)
    built.open(place, gallery)
    first = built.identity()
    vectors = built.vectors(torch.arange(3000))
    assert built.found == 1
    other.build(place, None, gallery)
    other.open(place, gallery)
    assert first != other.identity()
    assert other.found >= 0.95
    assert torch.equal(other.vectors(torch.arange(3000)), vectors)

    windows = gallery.images(gallery.ids[None])[0].unfold(2, 5, 1).unfold(3, 5, 1)
    known = {window.tobytes() for window in windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 75).numpy()}
    assert {patch.tobytes() for patch in vectors.numpy()} <= known


def test_it_finds_the_nearest_of_each_patch():
    queries = torch.rand(3, 7, 48, dtype=torch.float64)
    apart = np.linalg.norm(queries.float().double().numpy()[:, :, None] - PATCHES.astype(np.float64), axis=3)
    found = held().nearest(queries, 6)
    assert np.array_equal(found, apart.argsort(axis=2)[..., :6])
    assert np.array_equal(held().vectors(found), PATCHES[found])


@pytest.mark.parametrize("index", ["Flat", "IVF16,Flat"])
def test_batches_make_no_difference(index, gallery, tmp_path):
    database = PatchDatabase(count=2000, per_image=2, index=index, recall=0.5)
    database.write(tmp_path, None, gallery)
    database.read(tmp_path)
    queries = torch.rand(5, 40, 75)
    whole = database.nearest(queries, 10)
    assert torch.equal(torch.cat([database.nearest(part, 10) for part in queries.split(2)]), whole)


def test_it_has_to_be_opened_before_it_is_searched():
    with pytest.raises(UserError, match="patches is searched before it was opened: run `lit-knn index`"):
        PatchDatabase().nearest(torch.rand(1, 1, 75), 1)


@pytest.mark.parametrize("patches", [PATCHES[:300], PATCHES[:, :27], PATCHES.astype(np.float64)])
def test_other_patches_than_it_says_are_refused(patches):
    with pytest.raises(ValueError, match="patches are"):
        PatchDatabase(count=400, size=4).hold(patches)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"count": 0}, "count: 0; 1 and more"),
        ({"size": 1}, "size: 1; 2 and more"),
        ({"per_image": 0}, "per_image: 0; 1 and more"),
        ({"recall": 1.5}, r"recall in \(0, 1\]"),
        ({"seed": -1}, "seeds from 0"),
        ({"name": "a/b"}, "no name of a folder"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        PatchDatabase(**wrong)
