import shutil
import subprocess

import h5py
import numpy as np
import pytest
import torch

from lit_knn.attacks import FGSM
from lit_knn.backbones import Classifier, Tap
from lit_knn.backbones.features.pooling import pool
from lit_knn.data import Digits, ImageData, TarShards
from lit_knn.database import Database
from lit_knn.database.building import findings
from lit_knn.database.store import Store, read_manifest, stored_weights, write_manifest
from lit_knn.distributed.partition import Partition
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from tests.conftest import TAPS, contents, small_disk
from tests.data.conftest import encode, photo, write_tar
from tests.database.building.test_base import Lengths

NANS = """
from torch import nn
from lit_knn.backbones.digits import digits_resnet
class Net(nn.Module):
    def __init__(self, below):
        super().__init__()
        self.net, self.below = digits_resnet(), below
    def forward(self, x):
        bad = x.mean(dim=(1, 2, 3), keepdim=True) < self.below
        return self.net(x.masked_fill(bad, float("nan")))
def network(below): return Net(below)
"""


def extract(database, classifier, data, tmp_path, **options):
    quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    trainer = EvalTrainer(default_root_dir=tmp_path, **quiet, **options)
    trainer.extract(Evaluation(classifier=classifier, attacks=[FGSM()], deltas=[0.1], database=database), data)
    return Store(database.store_path)


def all_images(data):
    batches = [data.on_after_batch_transfer(batch) for batch in data.database_batches([0])]
    return torch.cat([batch["image"] for batch in batches]), torch.cat([batch["label"] for batch in batches])


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize(("network", "output"), [("Isinstance", None), ("Pair", 0)])
def test_rows_are_what_the_network_returns(network, output, data, tmp_path):
    torch.manual_seed(0)
    classifier = Classifier(network=f"tests.backbones.own_networks.{network}", output=output)
    store = extract(Database(path=tmp_path / "db", taps=[Tap("conv", dimension=4)]), classifier, data, tmp_path)
    image, _ = all_images(data)
    answer = classifier.network(classifier.normalize(image))
    softmax = (answer if output is None else answer[output]).softmax(-1)
    np.testing.assert_allclose(store.softmax_rows(np.arange(len(store))), softmax.numpy(), atol=1e-3)


class OneMore(Digits):
    """Digits whose labels go from 1 to 10, with or without names."""

    class_names = None

    def open_shard(self, index):
        shard = super().open_shard(index)
        return type(shard)(shard.name, shard.keys(), shard._images, shard._labels + 1)


@pytest.mark.parametrize("names", [None, list("abc")])
def test_labels_that_are_no_classes_of_the_network_are_unknown(classifier, data, tmp_path, caplog, names):
    source = OneMore(split="train")
    source.class_names = names
    store = extract(
        Database(path=tmp_path / "db", taps=[Tap(**TAPS[1])]),
        classifier,
        ImageData(queries=source, database=source),
        tmp_path,
    )
    label = all_images(data)[1] + 1
    expected = label.where(label < 10, -1) if names is None else torch.full_like(label, -1)
    assert np.array_equal(store.labels(np.arange(len(store))), expected.numpy())
    assert sum("OneMore has 3 classes" in record.message for record in caplog.records) == (names is not None)


def test_rows_are_those_of_a_plain_loop(database, classifier, data):
    """The independent reference: one forward pass of hooked layers, PCA by NumPy's SVD."""
    store = Store(database.store_path)
    image, label = all_images(data)
    ids = np.arange(len(store))
    assert len(store) == len(image) == 1297
    assert np.array_equal(store.labels(ids), label.numpy())
    assert store.keys(ids[:1]) == [data.database.open_shard(0).keys()[0]]
    assert np.array_equal(store.locate(ids)[1], ids)

    softmax = classifier(image).softmax(-1)
    np.testing.assert_allclose(store.softmax_rows(ids), softmax.numpy(), atol=1e-3)
    for name, weight in stored_weights(softmax).items():
        np.testing.assert_allclose(store.weights(name, ids), weight.numpy(), rtol=1e-4, atol=1e-5)

    maps = {}
    block = classifier.network.layer1[0]
    handles = [
        block.bn3.register_forward_hook(lambda _m, _i, out: maps.__setitem__("main", out.clone())),
        block.shortcut.register_forward_hook(lambda _m, _i, out: maps.__setitem__("shortcut", out.clone())),
    ]
    classifier.network(classifier.normalize(image))
    for handle in handles:
        handle.remove()
    pooled = pool(maps["main"] + maps["shortcut"], 2).double().numpy()
    centered = pooled - pooled.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    found = store.features("early", ids)
    expected = centered @ directions[:24].T
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=0.02 * np.abs(expected).max())


