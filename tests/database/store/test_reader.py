import multiprocessing

import numpy as np
import pytest
import torch

from lit_knn.database.store import NeighborPredictions, Skipped, Store, read_header, shard_name, write_manifest
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from tests.database.store.example import FINGERPRINT, rows, schema, write_shard, write_store

SHAPES = [(), (0,), (1,), (50,), (4, 5), (0, 5), (2, 3, 4)]


@pytest.fixture(params=[(30, False), (30, True), (5, True)], ids=["dense", "packed", "packed, few classes"])
def stored(request, tmp_path):
    num_classes, packed = request.param
    expected = write_store(tmp_path, schema(num_classes=num_classes, packed=packed))
    return Store(tmp_path, fingerprint=FINGERPRINT), expected


def predictions(store, ids):
    rows = torch.from_numpy(store.raw("softmax", ids))
    return NeighborPredictions.of_rows(rows, store.schema.num_classes, packed=store.schema.packed)


@pytest.mark.parametrize("shape", SHAPES)
def test_gathers_are_numpy_indexing(stored, shape):
    store, expected = stored
    ids = np.random.default_rng(0).integers(0, len(store), shape)
    np.testing.assert_array_equal(store.softmax_rows(ids), expected["softmax"][ids])
    for tap in ("early", "late"):
        features = store.features(tap, ids)
        assert features.dtype == np.float32
        np.testing.assert_array_equal(features, expected[tap][ids])
    for name in ("entropy", "gap"):
        np.testing.assert_array_equal(store.weights(name, ids), expected[name][ids])
    np.testing.assert_array_equal(store.labels(ids), expected["label"][ids])
    np.testing.assert_array_equal(store.votes(ids), predictions(store, ids).classes())
    shard, row = store.locate(ids)
    np.testing.assert_array_equal(shard, expected["shard"][ids])
    np.testing.assert_array_equal(row, expected["ids"][ids])
    assert store.keys(ids) == expected["key"][ids].ravel().tolist()


def test_every_row_and_every_boundary(stored):
    store, expected = stored
    for ids in (np.arange(20), np.arange(20)[::-1], np.array([6, 7, 8, 7, 6, 0, 19])):
        np.testing.assert_array_equal(store.softmax_rows(ids), expected["softmax"][ids])
        assert store.locate(ids)[0].tolist() == expected["shard"][ids].tolist()


def test_predictions_are_the_softmax(stored):
    store, expected = stored
    ids = np.arange(20).reshape(4, 5)
    probability, label, classes = predictions(store, ids)
    assert classes == store.schema.num_classes
    assert probability.dtype == torch.float32
    if store.schema.packed:
        np.testing.assert_array_equal(probability, expected["softmax"][ids]["probability"])
        np.testing.assert_array_equal(label, expected["softmax"][ids]["class"])
        assert label.dtype == torch.int64
    else:
        assert label is None
        np.testing.assert_array_equal(probability, expected["softmax"][ids])


@pytest.mark.parametrize("rows_per_block", [1, 5, 7, 65_536])
def test_blocks_are_all_features_in_order(stored, rows_per_block):
    store, expected = stored
    blocks = list(store.feature_blocks("late", rows=rows_per_block))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), expected["late"])
    assert [first for first, _ in blocks] == np.cumsum([0, *(len(block) for _, block in blocks)])[:-1].tolist()
    assert all(block.dtype == np.float32 and 0 < len(block) <= rows_per_block for _, block in blocks)


