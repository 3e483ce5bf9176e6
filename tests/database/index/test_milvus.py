"""Against milvus-lite and a server, in a virtual environment of their own; without them, what needs neither."""

import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from lit_knn.cli.main import main
from lit_knn.database.index import Milvus
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from tests.conftest import restored, run
from tests.database.index.conftest import clustered, write_features

K = 20


@pytest.fixture
def index(engine, prefix):
    return Milvus(uri=engine, index_type="FLAT", insert_rows=40, collection=prefix)


def exact(store, tap, queries):
    rows = store.features(tap, np.arange(len(store))).astype(np.float64)
    return np.argsort(np.linalg.norm(queries.numpy()[:, None] - rows, axis=2), axis=1)[:, :K]


def built(index, store, folder, tap="late"):
    index.build(store, tap, folder)
    return index.open(store, tap, folder)


def collections(index):
    with index._connect() as server:
        return sorted(name for name in server.client.list_collections() if name.startswith(index.collection))


# ---------------------------------------------------------------- without a server


def test_no_secret_is_an_argument_or_a_setting():
    with pytest.raises(UserError, match=r"index\.uri holds a password, which run records would keep") as refused:
        Milvus(uri="https://root:hush@host:19530")
    assert "hush" not in str(refused.value)
    assert "TOKEN" not in str(Milvus(token_variable="TOKEN").settings)


@pytest.mark.parametrize("name", ["", "3", "a-b", "ä", "a.b", "a" * 101])
def test_names_that_milvus_does_not_take(name):
    with pytest.raises(UserError, match="accepted are up to 100 letters, digits and _, no digit first"):
        Milvus(collection=name)


@pytest.mark.parametrize("wrong", [{"insert_rows": 0}, {"timeout": 0}])
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(UserError, match="numbers above 0 are accepted"):
        Milvus(**wrong)


def test_what_was_never_built(small, tmp_path):
    assert not Milvus().is_built(tmp_path)
    with pytest.raises(UserError, match="is missing or was never finished; run `lit-knn index`"):
        Milvus().open(small, "late", tmp_path)


def test_collections_are_named_after_all_that_they_depend_on(small, store):
    origins = [
        (Milvus(), small, "late"),
        (Milvus(), small, "early"),
        (Milvus(), store, "late"),
        (Milvus(index_type="FLAT"), small, "late"),
        (Milvus(index_parameters={"nlist": 3}), small, "late"),
        (Milvus(collection="mine"), small, "late"),
        (Milvus().ordered(1), small, "late"),
    ]
    names = [index.collection_origin(of, tap)["collection"] for index, of, tap in origins]
    assert len(set(names)) == len(origins)
    moved = Milvus(uri="http://elsewhere:19530", search_parameters={"ef": 3}, insert_rows=1, timeout=1)
    assert moved.collection_origin(small, "late")["collection"] == names[0]


# ---------------------------------------------------------------- with one


@pytest.mark.milvus
def test_parts_come_in_any_order_and_twice(index, small, tmp_path):
    index.train(small, "late", tmp_path)
    for number in (5, 1, 7, 2, 2, 6, 3, 5, 4):
        index.add(small, "late", tmp_path, Partition(number, 7))
    index.train(small, "late", tmp_path)
    index.merge(small, "late", tmp_path)
    queries = torch.from_numpy(clustered(310, dimension=8)[300:])
    found = index.open(small, "late", tmp_path).search(queries, K)
    assert np.array_equal(found.ids, exact(small, "late", queries))


@pytest.mark.milvus
def test_a_part_that_is_missing_can_be_added_later(index, small, tmp_path):
    with pytest.raises(UserError, match=r"has no collection test_\d+_late_\w{16}; run `lit-knn index`"):
        index.add(small, "late", tmp_path, Partition(1, 2))
    index.train(small, "late", tmp_path)
    index.add(small, "late", tmp_path, Partition(1, 2))
    with pytest.raises(UserError, match="has 152 of 300 rows; run `lit-knn index` for the others"):
        index.merge(small, "late", tmp_path)
    assert not index.is_built(tmp_path)
    index.add(small, "late", tmp_path, Partition(2, 2))
    index.merge(small, "late", tmp_path)
    queries = torch.from_numpy(clustered(310, dimension=8)[300:])
    assert np.array_equal(index.open(small, "late", tmp_path).search(queries, K).ids, exact(small, "late", queries))


@pytest.mark.milvus
def test_taps_stores_and_settings_do_not_mix(index, engine, prefix, small, tmp_path):
    (tmp_path / "store").mkdir()
    other = write_features(tmp_path / "store", clustered(300, dimension=8, seed=1))
    queries = torch.from_numpy(clustered(310, dimension=8)[300:])
    for store, tap in ((small, "late"), (small, "early"), (other, "late")):
        built(index, store, tmp_path / tap, tap)
    assert np.array_equal(
        index.open(small, "early", tmp_path / "early").search(queries, K).ids, exact(small, "early", queries)
    )
    assert np.array_equal(
        index.open(other, "late", tmp_path / "late").search(queries, K).ids, exact(other, "late", queries)
    )
    with pytest.raises(UserError, match=r"is of another origin: .*store is .*; run `lit-knn index` again"):
        index.open(small, "late", tmp_path / "late")
    with pytest.raises(
        UserError, match=r"settings.index_type is 'FLAT' where 'HNSW' is expected.*; run `lit-knn index` again"
    ):
        Milvus(uri=engine, index_type="HNSW", collection=prefix).open(small, "early", tmp_path / "early")
    built(index, small, tmp_path / "late")
    assert len(collections(index)) == 3


