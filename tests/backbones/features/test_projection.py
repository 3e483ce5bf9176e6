import h5py
import numpy as np
import pytest
import torch

from lit_knn.backbones import Moments, Projection
from lit_knn.backbones.features.projection import signs
from lit_knn.errors import DamageError, UserError

ORIGIN = {"classifier": "a"}


def rows(n=500, size=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -3, size)
    mixing = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q
    return torch.randn(n, size, generator=generator) * scales @ mixing + 5


def moments_of(features, batches, calibration=None):
    moments = Moments(features[:64] if calibration is None else calibration)
    for batch in batches:
        moments.update(features[batch])
    return moments


def test_it_is_pca():
    features = rows()
    projection = Projection.fit(moments_of(features, [slice(0, 200), slice(200, 500)]), 6)
    centered = features.double().numpy() - features.double().numpy().mean(0)
    _, singular, directions = np.linalg.svd(centered, full_matrices=False)
    assert projection.rows == 500
    np.testing.assert_allclose(projection.variances, singular[:6] ** 2 / 499, rtol=1e-3)
    cosines = np.abs((projection.components.double().numpy() * directions[:6]).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    projected = projection(features)
    torch.testing.assert_close(projected.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    assert projected.shape == (500, 6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_units_of_the_features_do_not_matter(scale):
    features = rows() * scale
    variances = Projection.fit(moments_of(features, [slice(None)]), 5).variances
    expected = torch.linalg.svdvals(features.double() - features.double().mean(0))[:5] ** 2 / 499
    torch.testing.assert_close(variances, expected.float(), rtol=1e-3, atol=0)


def test_every_sum_is_exact_so_that_no_order_or_sharing_changes_a_bit():
    features = rows(1000)
    calibration = features[:50]
    one = moments_of(features, [slice(None)], calibration)
    parts = [torch.arange(start, 1000, 7) for start in range(7)]
    ranks = [moments_of(features, parts[rank::3], calibration) for rank in (2, 0, 1)]
    for name in ("rows", "total", "outer"):
        assert torch.equal(getattr(one, name), sum(getattr(rank, name) for rank in ranks))


def test_a_whole_projection_keeps_all_distances():
    features = rows(100, 8)
    projected = Projection.fit(moments_of(features, [slice(None)]), 256)(features)
    assert projected.shape == (100, 8)
    before, after = (torch.cdist(rows.double(), rows.double()) for rows in (features, projected))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_the_inverse_keeps_what_was_kept():
    features = rows()
    moments = moments_of(features, [slice(None)])
    whole = Projection.fit(moments, 20)
    torch.testing.assert_close(whole.inverse(whole(features)), features, atol=1e-4, rtol=0)
    few = Projection.fit(moments, 6)
    lost = (few.inverse(few(features)) - features).double()
    variances = torch.linalg.svdvals(features.double() - features.double().mean(0)) ** 2
    torch.testing.assert_close(lost.square().sum(), variances[6:].sum(), rtol=1e-3, atol=0)
    with pytest.raises(UserError, match="are signs, of which no activation"):
        Projection.fit(moments, 8, bits=True).inverse(torch.ones(1, 8))


def test_large_matrices_find_the_same_subspace(monkeypatch):
    features = rows(400, 60)
    exact = Projection.fit(moments_of(features, [slice(None)]), 4)
    monkeypatch.setattr("lit_knn.backbones.features.projection.FULL_DECOMPOSITION", 10)
    found = Projection.fit(moments_of(features, [slice(None)]), 4)
    torch.testing.assert_close(found.variances, exact.variances, rtol=1e-4, atol=0)
    torch.testing.assert_close((found.components @ exact.components.T).abs(), torch.eye(4), atol=1e-3, rtol=0)


def test_a_constant_dimension_is_harmless():
    features = rows(100, 5)
    features[:, 2] = 3.0
    projection = Projection.fit(moments_of(features, [slice(None)]), 4)
    assert torch.isfinite(projection(features)).all()
    torch.testing.assert_close(projection.components[:, 2].abs().max(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_bad_features():
    features = rows(100, 5)
    moments = Moments(features)
    with pytest.raises(UserError, match="at least 2 images"):
        Projection.fit(moments, 2)
    features[3, 1] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        moments.update(features)
    moments = Moments(rows(100, 5))
    moments.update(rows(100, 5) * 1e9)
    with pytest.raises(UserError, match="projection_rows"):
        moments.covariance()


def test_files(tmp_path):
    features = rows()
    projection = Projection.fit(moments_of(features, [slice(None)]), 6)
    path = tmp_path / "projection" / "tap.h5"
    with pytest.raises(UserError, match="lit-knn extract"):
        Projection.load(path, ORIGIN)
    projection.save(path, ORIGIN)
    loaded = Projection.load(path, ORIGIN)
    assert torch.equal(loaded(features), projection(features))
    assert loaded.fingerprint() == projection.fingerprint()
    assert [file.name for file in path.parent.iterdir()] == ["tap.h5"]
    with pytest.raises(UserError, match="classifier"):
        Projection.load(path, {"classifier": "b"})


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.attrs.__delitem__("rows"),
        lambda file: file.attrs.__setitem__("rows", "many"),
        lambda file: file.attrs.__setitem__("origin", "[]"),
        lambda file: file.attrs.__setitem__("origin", '{"classifier": 3}'),
        lambda file: file.attrs.__setitem__("origin", 3),
        lambda file: file.__delitem__("mean"),
        lambda file: replace(file, "mean", np.zeros(4, np.float32)),
        lambda file: replace(file, "components", np.zeros(6, np.float32)),
        lambda file: replace(file, "variances", np.full(6, np.nan, np.float32)),
        lambda file: replace(file, "variances", np.zeros(6)),
        lambda file: replace(file, "components", "text"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "tap.h5"
    Projection.fit(moments_of(rows(), [slice(None)]), 6).save(path, ORIGIN)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(DamageError, match=r"tap.h5 is damaged \(.*\); run `lit-knn extract`"):
        Projection.load(path, ORIGIN)
    for content in (b"", b"text", path.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(DamageError, match=r"tap.h5 is damaged \(.*\); run `lit-knn extract`"):
            Projection.load(path, ORIGIN)


def test_a_changed_bit_of_a_file_is_damage(tmp_path):
    path = tmp_path / "tap.h5"
    projection = Projection.fit(moments_of(rows(), [slice(None)]), 6)
    projection.save(path, ORIGIN)
    content = path.read_bytes()
    for name in Projection.PARTS:
        held = getattr(projection, name).numpy().tobytes()
        assert content.count(held) == 1
        changed = bytearray(content)
        changed[content.index(held)] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DamageError, match="run `lit-knn extract`"):
            Projection.load(path, ORIGIN)


def replace(file, name, value):
    del file[name]
    file[name] = value


def test_it_works_in_the_dtype_of_its_input():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    moments = Moments(rows)
    moments.update(rows)
    projection = Projection.fit(moments, 3)
    double = projection(rows.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, (rows.double() - projection.mean) @ projection.components.double().T)
    torch.testing.assert_close(projection(rows), double.float(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- bits


def test_bits_are_the_signs_of_the_components():
    features = rows()
    floats, bits = (Projection.fit(moments_of(features, [slice(None)]), 8, bits=kept) for kept in (False, True))
    projected = bits(features)
    assert projected.dtype == torch.float32
    np.testing.assert_array_equal(projected, np.where(floats(features).numpy() >= 0, 1.0, -1.0))
    assert bits(features.double()).dtype == torch.float64
    balance = projected.mean(dim=0).abs()
    assert balance.max() < 0.2  # PCA centers them: each tells nearly a whole bit


def test_the_sign_of_zero_is_positive_and_that_of_no_number_none():
    values = torch.tensor([-2.0, -0.0, 0.0, 1e-30, torch.nan])
    assert signs(values).tolist()[:4] == [-1.0, 1.0, 1.0, 1.0]
    assert signs(values)[4].isnan()


def test_bits_pass_gradients_straight_through():
    features = rows(n=4, size=20).requires_grad_()
    upstream = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    floats, bits = (Projection.fit(moments_of(rows(), [slice(None)]), 8, bits=kept) for kept in (False, True))
    expected, found = (
        torch.autograd.grad(projection(features), features, upstream)[0] for projection in (floats, bits)
    )
    assert torch.equal(found, expected)
    assert found.abs().sum() > 0


def test_bits_fill_bytes():
    moments = moments_of(rows(), [slice(None)])
    with pytest.raises(UserError, match=r"has 20 of them.*multiples of 8"):
        Projection.fit(moments, 256, bits=True)
    assert Projection.fit(moments, 16, bits=True)(rows()).shape == (500, 16)


def test_files_remember_bits(tmp_path):
    floats, bits = (Projection.fit(moments_of(rows(), [slice(None)]), 8, bits=kept) for kept in (False, True))
    assert floats.fingerprint() != bits.fingerprint()
    bits.save(tmp_path / "tap.h5", ORIGIN)
    loaded = Projection.load(tmp_path / "tap.h5", ORIGIN)
    assert loaded.fingerprint() == bits.fingerprint()
    assert torch.equal(loaded(rows()), bits(rows()))
