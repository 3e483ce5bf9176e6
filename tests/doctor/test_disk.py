import copy
from pathlib import Path

import pytest

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.database.index import Faiss, Scan
from lit_knn.doctor.disk import index_bytes, projection_bytes, store_bytes
from lit_knn.doctor.rates import Rates
from tests.conftest import run

TAPS = [Tap(layer="layer1.0.add", pool=2, dimension=24, name="early"), Tap(layer="layer3.1.add", name="late")]
RATES = Rates(forward=50.0, both=20.0, lengths={"early": 128, "late": 128}, classes=10, pixels=192)
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6}


def written(*folders):
    return sum(path.stat().st_size for folder in folders for path in Path(folder).rglob("*") if path.is_file())


def told(said, disk):
    number, unit = said.partition(f"disk of {disk} about ")[2].split()[:2]
    return float(number) * UNITS[unit]


def test_bytes_are_those_that_a_store_and_an_index_take(sharded):
    folder = Path(sharded["model"]["database"]["path"])
    database = Database(path=folder, taps=[TAPS[0], Tap(layer="layer3.1.add", dimension=24, name="late")], index="auto")
    there = written(folder / "store")
    assert 1297 * store_bytes(database, RATES) == pytest.approx(there, rel=0.35)  # HDF5's own are 8 kB a shard
    assert 1297 * store_bytes(database, RATES) < there
    assert projection_bytes(database, RATES) == pytest.approx(written(folder / "projection"), rel=0.15)
    index = folder / "index" / "early" / "merged-000004.faiss"
    assert index.stat().st_size <= 1297 * index_bytes(database, "early", RATES)
    assert index.stat().st_size == pytest.approx(1297 * index_bytes(database, "early", RATES), rel=0.1)


def test_an_index_of_bits_several_taps_and_none(tmp_path):
    bits = Tap(layer="layer1", dimension=64, bits=True, name="bits")
    database = Database(path=tmp_path, taps=[*TAPS, bits], index=Faiss(factory="Flat"))
    rates = RATES._replace(lengths={**RATES.lengths, "bits": 128})
    assert index_bytes(database, "bits", rates) == 64 // 8 + 8
    assert index_bytes(database, "late", rates) == 4 * 128 + 8  # as short as its layer
    assert index_bytes(database, "early+late", rates) == 4 * (24 + 128) + 8
    assert index_bytes(Database(path=tmp_path, taps=TAPS, index=Scan()), "late", rates) == 0


def test_bytes_of_a_run_are_those_that_a_test_writes(reference, built, ask):
    """All of its folder: activations at two taps, results, record and pictures."""
    _, said = ask(built)
    assert told(said, "runs") == pytest.approx(written(reference), rel=0.15)
    assert "disk of the cache" not in said


def test_bytes_of_a_shared_cache_with_images_and_of_the_run_beside_it(built, ask, tmp_path):
    """Several cases, a defense that looks at the image, and neighbors found in one pass over the store."""
    config = copy.deepcopy(built)
    config["model"]["cache"] = {"path": str(tmp_path / "cache"), "images": True}
    config["model"]["database"] |= {"index": {"class_path": "Scan"}, "rows": [0.5, None]}
    config["model"]["attacks"] += ["RandomNoise"]
    jpeg = {"class_path": "TransformedClassifier", "init_args": {"transformation": "JPEG"}}
    config["model"]["defenses"].append(jpeg)
    _, said = ask(config)
    folder = run("test", config)
    assert told(said, "the cache") == pytest.approx(written(tmp_path / "cache"), rel=0.05)
    assert told(said, "runs") == pytest.approx(written(folder), rel=0.2)
    assert written(folder / "search") > 0
