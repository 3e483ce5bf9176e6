"""Runs whose records are counted from what became of each image, by what counts those of a test."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch

from lit_knn.evaluation.metrics import Tally
from lit_knn.evaluation.sample_results import SampleResultFiles, SampleResults
from lit_knn.report.results import Variant, answers_of
from lit_knn.report.results.record import RECORD_FILE, Record
from lit_knn.report.results.runs import find_runs
from lit_knn.report.results.samples import SAMPLES_FOLDER
from lit_knn.storage.fingerprint import digest
from tests.report.conftest import make_record

NONE, KNN = Variant("none"), Variant("kNN", "late", 50, "CBW-D", "soft", 1000)


class Made(NamedTuple):
    """What a run is made of; ``hits (A, E, N, V, T)`` counts right evaluations."""

    hits: np.ndarray
    ids: tuple[int, ...]
    lines: tuple[Variant, ...] = (NONE, KNN)
    cases: tuple[tuple[str, str], ...] = (("gray_box", "PGD"),)
    deltas: tuple[float, ...] = (0.0, 0.1)
    topk: tuple[int, ...] = (1,)
    batch: int = 7
    cascade: bool = False
    source: str = "digits-test"
    config: dict = {"seed_everything": 0}  # noqa: RUF012
    norm: str = "relative_l2"

    def write(self, folder):
        """Write record and results of each image into a folder, and return the run."""
        tally = Tally(self.cases, self.deltas, self.lines, self.topk, norm=self.norm, cascade=self.cascade)
        fingerprints = {"cases": [[*case] for case in self.cases], "lines": [*map(str, self.lines)]}
        shape = (len(self.cases), len(self.deltas), len(answers_of(self.lines)), len(self.topk))
        files = SampleResultFiles(folder / SAMPLES_FOLDER, digest(fingerprints), shape)
        hits, each = torch.tensor(self.hits, dtype=torch.int16), torch.tensor(self.ids)
        for start in range(0, len(each), self.batch):
            part, ids = hits[:, :, start : start + self.batch], each[start : start + self.batch]
            size = torch.zeros(part.shape[:3])
            right = torch.ones(len(ids)) > 0
            passes = torch.ones(*part.shape[:3], 2).long()
            results = SampleResults(part, size, size, right, ~right, size > 1, passes)
            files.write(ids, results)
            tally.count(ids, results)
        record = dataclasses.replace(
            make_record(deltas=(0.0,)),
            fingerprints=fingerprints,
            config=self.config,
            queries={"images": len(each), "source": self.source},
            results=tally.accuracy.rows(),
        )
        record.save(folder)
        return find_runs([folder]).finished[0]


def draw(shape, right, seed=0):
    return (np.random.default_rng(seed).random(shape) < right).astype(np.int16)


@pytest.fixture
def made():
    """40 images: the undefended network loses them all, the defense keeps two thirds."""
    hits = draw((1, 2, 40, 2, 1), 0.9)
    hits[:, 1, :, 0], hits[:, 1, :, 1] = 0, draw((1, 40, 1), 0.67, seed=1)
    return Made(hits, tuple(range(40)))


def changed(folder, **values):
    """Change fields of a record that has been written."""
    dataclasses.replace(Record.load(folder / RECORD_FILE), **values).save(folder)
    return find_runs([folder]).finished[0]
