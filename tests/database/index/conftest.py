"""A store of clustered features, in three shards, and engines that keep vectors."""

import itertools
import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from lit_knn.database.index import Neighbors
from lit_knn.database.store import Schema, ShardWriter, Store, shard_name, write_manifest
from tests.database.index.milvus_server import MilvusServer


class Killed(BaseException):
    """Of a process, as far as an exception can play it."""


@contextmanager
def killed_at(moment, *names):
    """Let functions of `os` do their work so many times, and raise `Killed` from then on: nothing is tidied up, either.

    Moments are those at which files get and lose their names.
    """
    calls = itertools.count()

    def mortal(change):
        def call(*args, **options):
            if next(calls) >= moment:
                raise Killed
            return change(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(f"os.{name}", mortal(getattr(os, name)))
        yield


def write_features(folder, features, shards=3, *, bits=False):
    """Write rows ``(M, D)`` as tap "late" and their negatives as tap "early"; all else is as simple as it gets.

    Shards are so many, as long as each other, or cut at these rows.
    """
    schema = Schema(
        num_classes=2,
        dimensions={"early": features.shape[1], "late": features.shape[1]},
        weights=(),
        packed=False,
        key_width=1,
        bits=("early", "late") if bits else (),
    )
    parts = np.array_split(features, shards)
    for shard, part in enumerate(parts):
        ids = np.arange(len(part))
        path = folder / shard_name(shard)
        with ShardWriter(path, capacity=len(part), schema=schema, fingerprint={}) as writer:
            writer.append(
                features={"late": part, "early": -part},
                softmax=np.full((len(part), 2), 0.5, np.float32),
                weights={},
                ids=ids,
                label=ids,
                key=[""] * len(part),
            )
            writer.seal()
    write_manifest(folder, range(len(parts)))
    return Store(folder)


def clustered(rows, dimension=64, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(100, dimension))
    return (centers[rng.integers(0, 100, rows)] + 0.3 * rng.normal(size=(rows, dimension))).astype(np.float32)


def found(ids, distances):
    """What a searcher answers, from arrays."""
    return Neighbors(torch.from_numpy(ids), torch.from_numpy(distances.astype(np.float32)))


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """10,000 rows of 64 dimensions."""
    return write_features(tmp_path_factory.mktemp("store"), clustered(10_000))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """300 rows of 8 dimensions."""
    return write_features(tmp_path_factory.mktemp("small"), clustered(300, dimension=8))


@pytest.fixture(scope="session")
def queries():
    """40 queries near the rows of `store`."""
    return torch.from_numpy(clustered(10_040)[10_000:])


ENGINES = ("lite", "server")  # which of them a test of Milvus meets


@pytest.fixture
def lite(tmp_path):
    """The file of a milvus-lite that runs in this process until the test ends."""
    pytest.importorskip("milvus_lite", reason="the package milvus-lite is not installed")
    from milvus_lite.server_manager import server_manager_instance

    path = str(tmp_path / "lite.db")
    yield path
    server_manager_instance.release_server(path)


@pytest.fixture(scope="session")
def milvus_program(pytestconfig):
    """Where the program of a Milvus server is unpacked, once for all runs."""
    pytest.importorskip("milvus", reason="the package milvus, which has a server, is not installed")
    return pytestconfig.cache.mkdir("milvus-server")


@pytest.fixture(scope="session")
def server(tmp_path_factory, milvus_program):
    """A Milvus server that runs until the last test ends."""
    with MilvusServer(tmp_path_factory.mktemp("server"), milvus_program) as running:
        yield running


@pytest.fixture(params=ENGINES)
def engine(request):
    """The URI of each of them."""
    found = request.getfixturevalue(request.param)
    return found if request.param == "lite" else found.uri


@pytest.fixture
def prefix(request):
    """How the collections of a test start, as a server keeps those of the tests before."""
    return f"test_{next(_numbers)}"


_numbers = itertools.count()
