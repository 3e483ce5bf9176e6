import os

import h5py
import numpy as np
import pytest
import torch

from lit_knn.backbones import Moments
from lit_knn.backbones.features import moments as module
from lit_knn.errors import DamageError, UserError

ORIGIN = {"classifier": "a"}


def rows(n=700, size=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, size, generator=generator) * torch.logspace(0, -3, size) + torch.linspace(-5, 5, size)


def moments_of(features, batches=(slice(None),), calibration=None):
    moments = Moments(rows()[:64] if calibration is None else calibration)
    for batch in batches:
        moments.update(features[batch])
    return moments


def assert_equal(one, other):
    for name in ("origin", "steps", "rows", "total", "outer"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def integers(moments, features):
    """Rows in grid steps, as Python sees them."""
    return np.rint((features - moments.origin).mul(moments.steps).numpy()).astype(np.int64)


def full(moments):
    """The upper triangle of the sums, as int64."""
    size, outer, start = len(moments.total), moments.outer.numpy(), 0
    result = np.zeros((size, size), np.int64)
    for row in range(0, size, 256):
        shape = (min(256, size - row), size - row)
        result[row : row + 256, row:] = outer[start : start + np.prod(shape)].reshape(shape)
        start += np.prod(shape)
    assert start == len(outer)
    return np.triu(result)


@pytest.mark.parametrize("factor", [1, 30, 3000])
def test_the_sums_are_those_of_integers(factor):
    """As calibrated, rows are multiplied in float32, at 30 times that in float64, at 3,000 times each would need it."""
    features = (rows() - rows().mean(0)) * factor + rows().mean(0)
    moments = moments_of(features, [slice(0, 100), slice(100, 700)])
    steps = integers(moments, features)
    assert int(moments.rows) == 700
    np.testing.assert_array_equal(moments.total.numpy(), steps.sum(0))
    np.testing.assert_array_equal(full(moments), np.triu(steps.T @ steps))


def test_no_order_or_sharing_changes_a_bit():
    features = rows(3000)
    one = moments_of(features)
    parts = [torch.arange(start, 3000, 7) for start in range(7)]
    first, second, third = (moments_of(features, parts[rank::3]) for rank in (2, 0, 1))
    assert_equal(first.add_(second).add_(third), one)


def test_mean_and_covariance():
    """The grid costs 2⁻¹⁴/12 of each variance, more where the calibration's columns differ much in theirs."""
    features = rows(20_000, 280)
    moments = moments_of(features, calibration=features[:64])
    mean, covariance = moments.mean(), moments.covariance()
    expected = torch.cov(features.double().T)
    scale = expected.diagonal().maximum(expected.diagonal().mean() / 2**12).sqrt()
    torch.testing.assert_close(mean / scale, features.double().mean(0) / scale, rtol=0, atol=1e-4)
    assert ((covariance - expected) / scale / scale[:, None]).abs().max() < 3e-4
    assert torch.equal(covariance, covariance.T)


def test_a_product_with_the_covariance():
    moments = moments_of(rows(700, 600), calibration=rows(64, 600))  # three blocks
    basis = torch.randn(600, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(moments.covariance_times(basis), moments.covariance() @ basis, rtol=1e-9, atol=1e-12)


def test_a_column_that_is_constant_in_the_calibration_counts_all_the_same():
    features = rows(700, 20)
    calibration = features[:64].clone()
    calibration[:, 3] = 0
    moments = Moments(calibration)
    moments.update(features)
    covariance = moments.covariance()
    torch.testing.assert_close(covariance[3, 3], features[:, 3].double().var(), rtol=1e-3, atol=0)


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART", 1000)  # so that the last part is a rest
    features = rows()
    whole, half = moments_of(features), moments_of(features, [slice(0, 350)])
    path = tmp_path / "moments" / "0.h5"
    with pytest.raises(UserError, match="lit-knn fit"):
        Moments.load(path, ORIGIN)
    half.save(path, ORIGIN)
    assert os.listdir(path.parent) == ["0.h5"]
    loaded = Moments.load(path, ORIGIN)
    assert_equal(loaded, half)
    loaded.update(features[350:])  # a task that goes on where it was killed
    assert_equal(loaded, whole)
    with pytest.raises(UserError, match="classifier"):
        Moments.load(path, {"classifier": "b"})


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.attrs.__delitem__("rows"),
        lambda file: file.attrs.__setitem__("rows", "many"),
        lambda file: file.attrs.__setitem__("fingerprint", "[]"),
        lambda file: file.__delitem__("outer"),
        lambda file: replace(file, "outer", np.zeros(7)),
        lambda file: replace(file, "total", np.zeros(7)),
        lambda file: replace(file, "steps", np.zeros(7)),
        lambda file: replace(file, "origin", np.zeros((2, 2))),
        lambda file: replace(file, "origin", 3),
        lambda file: replace(file, "outer", "text"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "0.h5"
    moments_of(rows()).save(path, ORIGIN)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(DamageError, match=r"0.h5 is damaged \(.*\); run `lit-knn fit` again"):
        Moments.load(path, ORIGIN)
    for content in (b"", b"text", path.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(DamageError, match=r"0.h5 is damaged \(.*\); run `lit-knn fit` again"):
            Moments.load(path, ORIGIN)


def replace(file, name, value):
    del file[name]
    file[name] = value


def test_no_flipped_byte_becomes_another_sum(tmp_path):
    path, sums = tmp_path / "moments.h5", moments_of(rows())
    sums.save(path, ORIGIN)
    whole = path.read_bytes()
    for name in ("origin", "steps", "total", "outer"):
        place = whole.find(getattr(sums, name).numpy().tobytes()[:64])
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"moments\.h5 is damaged .*not what was sealed"):
            Moments.load(path, ORIGIN)
    with h5py.File(path, "w") as file:
        sums.write(file, ORIGIN)
        file.attrs["rows"] = int(sums.rows) + 1
    with pytest.raises(UserError, match="not what was sealed"):
        Moments.load(path, ORIGIN)


def test_equal_rows_make_equal_files(tmp_path):
    features = rows()
    moments_of(features).save(tmp_path / "a.h5", ORIGIN)
    moments_of(features, [slice(500, 700), slice(0, 500)]).save(tmp_path / "b.h5", ORIGIN)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("calibration", [rows(seed=1), rows() * 3, rows(size=20)])
def test_other_calibrations_do_not_add_up(calibration):
    with pytest.raises(UserError, match="different rows"):
        moments_of(rows()).add_(Moments(calibration))