def test_the_batch_size_hardly_matters(tmp_path, database, classifier, data):
    other = ImageData(queries=data.queries, database=data.database, batch_size=64)
    again = extract(Database(path=tmp_path / "d", taps=list(database.taps.values())), classifier, other, tmp_path)
    store, ids = Store(database.store_path), np.arange(1297)
    np.testing.assert_allclose(again.softmax_rows(ids), store.softmax_rows(ids), atol=1e-3)
    # The first batch fixes the grid of the moments: directions of nearly equal variance turn, distances stay.
    found, expected = (torch.pdist(torch.from_numpy(part.features("late", ids)).double()) for part in (again, store))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.04)


def test_projections_may_be_fitted_on_a_part(tmp_path, classifier, data):
    taps = [Tap(**tap) for tap in TAPS]
    database = Database(path=tmp_path / "d", taps=taps, projection_rows=100)
    store = extract(database, classifier, data, tmp_path)
    projections, _ = database.fitted(classifier, data)
    assert len(store) == 1297  # all rows are written
    assert {projection.rows for projection in projections.values()} == {len(range(0, 1297, 12))}


def test_packed_rows_on_request(tmp_path, classifier, data):
    database = Database(path=tmp_path / "d", taps=[Tap(**TAPS[1])], softmax="packed")
    assert extract(database, classifier, data, tmp_path).schema.packed


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_without_an_image_are_sealed_without_rows(tmp_path, classifier, num_workers):
    """The first one is sealed before any image has told how many classes there are, the last one after all."""

    class Gaps(Digits):
        def shard_names(self):
            return ["none", "all", "nothing"]

        def open_shard(self, index):
            shard = super().open_shard(0)
            return shard if index == 1 else type(shard)("empty", [], shard._images[:0], shard._labels[:0])

    data = ImageData(queries=Digits(split="test"), database=Gaps(split="train"), num_workers=num_workers)
    database = Database(path=tmp_path / "d", taps=[Tap("layer3.1.add", name="late")])
    store = extract(database, classifier, data, tmp_path)
    assert len(store) == 1297
    assert {path.name for path in database.store_path.iterdir()} == {
        "manifest.json",
        *(f"shard-{shard:06d}.h5" for shard in range(3)),
    }
    assert set(store.locate(np.arange(1297))[0]) == {1}
    store.verify()


# ---------------------------------------------------------------- shards in their places


THREE = [40, 40, 40]


class Later(Lengths):
    """Other digits, as many, under the same identity."""

    def open_shard(self, index):
        return Lengths([130, *self.lengths]).open_shard(index + 1)


@pytest.fixture
def three(tmp_path, classifier):
    """Build a database of three shards of the same size."""

    def call(folder, source=Lengths):
        data = ImageData(queries=Digits(split="test"), database=source(THREE), batch_size=16)
        database = Database(path=tmp_path / folder, taps=[Tap("layer3.1.add", dimension=8, name="late")])
        extract(database, classifier, data, tmp_path)
        return database, data

    return call


def test_a_shard_in_the_place_of_another_is_refused_found_and_made_anew(tmp_path, three, classifier):
    database, data = three("d")
    before = contents(database.path)
    one, two = database.shard_path(1), database.shard_path(2)
    assert one.stat().st_size == two.stat().st_size
    shutil.copy(one, two)
    with pytest.raises(UserError, match=r"000002\.h5 holds the rows of shard-000001\.h5; run `lit-knn extract` again"):
        database.open(classifier, data)
    assert any("holds the rows of" in finding for finding in findings(database, classifier, data, Partition()))
    (database.store_path / "manifest.json").unlink()  # nor does one that knows nothing of it believe it
    with pytest.raises(UserError, match="holds the rows of"):
        write_manifest(database.store_path, range(3))
    extract(database, classifier, data, tmp_path)
    assert contents(database.path) == before


