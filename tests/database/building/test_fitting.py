import numpy as np
import pytest
import torch

from lit_knn.backbones import Moments, Projection, Tap
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.building.fitting import Fitting, MomentFiles, moments_folder, remove_moments
from lit_knn.distributed.partition import Partition
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from tests.conftest import TAPS, contents
from tests.database.building.test_base import Lengths

LENGTHS = [60, 0, 45, 7]


@pytest.fixture
def data():
    return ImageData(queries=Digits(split="test"), database=Lengths(LENGTHS), batch_size=16)


@pytest.fixture
def database(tmp_path):
    return Database(path=tmp_path / "d", taps=[Tap(**tap) for tap in TAPS])


def moments(classifier, database, data, part, tmp_path):
    trainer = EvalTrainer(
        default_root_dir=tmp_path, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False
    )
    fitting = Fitting(classifier, database, data, part, MomentFiles(database, classifier, data).kept(part))
    trainer.predict(fitting, return_predictions=False)
    return fitting.moments


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_projection_is_pca_of_all_rows(tmp_path, classifier, database, batch_size):
    """The independent reference: NumPy's covariance of activations from a plain loop. One image has no variance."""
    data = ImageData(queries=Digits(split="test"), database=Lengths(LENGTHS), batch_size=batch_size)
    whole = moments(classifier, database, data, Partition(), tmp_path)
    batches = [data.on_after_batch_transfer(batch) for batch in data.database_batches(range(4))]
    image = torch.cat([batch["image"] for batch in batches])
    for name, pooled in classifier.activations(image, list(database.taps.values())).items():
        assert int(whole[name].rows) == sum(LENGTHS)
        mean, covariance = whole[name].mean(), whole[name].covariance()
        expected = pooled.double().numpy()
        scale = expected.std(axis=0).max()
        np.testing.assert_allclose(mean.numpy(), expected.mean(axis=0), atol=scale / 100)
        np.testing.assert_allclose(covariance.numpy(), np.cov(expected.T), atol=scale**2 / 100)


@pytest.mark.filterwarnings("ignore:Total length")  # Lightning's, of a part without images
@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_parts_add_up_to_the_bytes_of_the_whole(tmp_path, classifier, database, data, count):
    """One of four has no image, two of six no shard."""
    MomentFiles(database, classifier, data).seal(
        moments(classifier, database, data, Partition(), tmp_path), Partition()
    )
    expected = contents(database.path)
    assert set(expected) == {"projection/early.h5", "projection/late.h5"}

    split = Database(path=tmp_path / "split", taps=list(database.taps.values()))
    files = MomentFiles(split, classifier, data)
    for number in range(count, 0, -1):
        part = Partition(number, count)
        assert part in files.missing(part)
        files.seal(moments(classifier, split, data, part, tmp_path), part)
        assert len(files.missing(part)) == number - 1
    files.fit(count)
    assert {name: data for name, data in contents(split.path).items() if name.startswith("projection")} == expected
    remove_moments(split)
    remove_moments(split)  # another part may have been as far
    assert contents(split.path) == expected


def test_moments_of_another_sample_are_refused(tmp_path, classifier, database, data):
    for number, batch_size in ((1, 16), (2, 32)):
        changed = ImageData(queries=data.queries, database=data.database, batch_size=batch_size)
        files = MomentFiles(database, classifier, changed)
        files.seal(moments(classifier, database, changed, Partition(number, 2), tmp_path), Partition(number, 2))
    with pytest.raises(UserError, match="batch size is '16' where '32' is expected"):
        files.fit(2)
    assert not database.projection_path("early").exists()


def sealed_parts(classifier, database, data, tmp_path):
    files = MomentFiles(database, classifier, data)
    for number in (1, 2):
        files.seal(moments(classifier, database, data, Partition(number, 2), tmp_path), Partition(number, 2))
    return files, [files.path("late", Partition(number, 2)) for number in (1, 2)]


def test_moments_of_two_parts_or_taps_that_change_places_are_refused(tmp_path, classifier, database, data):
    files, (one, two) = sealed_parts(classifier, database, data, tmp_path)
    whole = two.read_bytes()
    two.write_bytes(one.read_bytes())
    with pytest.raises(UserError, match=r"part is '1/2' where '2/2' is expected"):
        files.fit(2)
    two.write_bytes(files.path("early", Partition(2, 2)).read_bytes())
    with pytest.raises(UserError, match=r"tap early is .* where 'absent' is expected"):
        files.fit(2)
    two.write_bytes(whole)
    files.fit(2)


def test_damaged_moments_are_removed_so_that_their_part_is_read_again(tmp_path, classifier, database, data):
    files, (_, two) = sealed_parts(classifier, database, data, tmp_path)
    whole = two.read_bytes()
    two.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"late-000002-of-000002.h5 is damaged .*run `lit-knn fit` again for part 2/2"):
        files.fit(2)
    assert files.missing(Partition(1, 2)) == [Partition(2, 2)]
    files.seal(moments(classifier, database, data, Partition(2, 2), tmp_path), Partition(2, 2))
    assert two.read_bytes() == whole
    files.fit(2)


def test_a_half_written_file_of_moments_is_missing(tmp_path, classifier, database, data):
    files = MomentFiles(database, classifier, data)
    files.seal({name: Moments(torch.randn(4, 3)) for name in database.taps}, Partition(1, 2))
    (moments_folder(database) / f".{files.path('early', Partition(2, 2)).name}.x.tmp").write_text("half")
    files.seal({"late": Moments(torch.randn(4, 3))}, Partition(2, 2))  # and the other tap's never came
    assert files.missing(Partition(1, 2)) == [Partition(2, 2)]


@pytest.mark.parametrize(
    ("scale", "bits", "kept"), [(1e-6, False, False), (1e-2, False, True), (1e6, False, False), (1e-6, True, True)]
)
def test_features_that_float16_cannot_tell_apart_or_hold_are_refused(tmp_path, classifier, data, scale, bits, kept):
    """The reference rounds them as the store would: the neighbors of rows must stay nearly the same."""
    database = Database(path=tmp_path / "d", taps=[Tap("layer3.1.add", dimension=16, bits=bits, name="late")])
    rows = torch.randn(400, 16, generator=torch.Generator().manual_seed(0)) * scale
    sums = Moments(rows)
    sums.update(rows)
    files = MomentFiles(database, classifier, data)
    exact, rounded = rows.double(), rows.half().double()
    nearest = [torch.cdist(part, part).topk(2, largest=False).indices[:, 1] for part in (exact, rounded)]
    same = float((nearest[0] == nearest[1]).double().mean())
    if kept:
        assert bits or same > 0.95
        files.seal({"late": sums}, Partition())
    else:
        assert same < 0.95
        with pytest.raises(UserError, match=r"tap 'late' have a standard deviation of .*; float16 keeps 0.00024 to"):
            files.seal({"late": sums}, Partition())


def test_every_second_row_is_every_second_row_in_parts_too(tmp_path, classifier, data):
    database = Database(path=tmp_path / "d", taps=[Tap(**TAPS[1])], projection_rows=56)
    files = MomentFiles(database, classifier, data)
    for number in (1, 2):
        files.seal(moments(classifier, database, data, Partition(number, 2), tmp_path), Partition(number, 2))
    files.fit(2)
    fitted = Projection.load(database.projection_path("late"), database.origins(classifier, data)["late"])
    assert fitted.rows == 30 + 0 + 23 + 4