@pytest.mark.parametrize("within", [range(20), range(3, 9), range(7, 8), range(12, 20), range(5, 5)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_of_some_rows_are_all_of_them_once(stored, within, count):
    store, expected = stored
    shares = [
        list(store.feature_blocks("late", within=within, share=Partition(i + 1, count), rows=3)) for i in range(count)
    ]
    blocks = dict(block for share in shares for block in share)
    assert len(blocks) == sum(map(len, shares))
    found = [row for first, block in blocks.items() for row in range(first, first + len(block))]
    assert sorted(found) == list(within)
    for first, block in blocks.items():
        np.testing.assert_array_equal(block, expected["late"][first : first + len(block)])


@pytest.fixture
def signed(tmp_path):
    expected = write_store(tmp_path, schema(bits=True))
    return Store(tmp_path), expected["signs"]


@pytest.mark.parametrize("shape", SHAPES)
def test_bits_are_read_as_signs_or_as_they_are(signed, shape):
    store, expected = signed
    ids = np.random.default_rng(0).integers(0, len(store), shape)
    features, codes = store.features("signs", ids), store.codes("signs", ids)
    assert (features.dtype, codes.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(features, expected[ids])
    assert set(np.unique(features)) <= {-1, 1}
    np.testing.assert_array_equal(codes, np.packbits(expected[ids] > 0, axis=-1))
    assert codes.shape == (*shape, 2)


@pytest.mark.parametrize("rows_per_block", [1, 5, 65_536])
def test_blocks_of_bits(signed, rows_per_block):
    store, expected = signed
    features = list(store.feature_blocks("signs", rows=rows_per_block))
    codes = list(store.code_blocks("signs", rows=rows_per_block))
    assert [first for first, _ in features] == [first for first, _ in codes]
    np.testing.assert_array_equal(np.concatenate([block for _, block in features]), expected)
    np.testing.assert_array_equal(np.concatenate([block for _, block in codes]), np.packbits(expected > 0, axis=1))


def test_a_tap_without_bits_has_no_codes(signed):
    store, _ = signed
    for codes in (lambda: store.codes("late", np.array([0])), lambda: list(store.code_blocks("late"))):
        with pytest.raises(UserError, match="no bits of tap 'late'; it has signs"):
            codes()


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path, schema())
    return Store(tmp_path)


@pytest.mark.parametrize("ids", [[-1], [20], [0, 19, 20], [[0], [-20]]])
def test_ids_out_of_range(store, ids):
    with pytest.raises(IndexError, match="the store has 0 to 19"):
        store.softmax_rows(np.array(ids))


@pytest.mark.parametrize("ids", [[0.0], [True]])
def test_ids_that_are_no_integers(store, ids):
    with pytest.raises(IndexError, match="integers"):
        store.labels(np.array(ids))


def test_an_unknown_column_is_refused_with_what_there_is(store):
    with pytest.raises(UserError, match=r"no weight/hubness; it has .*weight/entropy"):
        store.weights("hubness", np.array([0]))


def test_shards_without_rows_and_skipped_images(tmp_path):
    columns = schema()
    write_shard(tmp_path, 0, columns, [], failures=[(0, "a", "cut")])
    write_shard(tmp_path, 3, columns, [rows(columns, 4, seed=3)], failures=[(9, "b", "gray"), (10, "c", "cut")])
    write_shard(tmp_path, 5, columns, [], failures=[(0, "d", "cut")])
    write_manifest(tmp_path, [0, 3, 5])
    store = Store(tmp_path)
    assert len(store) == 4
    assert store.skipped() == [
        Skipped(0, 0, "a", "cut"),
        Skipped(3, 9, "b", "gray"),
        Skipped(3, 10, "c", "cut"),
        Skipped(5, 0, "d", "cut"),
    ]
    shard, row = store.locate(np.arange(4))
    assert shard.tolist() == [3, 3, 3, 3]
    assert row.tolist() == [0, 2, 4, 6]
    store.verify()


def test_a_name_that_is_not_utf8_comes_back(tmp_path):
    batch = rows(schema(), 2)
    batch["key"][1] = b"\xff.png".decode(errors="surrogateescape")
    write_shard(tmp_path, 0, schema(), [batch])
    write_manifest(tmp_path, [0])
    assert Store(tmp_path).keys(np.array([1])) == [batch["key"][1]]


def test_no_manifest_no_store(tmp_path):
    write_shard(tmp_path, 0, schema(), [rows(schema(), 4)])
    with pytest.raises(UserError, match=r"manifest\.json is missing.*lit-knn extract"):
        Store(tmp_path)


def test_another_fingerprint_is_named(store):
    with pytest.raises(UserError, match="classifier is 'abc' where 'xyz' is expected") as error:
        Store(store.folder, fingerprint=FINGERPRINT | {"classifier": "xyz"})
    assert "dataset" not in str(error.value)


def test_a_missing_shard_is_named(store):
    (store.folder / shard_name(1)).unlink()
    with pytest.raises(UserError, match=r"shard-000001\.h5 is missing"):
        Store(store.folder)


def test_a_shard_cut_short_is_refused(store):
    path = store.folder / shard_name(2)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"shard-000002\.h5 is damaged"):
        Store(store.folder)


def test_a_shard_that_was_replaced_is_refused(store):
    write_shard(store.folder, 2, schema(), [rows(schema(), 12, seed=99)])
    with pytest.raises(UserError, match=r"not the one manifest\.json lists"):
        Store(store.folder)
    write_shard(store.folder, 2, schema(), [rows(schema(), 12)], fingerprint=FINGERPRINT | {"dataset": "letters"})
    with pytest.raises(UserError, match="dataset is 'letters' where 'digits' is expected"):
        Store(store.folder)


@pytest.mark.parametrize("column", ["features/early", "softmax", "vote", "weight/gap", "id", "label", "key"])
def test_verify_finds_one_flipped_bit(store, column):
    store.verify()
    path = store.folder / shard_name(2)
    content = bytearray(path.read_bytes())
    content[read_header(path).offsets[column] + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"column {column} of store shard .*shard-000002.h5 has changed"):
        Store(store.folder).verify()


def _total(store, ids, queue):
    queue.put(float(store.features("late", ids).sum()))


def test_a_store_survives_a_fork(store):
    context = multiprocessing.get_context("fork")
    queue, ids = context.SimpleQueue(), np.arange(20)
    child = context.Process(target=_total, args=(store, ids, queue))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert queue.get() == float(store.features("late", ids).sum())