def test_shards_that_change_places_are_both_made_anew(tmp_path, three, classifier):
    database, data = three("d")
    before = contents(database.path)
    first, last = database.shard_path(0), database.shard_path(2)
    first.rename(tmp_path / "kept")
    last.rename(first)
    (tmp_path / "kept").rename(last)
    extract(database, classifier, data, tmp_path)
    assert contents(database.path) == before


def test_a_shard_of_other_images_under_the_same_fingerprint_is_found(tmp_path, three, classifier):
    database, data = three("d")
    other, _ = three("other", Later)
    assert list(findings(database, classifier, data, Partition())) == []
    shutil.copytree(database.path / "projection", other.path / "projection", dirs_exist_ok=True)
    for path in other.store_path.iterdir():  # made again with this projection: nothing but the images differs
        path.unlink()
    other, _ = three("other", Later)
    shutil.copy(other.shard_path(1), database.shard_path(1))
    (database.store_path / "manifest.json").unlink()
    extract(database, classifier, data, tmp_path)
    (finding,) = findings(database, classifier, data, Partition())
    assert f"{database.shard_path(1)} was made from other images" in finding


def test_a_shard_that_has_lost_rows_is_made_anew(tmp_path, three, classifier):
    database, data = three("d")
    before = contents(database.path)
    with h5py.File(database.shard_path(1), "r+") as file:
        file.attrs["rows"] = 30
    with pytest.raises(UserError, match="30 rows and 0 images left out, of 40 in all"):
        database.open(classifier, data)
    extract(database, classifier, data, tmp_path)
    assert contents(database.path) == before


def test_files_of_two_taps_that_change_places_are_refused(tmp_path, database, classifier, data):
    copy = Database(path=tmp_path / "copy", taps=list(database.taps.values()))
    shutil.copytree(database.path, copy.path)
    early, late = (copy.projection_path(tap).read_bytes() for tap in ("early", "late"))
    copy.projection_path("early").write_bytes(late)
    copy.projection_path("late").write_bytes(early)
    with pytest.raises(UserError, match=r"early\.h5 is of another origin: tap early is 'absent'"):
        copy.open(classifier, data)


def test_shards_with_other_columns_are_refused_before_any_work(tmp_path, three, classifier):
    database, data = three("d")
    database.shard_path(2).unlink()
    packed = Database(path=database.path, taps=list(database.taps.values()), softmax="packed")
    with pytest.raises(UserError, match=r"keeps softmax rows dense, which .* packed does not: set it to dense"):
        extract(packed, classifier, data, tmp_path)
    assert not database.shard_path(2).exists()


# ---------------------------------------------------------------- what goes wrong


@pytest.fixture
def nans(tmp_path):
    """A network that says NaN for images darker than a limit."""
    file = tmp_path / "nans.py"
    file.write_text(NANS)

    def build(below):
        half = [0.5] * 3
        return Classifier(network=f"{file}:network", arguments={"below": below}, mean=half, std=half)

    return build


TAP = [Tap("net.layer3.1.add", dimension=24, name="late")]


def test_nan_features_stop_the_fit(tmp_path, nans, data):
    database = Database(path=tmp_path / "d", taps=TAP)
    with pytest.raises(UserError, match="NaN or infinite"):
        extract(database, nans(-0.45), data, tmp_path)
    assert not contents(tmp_path / "d")


def test_nan_rows_beside_the_sample_stop_the_writing_and_name_the_image(tmp_path, nans, data):
    """The fit looks at every 648th row only, and does not see them."""
    image, _ = all_images(data)
    mean = ((image - 0.5) / 0.5).mean(dim=(1, 2, 3))
    row = int(mean.argmin())
    assert row >= 50  # not in the first batch
    assert row % 648
    limit = float(mean.sort().values[:2].mean())
    database = Database(path=tmp_path / "d", taps=TAP, projection_rows=2)
    with pytest.raises(UserError, match=data.database.open_shard(0).keys()[row]):
        extract(database, nans(limit), data, tmp_path)
    assert not list(database.store_path.iterdir())  # nothing half-written stays