@pytest.mark.milvus
def test_a_collection_that_was_dropped_or_emptied(index, small, tmp_path):
    built(index, small, tmp_path)
    (name,) = collections(index)
    with index._connect() as server:
        server.client.delete(name, ids=[17, 18])
        with pytest.raises(UserError, match="has 298 of 300 rows"):
            index.open(small, "late", tmp_path)
        rows = [{"id": row, "rank": 0, "vector": np.zeros(8, np.float32)} for row in (17, 18)]
        server.client.upsert(name, rows)
        opened = index.open(small, "late", tmp_path)  # whoever changes a few rows may not be noticed
        server.client.upsert(name, [row | {"id": 0} for row in rows[:1]])
        with pytest.raises(UserError, match="has other rows than the store: drop it and run `lit-knn index` again"):
            index.open(small, "late", tmp_path)
        server.client.drop_collection(name)
    with pytest.raises(UserError, match=f"has no collection {name}; run `lit-knn index`"):
        index.open(small, "late", tmp_path)
    with pytest.raises(UserError, match=rf"cannot search collection {name} \(.*\); run `lit-knn index`"):
        opened.search(torch.zeros(1, 8), K)
    built(index, small, tmp_path)


@pytest.mark.milvus
def test_what_it_cannot_do(index, engine, prefix, small, store, tmp_path):
    with pytest.raises(
        UserError, match=r"cannot index collection test_\w+ \((unknown|invalid) index.type: '?NONSENSE'?\)"
    ):
        Milvus(uri=engine, index_type="NONSENSE", collection=prefix).build(small, "late", tmp_path)
    with pytest.raises(
        UserError, match=r"BIN_… of Milvus searches bits, which tap 'late' does not have: set its `bits"
    ):
        Milvus(uri=engine, index_type="BIN_FLAT").build(small, "late", tmp_path)
    built(index, small, tmp_path)
    with pytest.raises(UserError, match="shares out its rows by itself: use the index Milvus without Sharded"):
        index.open(small, "late", tmp_path, Partition(1, 2))
    with pytest.raises(UserError, match=r"environment variable NO_SUCH, named by index\.token_variable, is not set"):
        Milvus(uri=engine, token_variable="NO_SUCH").build(small, "late", tmp_path)


@pytest.mark.milvus
def test_no_server(lite, small, tmp_path, capfd):
    index = Milvus(uri=lite, index_type="FLAT", timeout=2)
    opened = built(index, small, tmp_path / "index")
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(lite)
    with pytest.raises(UserError, match=f"Milvus at {lite} cannot search collection .*server unavailable"):
        opened.search(torch.zeros(1, 8), K)
    assert index.is_built(tmp_path / "index")
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=f"Milvus at {uri} cannot be reached .*; index.uri takes the gRPC port"):
        Milvus(uri=uri, index_type="FLAT", timeout=3).open(small, "late", tmp_path / "index")
    with pytest.raises(UserError, match=r"cannot be reached .*; its folder has to exist"):
        Milvus(uri=str(tmp_path / "no" / "lite.db"), index_type="FLAT").open(small, "late", tmp_path / "index")
    with pytest.raises(UserError, match=r"cannot be reached .*nonsense is illegal"):
        Milvus(uri="nonsense", index_type="FLAT").open(small, "late", tmp_path / "index")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.milvus
def test_a_second_process_is_told_why(lite, small, tmp_path):
    built(Milvus(uri=lite, index_type="FLAT"), small, tmp_path)
    code = (
        "import sys; from lit_knn.database.index import Milvus; m = 'pymilvus' in sys.modules; print(m, flush=True); "
    )
    second = subprocess.run(
        [sys.executable, "-c", f"{code}Milvus(uri={lite!r})._connect()"], capture_output=True, text=True, check=False
    )
    assert second.stdout == "False\n"  # pymilvus is imported when it is needed
    assert second.stderr.splitlines()[-1].endswith("; its folder has to exist, and no other process may use it")
    assert "Failed to start MilvusLite" not in second.stderr


@pytest.mark.milvus
def test_the_commands_leave_no_secret(built, engine, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "root:hush-hush")
    database = built["model"]["database"]
    database["path"] = str(shutil.copytree(database["path"], tmp_path / "database"))
    shutil.rmtree(tmp_path / "database" / "index")
    arguments = {"uri": engine, "token_variable": "MILVUS_TOKEN", "index_type": "FLAT", "collection": prefix}
    expected = run("test", built | {"model": built["model"] | {"database": database | {"index": None}}})
    database["index"] = {"class_path": "Milvus", "init_args": arguments}
    run("index", built)
    found = run("test", built)
    assert (found / "results.csv").read_text() == (expected / "results.csv").read_text()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"MILVUS_TOKEN" in path.read_bytes() for path in written)
    assert not any(b"hush-hush" in path.read_bytes() for path in written)


@pytest.mark.milvus
def test_the_whole_quickstart_in_several_sizes(server, prefix, tmp_path):
    """Every defense, from views of a twentieth of the rows on: what the exact scan finds."""
    given = [option for name in ("quickstart", "database/sizes") for option in ("--config", f"configs/{name}.yaml")]
    index = {"class_path": "Milvus", "init_args": {"uri": server.uri, "index_type": "FLAT", "collection": prefix}}
    (tmp_path / "index.yaml").write_text(yaml.safe_dump({"model": {"database": {"index": index}}}))
    found = []
    for folder, more in (("scan", []), ("milvus", ["--config", str(tmp_path / "index.yaml")])):
        here = [
            "--trainer.default_root_dir",
            str(tmp_path / folder),
            "--model.database.path",
            str(tmp_path / "database"),
        ]
        with restored():
            main(["test", *given, *more, *here])
        found.append((tmp_path / folder / "run-001" / "results.csv").read_text())
    assert found[0] == found[1]
    assert found[0].count("\n") > 1000
