import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, NoDefense, RandomCrop, TransformedClassifier
from lit_knn.doctor.forecast import duration, hours, size
from lit_knn.doctor.planning import plan
from lit_knn.doctor.rates import Measured, Rates, Speeds
from lit_knn.evaluation.module import Evaluation
from tests.conftest import TAPS

CROPS = TransformedClassifier(transformation=RandomCrop(), draws=30)
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


@pytest.mark.parametrize(("cascade", "start"), [(False, "23 min"), (True, "at most, as a cascade")])
def test_hours_are_images_and_passes_by_their_rates(tmp_path, classifier, data, cascade, start):
    """100 queries of PGD's 10 steps there and back, from random and the image, at 2 sizes: 24,000 at 20 a second.

    Reading them and showing each three times takes 7 s, and 30 draws of crops three times 3 min.
    """
    evaluation = Evaluation(
        classifier=classifier,
        attacks=[PGD(steps=10, restarts=12)],
        deltas=[0.1, 0.2],
        defenses=[NoDefense(), KNN(taps=["early"]), CROPS],
        database=Database(path=tmp_path, taps=[Tap(**tap) for tap in TAPS]),
        cascade=cascade,
    )
    data.num_queries = 100
    rates = Rates(forward=50.0, both=20.0, lengths={"early": 128, "late": 128}, classes=10, pixels=192)
    measured = Measured(100.0, rates, Speeds(torch.zeros(1, 3, 8, 8), classifier, rates))
    extract, test = hours(evaluation, data, measured, plan(evaluation, kept={}), 180_000, torch.device("cpu"))
    assert extract.sentence.startswith("1.5 h for 180,000 images to come: 100 images/s read and 50 through the network")
    assert test.sentence.startswith(start)
    assert "23 min for 57,300 passes: 40 passes/s there and back, measured now on cpu with 50 images" in test.sentence


def test_times_and_bytes_for_people():
    assert [size(count) for count in (0, 999, 1_500, 2.85e9, 1e18)] == ["0 B", "999 B", "1.5 kB", "2.85 GB", "1e+03 PB"]
    assert [duration(seconds) for seconds in (0, 89, 90, 5399, 5400)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]
