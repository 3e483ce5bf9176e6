"""A fit that was killed, as often as one likes and in any number of processes, gives the sums of one that was not."""

import logging
import random

import h5py
import pytest
import torch

from lit_knn.attacks import FGSM
from lit_knn.backbones import Tap
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.building.fitting import Fitting, MomentFiles, moments_folder
from lit_knn.distributed.partition import Partition
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.storage.fingerprint import to_text
from tests.conftest import TAPS, contents
from tests.database.building.test_base import Lengths

LENGTHS = [60, 0, 45, 7]
BATCHES = 4 + 3 + 1


class Process:
    """What a fit asks of its trainer, in one of several processes that run one after the other, the first one first."""

    def __init__(self, rank, world_size, said):
        self.global_rank, self.world_size, self.is_global_zero = rank, world_size, rank == 0
        self.strategy, self._said = self, said

    def broadcast(self, what):
        return self._said.setdefault("what", what)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("lit_knn.database.building.kept.SECONDS", 0.0)
    monkeypatch.setattr("lit_knn.database.building.kept.SHARE", 0)


@pytest.fixture
def data():
    return ImageData(queries=Digits(split="test"), database=Lengths(LENGTHS), batch_size=16)


@pytest.fixture
def database(tmp_path):
    return Database(path=tmp_path / "d", taps=[Tap(**tap) for tap in TAPS])


@pytest.fixture
def fit(classifier, database, data):
    """Sum in some processes, each of which is killed after a number of batches; return what each has done."""

    def call(*killed_after, part=Partition(), database=database):  # noqa: B008
        said, fits = {}, []
        for rank, most in enumerate(killed_after):
            fitting = Fitting(classifier, database, data, part, MomentFiles(database, classifier, data).kept(part))
            process = Process(rank, len(killed_after), said)
            fitting.trainer = process
            loader = fitting.predict_dataloader()
            taken = 0
            for batch in loader:
                if taken == most:
                    break
                fitting.predict_step({**batch, "image": batch["image"] / 255}, taken)
                taken += 1
            fits.append((fitting.moments, taken))
        return fits

    return call


def total(fits):
    (sums, _), *others = fits
    for more, _ in others:
        sums = {tap: moments.add_(more[tap]) for tap, moments in sums.items()}
    return {tap: (int(moments.rows), moments.total, moments.outer) for tap, moments in sums.items()}


def assert_equal(found, expected):
    for tap, (rows, sums, outer) in expected.items():
        assert found[tap][0] == rows
        assert torch.equal(found[tap][1], sums)
        assert torch.equal(found[tap][2], outer)


@pytest.fixture
def expected(fit, tmp_path):
    elsewhere = Database(path=tmp_path / "whole", taps=[Tap(**tap) for tap in TAPS])
    sums = total(fit(BATCHES, database=elsewhere))
    assert sums["late"][0] == sum(LENGTHS)
    return sums


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_kills_in_any_number_of_processes(fit, expected, seed):
    chance, taken = random.Random(seed), 0
    while taken < BATCHES - 1:
        fits = fit(*(chance.randrange(3) for _ in range(chance.randrange(1, 4))))
        taken += sum(count for _, count in fits)
    fits = fit(BATCHES, BATCHES)
    assert taken + sum(count for _, count in fits) == BATCHES  # none is read twice
    assert_equal(total(fits), expected)


def test_files_with_a_batch_in_common_do_not_count_twice(fit, expected, database, tmp_path):
    """The same command was run twice at once, and both were killed."""
    fit(3)
    twin = Database(path=tmp_path / "twin", taps=list(database.taps.values()))
    fit(5, database=twin)
    for path in moments_folder(twin).iterdir():
        path.rename(moments_folder(database) / path.name)
    ((_, taken),) = fits = fit(BATCHES)
    assert taken == BATCHES - 5
    assert_equal(total(fits), expected)


def test_what_is_damaged_or_of_other_settings_is_passed_over(fit, expected, database, classifier, data, caplog):
    fit(3)
    (path,) = moments_folder(database).iterdir()
    whole = path.read_bytes()

    def again(why):
        with caplog.at_level(logging.INFO, "lit_knn"):
            fits = fit(BATCHES)
        assert fits[0][1] == BATCHES
        assert why in caplog.text
        assert_equal(total(fits), expected)
        for left in moments_folder(database).iterdir():
            left.unlink()
        caplog.clear()

    path.write_bytes(whole[:-500])
    again("is damaged")
    for name in ("batches", "taps/late", "taps/late/total", "taps/early/outer"):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            del file[name]
        again("is damaged")
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["taps/late"].attrs["fingerprint"] = to_text({"classifier": "another"})
    again("of another origin")


def test_a_disk_without_space_is_told_and_stops_nothing(fit, expected, database, caplog):
    database.path.mkdir()
    moments_folder(database).write_text("no folder")
    fits = fit(BATCHES)
    assert "what has been summed is not kept" in caplog.text
    assert_equal(total(fits), expected)


def test_files_of_another_part_are_not_taken(fit):
    fit(1, part=Partition(1, 2))
    ((_, taken),) = fit(BATCHES, part=Partition(2, 2))
    assert taken == BATCHES - 4


# ---------------------------------------------------------------- through the trainer


@pytest.fixture
def extract(tmp_path, classifier, data):
    def call(database):
        quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
        evaluation = Evaluation(classifier=classifier, attacks=[FGSM()], deltas=[0.1], database=database)
        EvalTrainer(default_root_dir=tmp_path, **quiet).extract(evaluation, data)
        return contents(database.path)

    return call


@pytest.mark.parametrize(("error", "seconds"), [(RuntimeError, 0.0), (UserError, 1e9)])
def test_an_extraction_goes_on_with_the_fit(extract, database, tmp_path, monkeypatch, error, seconds):
    """A crash leaves what was sealed last; whoever stops between two batches seals before."""
    expected = extract(Database(path=tmp_path / "whole", taps=list(database.taps.values())))
    monkeypatch.setattr("lit_knn.database.building.kept.SECONDS", seconds)
    take, calls = Fitting.take, []

    def limited(self, batch):
        if len(calls) == 5:
            raise error("the power went")
        calls.append(1)
        take(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Fitting, "take", limited)
        with pytest.raises(error, match="the power went"):
            extract(database)
    assert not database.projection_path("late").exists()
    monkeypatch.setattr(Fitting, "take", lambda self, batch: (calls.append(1), take(self, batch)))
    assert extract(database) == expected
    assert len(calls) == BATCHES
    assert not moments_folder(database).exists()
