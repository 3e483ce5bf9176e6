import numpy as np
import pytest
import torch

from lit_knn.database.index import Binary, Faiss, Scan, Selection, nearest
from lit_knn.database.store import Schema, ShardWriter, Store, shard_name, write_manifest
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError

K = 20
BITS = 64


@pytest.fixture(scope="module")
def signs():
    """3,040 features of −1 and 1 around 40 centers."""
    rng = np.random.default_rng(0)
    centers = rng.choice([-1.0, 1.0], (40, BITS))
    flips = np.where(rng.random((3040, BITS)) < 0.15, -1, 1)
    return (centers[rng.integers(0, 40, 3040)] * flips).astype(np.float32)


@pytest.fixture(scope="module")
def bits(signs, tmp_path_factory):
    """A store of 3,000 of them, in two shards."""
    folder = tmp_path_factory.mktemp("bits")
    schema = Schema(num_classes=2, dimensions={"late": BITS}, weights=(), packed=False, key_width=1, bits=("late",))
    for shard, part in enumerate((signs[:1000], signs[1000:3000])):
        ids = np.arange(len(part))
        softmax = np.full((len(part), 2), 0.5, np.float32)
        with ShardWriter(folder / shard_name(shard), capacity=len(part), schema=schema, fingerprint={}) as writer:
            writer.append(
                features={"late": part}, softmax=softmax, weights={}, ids=ids, label=ids, key=[""] * len(part)
            )
            writer.seal()
    write_manifest(folder, range(2))
    return Store(folder)


@pytest.fixture(scope="module")
def hamming(signs):
    return (signs[3000:, None] != signs[None, :3000]).sum(axis=2)  # (N, M)


def built(index, store, folder, count):
    index.train(store, "late", folder)
    for number in range(1, count + 1):
        index.add(store, "late", folder, Partition(number, count))
    index.merge(store, "late", folder)
    return index.open(store, "late", folder)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("factory", ["BFlat", "BIVF8"])
def test_distances_are_those_of_the_nearest_codes(factory, count, bits, signs, hamming, tmp_path):
    found = built(Binary(factory=factory, nprobe=8), bits, tmp_path, count).search(torch.from_numpy(signs[3000:]), K)
    np.testing.assert_array_equal(found.distances, np.sqrt(4 * np.sort(hamming, axis=1)[:, :K].astype(np.float32)))
    np.testing.assert_array_equal(
        np.sqrt(4 * np.take_along_axis(hamming, found.ids.numpy(), 1).astype(np.float32)), found.distances
    )
    assert all(len(set(row)) == K for row in found.ids.tolist())


def test_floats_find_the_same_distances(bits, signs, tmp_path):
    expected = built(Binary(), bits, tmp_path / "binary", 1).search(torch.from_numpy(signs[3000:]), K).distances
    for index in (Scan(device="cpu"), Faiss(device="cpu")):
        opened = built(index, bits, tmp_path / type(index).__name__, 1)
        found = opened.search(torch.from_numpy(signs[3000:]), K).distances
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_shares_find_what_the_whole_finds(bits, signs, tmp_path):
    index = Binary(factory="BIVF8", nprobe=8)
    expected = built(index, bits, tmp_path / "whole", 1).search(torch.from_numpy(signs[3000:]), K)
    index.train(bits, "late", tmp_path / "parts")
    for number in (1, 2, 3):
        index.add(bits, "late", tmp_path / "parts", Partition(number, 3))
    shares = [index.open(bits, "late", tmp_path / "parts", Partition(number, 2)) for number in (1, 2)]
    found = nearest([share.partial(torch.from_numpy(signs[3000:]), K) for share in shares], K)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_only_some_rows(bits, signs, hamming, tmp_path):
    allowed = np.random.default_rng(1).permutation(3000)[:500]
    among = Selection.of(allowed, 3000)
    found = built(Binary(), bits, tmp_path / "flat", 1).search(torch.from_numpy(signs[3000:]), K, among)
    assert np.isin(found.ids, allowed).all()
    np.testing.assert_array_equal(
        found.distances, np.sqrt(4 * np.sort(hamming[:, allowed], axis=1)[:, :K]).astype(np.float32)
    )
    with pytest.raises(UserError, match=r"'BIVF8' cannot search a part of its rows \(.*\); use BFlat"):
        built(Binary(factory="BIVF8"), bits, tmp_path / "ivf", 1).search(torch.from_numpy(signs[3000:]), K, among)


def test_a_row_of_an_ivf_takes_its_code_and_its_id(bits, tmp_path):
    """So 256 bits take 40 bytes, besides the centroids."""
    index = Binary(factory="BIVF8")
    built(index, bits, tmp_path / "whole", 1)
    index.train(bits, "late", tmp_path / "trained")
    empty = (tmp_path / "trained" / "trained.faiss").stat().st_size
    assert (tmp_path / "whole" / "merged-000002.faiss").stat().st_size - empty <= 3000 * (
        BITS // 8 + 8
    ) + 8 * 8  # and the length of each list


def test_what_cannot_be_built(bits, store, tmp_path):
    with pytest.raises(UserError, match="FAISS has no binary index 'Flat' for 64 bits"):
        Binary(factory="Flat").build(bits, "late", tmp_path)
    with pytest.raises(UserError, match="searches bits, which tap 'late' does not have: set its `bits: true`"):
        Binary().build(store, "late", tmp_path)
    with pytest.raises(UserError, match="'BIVF4096' cannot be trained on 3000 of the 3000 rows"):
        Binary(factory="BIVF4096").build(bits, "late", tmp_path)
    with pytest.raises(UserError, match="nprobe: 0, training_rows: None; from 1 is accepted"):
        Binary(nprobe=0)
