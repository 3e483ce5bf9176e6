"""Real processes, each with a share of the rows, that ask out of step."""

import socket
from datetime import timedelta

import numpy as np
import pytest
import torch.distributed as dist

from lit_knn.database.index import Faiss, Scan, Selection, Sharded
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from tests.conftest import in_processes

K = 20
BATCHES = (7, 0, 40, 1, 13)  # uneven, and one without queries


def variants():
    exact = {"search_parameters": {"nprobe": 16}, "training_rows": 4000, "device": "cpu"}
    return {
        "flat": Sharded(index=Faiss(device="cpu"), parts=5),
        "ivf": Sharded(index=Faiss(factory="IVF16,SQ8", **exact), parts=5),
        "scan": Sharded(index=Scan(device="cpu", block_rows=1000)),
    }


def questions(queries, rows):
    """Everything that is asked of a variant: the number of a batch, tap, queries, a view of the database."""
    views = [None, *(Selection.of(np.arange(start, rows, 3), rows) for start in (0, 1))]
    starts = np.cumsum([0, *BATCHES])
    for number, (start, size) in enumerate(zip(starts, BATCHES, strict=False)):
        batch = queries.repeat(2, 1)[start : start + size]
        yield number, "late", batch, views[number % 3]
        if number != 1:
            yield number, "early", -batch, None


def search(rank, world, port, folder, store_folder, queries, answers):
    """One process: batch b is asked by process b mod W, and each asks its own without waiting for others."""
    place, patience = f"tcp://127.0.0.1:{port}", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world, timeout=patience)
    store = Store(store_folder)
    for name, index in variants().items():
        opened = {tap: index.open(store, tap, folder / name / tap) for tap in ("early", "late")}
        for number, tap, features, among in questions(queries, len(store)):
            if number % world == rank:
                found = opened[tap].search(features, K, among)
                np.savez(answers / f"{name}-{number}-{tap}", **found._asdict())
        if rank == 0:  # as who has built it measures its recall
            index.open(store, "late", folder / name / "late", alone=True).search(queries, K)
        for share in opened.values():
            share.finish()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def built(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    for name, index in variants().items():
        for tap in ("early", "late"):
            index.build(store, tap, folder / name / tap)
    return folder


@pytest.mark.ddp
@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_processes_finds_what_one_index_finds(world, built, store, queries, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    in_processes(search, world, port, built, store.folder, queries, tmp_path, count=world)
    for name, index in variants().items():
        single = {}
        for tap in ("early", "late"):
            index.index.build(store, tap, tmp_path / name / tap)
            single[tap] = index.index.open(store, tap, tmp_path / name / tap)
        for number, tap, features, among in questions(queries, len(store)):
            expected = single[tap].search(features, K, among)
            with np.load(tmp_path / f"{name}-{number}-{tap}.npz") as found:
                assert np.array_equal(found["ids"], expected.ids), (name, number, tap)
                assert np.array_equal(found["distances"], expected.distances), (name, number, tap)


def test_alone_it_searches_all_its_parts(built, store, queries, tmp_path):
    index = variants()["flat"]
    Faiss(device="cpu").build(store, "late", tmp_path)
    expected = Faiss(device="cpu").open(store, "late", tmp_path).search(queries, K)
    opened = index.open(store, "late", built / "flat" / "late")
    assert np.array_equal(opened.search(queries, K).ids, expected.ids)
    opened.finish()
    assert index.is_built(built / "flat" / "late")
    assert not index.is_built(tmp_path / "nowhere")


def test_jobs_may_cut_it_otherwise(store, queries, tmp_path):
    index = Sharded(index=Faiss(device="cpu"), parts=5)
    index.train(store, "late", tmp_path)
    for number in (1, 2, 3):
        index.add(store, "late", tmp_path, Partition(number, 3))
    index.merge(store, "late", tmp_path)
    assert len(list(tmp_path.rglob("part-*.faiss"))) == 3
    assert index.open(store, "late", tmp_path).search(queries, K).ids.shape == (40, K)


def test_settings():
    with pytest.raises(UserError, match="parts of a Sharded index takes a number from 1, not 0"):
        Sharded(index=Scan(), parts=0)
    with pytest.raises(UserError, match="takes one that is not Sharded itself"):
        Sharded(index=Sharded(index=Scan()))
    assert Sharded(index=Faiss(factory="SQ8")).settings == Faiss(factory="SQ8").settings
