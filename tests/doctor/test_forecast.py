import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.database.index import Faiss, Scan
from lit_knn.defenses import KNN, NoDefense
from lit_knn.doctor import forecast
from lit_knn.doctor.forecast import Rates, hours, index_bytes, measure, size, store_bytes
from lit_knn.evaluation.module import Evaluation

CPU = torch.device("cpu")
TAPS = [Tap(layer="layer1.0.add", pool=2, dimension=24, name="early"), Tap(layer="layer3.1.add", name="late")]
RATES = Rates(read=100.0, forward=50.0, both=20.0, lengths={"early": 128, "late": 128}, classes=10)
Usage = namedtuple("Usage", ["total", "used", "free"])


def test_a_disk_that_is_full(copied, ask, monkeypatch):
    """Of the two that are asked for it is the database's, which is to be built."""
    copied["model"]["database"]["path"] += "-new"
    asked = []

    def usage(path):
        asked.append(path)
        return Usage(10**12, 0, 10**12 if len(asked) == 1 else 50_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    code, said = ask(copied)
    assert code == 1
    assert all(Path(path).exists() for path in asked)  # whatever of the folders is there already
    assert "✓ disk of runs" in said
    assert "✗ disk of the database about" in said
    assert "50 kB are free: choose another disk" in said


def test_bytes_are_those_that_a_store_and_an_index_take(sharded):
    folder = Path(sharded["model"]["database"]["path"])
    database = Database(path=folder, taps=[TAPS[0], Tap(layer="layer3.1.add", dimension=24, name="late")], index="auto")
    there = sum(path.stat().st_size for path in (folder / "store").glob("*.h5"))
    assert 1297 * store_bytes(database, RATES) == pytest.approx(there, rel=0.35)  # HDF5's own are 8 kB a shard
    assert 1297 * store_bytes(database, RATES) < there
    index = folder / "index" / "early" / "merged.faiss"
    assert index.stat().st_size <= 1297 * index_bytes(database, "early", RATES)
    assert index.stat().st_size == pytest.approx(1297 * index_bytes(database, "early", RATES), rel=0.1)


def test_bytes_of_runs_are_those_that_a_test_keeps(reference, built, ask):
    there = sum(path.stat().st_size for path in (reference / "activations").rglob("*") if path.is_file())
    _, said = ask(built)
    told, unit = said.partition("disk of runs about ")[2].split()[:2]
    assert unit in ("kB", "MB")
    assert there == pytest.approx(float(told) * {"kB": 1e3, "MB": 1e6}[unit], rel=0.35)


def test_an_index_of_bits_several_taps_and_none(tmp_path):
    bits = Tap(layer="layer1", dimension=64, bits=True, name="bits")
    database = Database(path=tmp_path, taps=[*TAPS, bits], index=Faiss(factory="Flat"))
    rates = RATES._replace(lengths={**RATES.lengths, "bits": 128})
    assert index_bytes(database, "bits", rates) == 64 // 8 + 8
    assert index_bytes(database, "late", rates) == 4 * 128 + 8  # as short as its layer
    assert index_bytes(database, "early+late", rates) == 4 * (24 + 128) + 8
    assert index_bytes(Database(path=tmp_path, taps=TAPS, index=Scan()), "late", rates) == 0


@pytest.mark.parametrize(("cascade", "start"), [(False, "20 min"), (True, "at most, as a cascade")])
def test_hours_are_images_and_passes_by_their_rates(tmp_path, classifier, data, cascade, start):
    """100 queries of PGD's 10 steps there and back, from random and the image, at 2 sizes: 24,000 at 20 a second."""
    evaluation = Evaluation(
        classifier=classifier,
        attacks=[PGD(steps=10, restarts=12)],
        deltas=[0.1, 0.2],
        defenses=[NoDefense(), KNN(taps=["early"])],
        database=Database(path=tmp_path, taps=TAPS),
        cascade=cascade,
    )
    data.num_queries = 100
    extract, attack = hours(evaluation, data, RATES, 180_000, CPU)
    assert extract.sentence.startswith("1.5 h for 180,000 images to come: 100 images/s read and 50 through the network")
    assert attack.sentence.startswith(start)
    assert "20 min for 48,000 passes: 40 passes/s there and back, measured now on cpu with 50 images" in attack.sentence


def test_a_rate_is_how_often_something_is_done(monkeypatch, classifier, data):
    clock = iter(range(100_000))
    monkeypatch.setattr(forecast, "time", SimpleNamespace(monotonic=lambda: next(clock) / 10))
    rates = measure(classifier, classifier, TAPS, data, CPU)
    each = [rates.read, rates.forward, rates.both]
    assert each == pytest.approx([50 / 0.11] * 3)  # ten times 50 images until a second is over, and a tenth to see it
    assert rates.lengths == {"early": 32 * 4, "late": 128}
    assert rates.classes == 10


def test_bytes_for_people():
    assert [size(count) for count in (0, 999, 1_500, 2.85e9, 1e18)] == ["0 B", "999 B", "1.5 kB", "2.85 GB", "1e+03 PB"]