def test_nan_calibration_rows_beside_the_sample(tmp_path, nans):
    """The first batch fixes the grid of the moments; the fit sees every 648th row of it only."""
    data = ImageData(queries=Digits(split="test"), database=Digits(split="train"), batch_size=2000)
    database = Database(path=tmp_path / "d", taps=TAP, projection_rows=2)
    image, _ = all_images(data)
    limit = float(((image - 0.5) / 0.5).mean(dim=(1, 2, 3)).sort().values[:2].mean())
    with pytest.raises(UserError, match="NaN or infinite"):
        extract(database, nans(limit), data, tmp_path)


def test_a_database_of_one_image_is_too_few_for_pca(tmp_path, classifier):
    class One(Digits):
        def open_shard(self, index):
            shard = super().open_shard(index)
            return type(shard)("one", shard.keys()[:1], shard._images[:1], shard._labels[:1])

    data = ImageData(queries=Digits(split="test"), database=One(split="train"))
    with pytest.raises(UserError, match="at least 2 images"):
        extract(Database(path=tmp_path / "d", taps=[Tap("layer3.1.add")]), classifier, data, tmp_path)


def test_an_unknown_layer_is_named_before_anything_is_written(tmp_path, classifier, data):
    with pytest.raises(UserError, match="no layer 'layer9'"):
        extract(Database(path=tmp_path / "d", taps=[Tap("layer9")]), classifier, data, tmp_path)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("options", [{"limit_predict_batches": 2}, {"limit_predict_batches": 0.5}, {"fast_dev_run": 1}])
def test_a_part_of_the_database_never_passes_for_all_of_it(tmp_path, classifier, data, options):
    with pytest.raises(UserError):
        extract(Database(path=tmp_path / "d", taps=[Tap("layer3.1.add")]), classifier, data, tmp_path, **options)
    assert not contents(tmp_path / "d")


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as folder:
        yield folder


def test_a_read_only_folder_is_named_and_left_as_it_is(tmp_path, disk, classifier, data):
    database = Database(path=disk / "d", taps=[Tap("layer3.1.add", dimension=8, name="late")])
    extract(database, classifier, data, tmp_path)
    (database.store_path / "manifest.json").unlink()
    (database.store_path / "shard-000000.h5").unlink()
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(UserError, match=r"store/shard-000000\.h5 cannot be written: Read-only file system$"):
        extract(database, classifier, data, tmp_path)
    assert contents(disk) == before


def test_a_disk_without_space_for_a_shard_is_named_before_a_row_is_written(tmp_path, disk, classifier, data):
    """HDF5 itself would print pages, and crash when the process ends."""
    database = Database(path=disk / "d", taps=[Tap("layer3.1.add", dimension=8, name="late")])
    with (disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(700 << 10))
    with pytest.raises(UserError, match=r"store/shard-000000\.h5 cannot be written: No space left on device$"):
        extract(database, classifier, data, tmp_path)
    assert not list(database.store_path.iterdir())
    (disk / "ballast").unlink()
    assert len(extract(database, classifier, data, tmp_path)) == 1297


def test_what_looks_like_an_image_of_a_shard_is_listed_in_the_store(classifier, tmp_path, caplog):
    png = encode(photo(0, 8, 8))
    write_tar(tmp_path / "x.tar", {"a.png": png, "b.5.png": png, "c.png": png, "d.gif": b"", "c.seg.png": b""})
    data = ImageData(queries=Digits(split="test"), database=TarShards(urls=str(tmp_path / "x.tar")))
    store = extract(Database(path=tmp_path / "db", taps=[Tap("layer3.1.add", dimension=1)]), classifier, data, tmp_path)
    assert len(store) == 2
    assert [(row, key) for _, row, key, _ in store.skipped()] == [(-1, "b.5.png"), (-1, "d.gif")]
    assert read_manifest(store.folder / "manifest.json")["shards"][0]["skipped"] == 2
    assert "leaves out 2 images: b.5.png (a key ends at the first dot), d.gif" in caplog.text
