"""What a run keeps, and what it does again after it was stopped: counted in attacks and readings, not in seconds."""

import contextlib
import io

import pytest

from lit_knn.backbones import Classifier
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.database.store import Store
from lit_knn.defenses import KNN, BitDepth, NoDefense, TransformedClassifier
from lit_knn.engine.callbacks import NeighborPictures, run_record
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.evaluation.cache import ActivationCache
from lit_knn.evaluation.module import Evaluation
from tests.conftest import NETWORK
from tests.evaluation.mortal import KilledError, Mortal

BATCHES, DELTAS = 4, [0.05, 0.1, 0.15]


@pytest.fixture
def measure(tmp_path, database):
    """Run a test; return its results, how often it attacked a batch at a Δ, and how many rows of the store it read."""
    read, blocks = [], Store.feature_blocks

    def counted(*args, **named):
        for first, rows in blocks(*args, **named):
            read.append(len(rows))
            yield first, rows

    def call(run="x", *, killed_in=0, index=None, looking=False, only=None, **changes):
        defenses = [NoDefense(), KNN(taps=["early", "late"], k=[5])] + looking * [
            TransformedClassifier(transformation=BitDepth())
        ]
        scanned = Database(path=database.path, taps=list(database.taps.values()), index=index)
        evaluation = Evaluation(
            classifier=Classifier(**NETWORK),
            attacks=[Mortal(steps=1)],
            deltas=DELTAS,
            defenses=defenses,
            database=scanned,
            **changes,
        )
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "limit_test_batches": only}
        trainer = EvalTrainer(default_root_dir=tmp_path, run=run, **options)
        data = ImageData(queries=Digits(split="test"), database=Digits(split="train"), num_queries=40, batch_size=10)
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.setattr(Store, "feature_blocks", counted)
            patch.setattr(Mortal, "dies_in", killed_in)
            patch.setattr(Mortal, "runs", 0)
            patch.setattr(NeighborPictures, "on_test_end", lambda *args: None)  # which attacks and searches again
            patch.setattr(run_record, "defense_costs", lambda evaluation: [])  # which asks each defense again
            read.clear()
            with pytest.raises(KilledError) if killed_in else contextlib.nullcontext():
                trainer.test(evaluation, data)
            return evaluation.results, Mortal.runs, sum(read)

    return call


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def whole(measure):
    """What one run in one go gives."""
    return measure("whole")


@pytest.mark.parametrize("killed_in", [2, 6, 7, 12])
def test_a_killed_run_loses_one_case_delta_and_batch(measure, whole, killed_in, tmp_path):
    """At the first, in the middle and at the end of a batch's Δ; all is the same in the end."""
    assert whole[1] == BATCHES * len(DELTAS)
    measure(killed_in=killed_in)
    results, runs, _ = measure()
    assert runs == whole[1] - (killed_in - 1)
    assert results == whole[0]
    for name in ("results.csv", "sample_results", "activations"):
        one, other = (tmp_path / run / name for run in ("x", "whole"))
        assert (contents(one) or one.read_bytes()) == (contents(other) or other.read_bytes())


@pytest.mark.parametrize("index", [None, Faiss()], ids=["scan", "faiss"])
def test_a_finished_run_attacks_and_scans_nothing_again(measure, index):
    first = measure(index=index)
    again, runs, read = measure(index=index)
    assert again == first[0]
    assert (runs, read) == (0, 0)


def test_half_of_a_run_leaves_half_of_the_work(measure, whole):
    measure(only=2)
    results, runs, _ = measure()
    assert results == whole[0]
    assert runs == whole[1] / 2


def test_a_defense_that_looks_at_the_image_costs_no_reading_of_the_store(measure, whole):
    looking = measure(looking=True)
    assert looking[2] == whole[2] == 2 * 1297  # each tap once
    assert [row for row in looking[0] if row["defense"] != "3-bit"] == whole[0]
    assert measure("other", looking=True, index=Faiss())[0] == looking[0]


def test_answers_are_the_same_from_a_shared_cache_of_another_run(measure, whole, tmp_path):
    shared = {"cache": ActivationCache(path=tmp_path / "shared")}
    assert measure("first", **shared) == whole
    results, runs, read = measure("second", **shared)
    assert (results, runs, read) == (whole[0], 0, whole[2])
    assert not (tmp_path / "second" / "activations").exists()
