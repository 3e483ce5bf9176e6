import resource

import numpy as np
import pytest
import torch

from lit_knn.database.index import Binary, Faiss
from lit_knn.database.index.binary import Bits
from lit_knn.database.index.faiss_files import Empty, FaissFormat, opened, refuse_numbers, sample
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.storage.sidecar import changed_files
from tests.storage.test_sidecar import mutations


@pytest.mark.parametrize(("wanted", "expected"), [(25, 25), (300, 300), (10**6, 300)])
def test_the_sample_is_as_large_as_asked_for_seeded_and_without_repetition(wanted, expected):
    ids = sample(300, wanted, 0)
    assert len(ids) == expected
    assert (np.diff(ids) > 0).all()
    assert np.array_equal(sample(300, wanted, 0), ids)
    assert np.array_equal(sample(300, wanted, 1), ids) == (expected == 300)


@pytest.mark.parametrize(("training_rows", "usual", "expected"), [(None, 40, 40), (25, 40, 25), (None, 10**6, 300)])
def test_it_is_trained_on_the_usual_number_unless_another_is_given(training_rows, usual, expected, small, tmp_path):
    """Of floats and of bits, whose other parts test_floats.py and test_binary.py prove."""
    seen = []

    class Trainee(Bits):
        def empty(self, store, tap):
            index = load_faiss().IndexIVFFlat(load_faiss().IndexFlat(8), 8, 4)
            return Empty(index, "IVF4,Flat", usual, {"a": 1})

        def rows(self, store, tap, ids):
            seen.extend(ids)
            return store.features(tap, ids)

    assert FaissFormat(Trainee("IVF4,Flat", 1, training_rows, 3)).train(small, "late", tmp_path / "x") == {"a": 1}
    assert np.array_equal(seen, sample(300, expected, 3))


@pytest.mark.parametrize("binary", [False, True])
def test_a_file_that_is_none_is_named(binary, tmp_path):
    (tmp_path / "none").write_bytes(b"XXXX" * 9)
    with pytest.raises(UserError, match=r"none is damaged .*; run `lit-knn index` again"):
        opened(tmp_path / "none", {}, binary=binary)


def in_parts(index, store, tap, folder, count=2):
    index.train(store, tap, folder)
    for number in range(1, count + 1):
        index.add(store, tap, folder, Partition(number, count))


def ids(index, store, tap, folder):
    queries = torch.from_numpy(store.features(tap, np.arange(0, len(store), 31)) + np.float32(0.01))
    return index.open(store, tap, folder).partial(queries, 10).ids


IVF = Faiss(factory="IVF16,Flat", search_parameters={"nprobe": 4}, device="cpu")


@pytest.mark.parametrize("name", ["merged-000003.faiss", "merged-000003.ivfdata"])
def test_files_of_another_tap_are_refused_and_made_again(name, store, tmp_path):
    """They are as large to the byte."""
    for tap in ("early", "late"):
        in_parts(IVF, store, tap, tmp_path / tap)
        IVF.merge(store, tap, tmp_path / tap)
    expected = ids(IVF, store, "late", tmp_path / "late")
    other = (tmp_path / "early" / name).read_bytes()
    if name == "merged-000003.ivfdata":  # of as many bytes
        other = other.ljust((tmp_path / "late" / name).stat().st_size, b"0")[
            : (tmp_path / "late" / name).stat().st_size
        ]
    (tmp_path / "late" / name).write_bytes(other)
    with pytest.raises(UserError, match=rf"late/{name} has changed since it was sealed; run `lit-knn index` again"):
        IVF.open(store, "late", tmp_path / "late")
    IVF.build(store, "late", tmp_path / "late")
    assert np.array_equal(ids(IVF, store, "late", tmp_path / "late"), expected)


@pytest.mark.parametrize("merged", [True, False])
def test_what_a_sentence_says_is_mended_by_the_command_that_it_names(merged, small, tmp_path):
    """Whatever file is damaged, at its start, in the middle or at its end, cut, emptied or gone."""
    index = Faiss(factory="IVF16,Flat", search_parameters={"nprobe": 4}, device="cpu")

    def fresh():
        for path in tmp_path.iterdir():
            path.unlink()
        in_parts(index, small, "late", tmp_path, 3)
        if merged:
            index.merge(small, "late", tmp_path)

    fresh()
    expected = ids(index, small, "late", tmp_path)
    for path, content in [(path, path.read_bytes()) for path in sorted(tmp_path.iterdir())]:
        middle = len(content) // 2
        for damage in (b"", content[:middle], b"XXXX" + content[4:], content[:-4] + b"XXXX", content[:middle] + b"!"):
            fresh()
            path.write_bytes(damage)
            if merged and path.name.startswith("trained"):  # which only a store that has grown would need
                assert len(list(changed_files(tmp_path))) == 1
            else:
                with pytest.raises(UserError, match=r"run `lit-knn index`") as error:
                    index.open(small, "late", tmp_path)
                assert path.name.removesuffix(".json") in str(error.value)
            index.build(small, "late", tmp_path)
            assert list(changed_files(tmp_path)) == []
            assert np.array_equal(ids(index, small, "late", tmp_path), expected)


def test_damage_of_what_was_tuned_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.plan.EXACT_UP_TO", 10)
    index = Faiss(factory="auto", device="cpu")
    index.build(small, "late", tmp_path)
    index.tune(small, "late", tmp_path, lambda opened: 1)
    tuned = tmp_path / "tuned.json"
    good = tuned.read_bytes()
    index.open(small, "late", tmp_path)
    for damaged in [good.replace(b'"nprobe": 1', b'"nprobe": 3'), *mutations(good)]:
        tuned.write_bytes(damaged)
        with pytest.raises(UserError, match=r"tuned.json is (damaged .*|not what .*); run `lit-knn index` again"):
            index.open(small, "late", tmp_path)
    index.tune(small, "late", tmp_path, lambda opened: 1)
    assert tuned.read_bytes() == good


@pytest.mark.parametrize("limit", [100, 2000, 9000])
def test_what_cannot_be_written_in_full_is_not_sealed(limit, small, tmp_path):
    index = Faiss()  # 9,600 bytes of rows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match=r"\.faiss(\.json)? cannot be (written|read back)"):
            index.build(small, "late", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not index.is_built(tmp_path)
    index.build(small, "late", tmp_path)
    assert ids(index, small, "late", tmp_path).shape == (10, 10)


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        *((factory, "leave out IDMap") for factory in ("IDMap,Flat", "Flat,IDMap2", "IVF16,Flat,IDMap")),
        *((factory, "a number that is too small") for factory in ("HNSW0", "HNSW1", "IVF16_HNSW1,Flat", "IVF0,Flat")),
        *((factory, "a number that is too small") for factory in ("PQ4x0", "RR0,Flat", "NSG0")),
        ("ZnLattice2x4_6", "keeps no index 'ZnLattice2x4_6' in a file, choose another"),
    ],
)
def test_factories_that_faiss_takes_and_cannot_be_used(factory, sentence, small, tmp_path):
    with pytest.raises(UserError, match=sentence):
        Faiss(factory=factory).build(small, "late", tmp_path)
    if "IDMap" in factory:
        with pytest.raises(UserError, match=sentence):
            Binary(factory=f"B{factory}").build(small, "late", tmp_path)
    assert not Faiss(factory=factory).is_built(tmp_path)


@pytest.mark.parametrize("factory", ["HNSW10", "PCA4,Flat", "IVF10,PQ4x10"])
def test_factories_with_other_numbers(factory):
    refuse_numbers(factory)
