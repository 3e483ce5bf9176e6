"""A cascade has the worst case of the full suite, image by image, and leaves out what cannot change it."""

import csv
from collections import Counter

import pytest
import torch
from pytorch_lightning import seed_everything

from lit_knn.attacks import CWL2, FGSM, PGD, Attack, RandomNoise, Square
from lit_knn.attacks.objectives import FeatureSpace, SoftKNN
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.defenses import KNN, NoDefense
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.evaluation.cascade import Cascade, Stage, stages
from lit_knn.evaluation.metrics import by_line
from lit_knn.evaluation.module import Evaluation
from lit_knn.evaluation.sample_results import SampleResults
from lit_knn.evaluation.scoring import Answers
from lit_knn.report.results import WORST_CASE, Variant
from lit_knn.threat_models import GrayBox, WhiteBox

DELTAS = [0.05, 0.1, 0.2]


class Suite:
    """Attacks that break at a Δ what a table says, and count what they are asked for.

    Args:
        broken: ``(A, E, Q, V)`` bool: does case a at the e-th Δ break variant v of query q? Δ = 0 included.
        together: Positions of cases in which one search serves all Δ.
    """

    def __init__(self, broken, together=()):
        self.broken, self.asked, self.sizes = broken, Counter(), []
        cases, deltas = broken.shape[:2]
        self.stages = [
            Stage(case, sizes)
            for case in range(cases)
            for sizes in ([tuple(range(1, deltas))] if case in together else [(e,) for e in range(1, deltas)])
        ]
        self.results = {}

    def hits(self, case, size, ids):
        return (~self.broken[case, size, ids][..., None]).short()

    def attack(self, stage, image, label, ids):
        self.sizes.append(len(ids))
        assert torch.equal(image[:, 0, 0, 0].long(), ids)
        assert torch.equal(label, ids % 7)
        for size in stage.sizes:
            self.asked.update((stage.case, size, id) for id in ids.tolist())
            flat = torch.zeros(len(ids), dtype=torch.bool)
            yield Answers(
                self.hits(stage.case, size, ids), ids / 10 + size, ids / 20 + size, flat, ids[:, None].repeat(1, 2)
            )

    def done(self, ids, results):
        assert not self.results.keys() & set(ids.tolist())
        for row, id in enumerate(ids.tolist()):
            self.results[id] = results.hits[:, :, row], results.realized[:, :, row]

    def run(self, batch_size, queries=None, fill=4):
        ids = torch.arange(self.broken.shape[2]) if queries is None else queries
        cascade = Cascade(self.stages, self.broken.shape[:2], fill, self.attack, self.done)
        for some in ids.split(batch_size):
            clean = self.hits(0, 0, some)[None, None]
            zero = torch.zeros(1, 1, len(some))
            known = torch.zeros(len(some), dtype=torch.bool)
            results = SampleResults(
                clean, zero, zero, known, known, zero.bool(), torch.zeros(1, 1, len(some), 2).long()
            )
            cascade.add(some[:, None, None, None].expand(-1, 3, 2, 2).float(), some % 7, some, results)
        cascade.finish(bool)
        return self


def table(seed, cases=3, deltas=4, queries=23, variants=2, share=0.2):
    broken = torch.rand(cases, deltas, queries, variants, generator=torch.Generator().manual_seed(seed)) < share
    broken[:, 0] = broken[0, 0]  # the clean image is the same in every case
    return broken


def worst(broken):
    """``(E, Q, V)`` bool: is the answer wrong at this Δ or a smaller one, in any case? In plain Python."""
    cases, deltas, queries, variants = broken.shape
    found = torch.zeros(deltas, queries, variants, dtype=torch.bool)
    for e in range(deltas):
        for q in range(queries):
            for v in range(variants):
                found[e, q, v] = any(bool(broken[a, d, q, v]) for a in range(cases) for d in range(e + 1))
    return found


@pytest.mark.parametrize("together", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_the_worst_case_is_that_of_all_attacks(seed, together):
    broken = table(seed)
    suite = Suite(broken, together).run(5)
    assert set(suite.results) == set(range(23))
    for query, (hits, _) in suite.results.items():
        found = SampleResults(hits[:, :, None], *[torch.zeros(3, 4, 1)] * 2, *[None] * 4).worst_case().hits
        assert torch.equal(found[0, :, 0, :, 0] == 0, worst(broken)[:, query])


def test_an_image_is_attacked_only_while_an_answer_stands():
    broken = table(0)
    suite = Suite(broken).run(5)
    assert max(suite.asked.values()) == 1
    for case, size, query in [(a, e, q) for a in range(3) for e in range(1, 4) for q in range(23)]:
        before = worst(broken[:case, : size + 1, [query]])[-1] if case else broken[0, 0, [query]]  # by earlier cases
        smaller = worst(broken[: case + 1, :size, [query]])[-1]  # by this and earlier ones at smaller Δ
        fallen = bool((before | smaller | broken[0, 0, [query]]).all())
        assert ((case, size, query) in suite.asked) == (not fallen)


class Several(Suite):
    """The same, where an answer that is not broken is right in one to five of five evaluations."""

    def hits(self, case, size, ids):
        luck = 1 + (7 * case + 3 * size * (case + 1) + ids[:, None] + torch.arange(self.broken.shape[3])) % 5
        luck = torch.where(torch.tensor(size == 0), 5 - ids[:, None] % 2, luck)
        return (super().hits(case, size, ids) * luck[..., None]).short()


@pytest.mark.parametrize("seed", range(3))
def test_an_image_goes_on_until_all_evaluations_of_all_answers_are_wrong(seed):
    """The fewest hits are those of the full suite, in plain Python, and so is every line that is made of them."""
    suite = Several(table(seed))
    suite.run(5)
    cases, deltas, queries, variants = suite.broken.shape
    lines = [line for v in range(variants) for line in Variant(f"v{v}").evaluated(5)]
    known = [[suite.hits(a, e, torch.arange(queries))[..., 0] for e in range(deltas)] for a in range(cases)]
    partly = 0
    for query, (hits, _) in suite.results.items():
        found = SampleResults(hits[:, :, None], *[torch.zeros(3, 4, 1)] * 2, *[None] * 4).worst_case().hits[0, :, 0]
        for e in range(deltas):
            fewest = [
                min(int(known[a][d][query, v]) for a in range(cases) for d in range(e + 1)) for v in range(variants)
            ]
            partly += any(0 < count < 5 for count in fewest)
            assert found[e, :, 0].tolist() == fewest
            each = [(n, n == 5, n > 2) for n in fewest]
            assert by_line(found, lines)[e, :, 0].tolist() == [int(value) for three in each for value in three]
    assert partly
    assert max(suite.asked.values()) == 1
    for case, size, query in [(a, e, q) for a in range(3) for e in range(1, 4) for q in range(23)]:
        before = [known[a][d][query] for a in range(case) for d in range(size + 1)]
        smaller = [known[a][d][query] for a in range(case + 1) for d in range(size)]
        left = torch.stack([known[0][0][query], *before, *smaller]).amin(dim=0)
        assert ((case, size, query) in suite.asked) == bool(left.any())


@pytest.mark.parametrize("batch_size", [1, 4, 23])
@pytest.mark.parametrize("fill", [1, 6, 50])
def test_batches_change_nothing(batch_size, fill):
    broken = table(1)
    first, other = Suite(broken).run(5), Suite(broken).run(batch_size, torch.arange(23).flip(0), fill)
    assert first.asked == other.asked
    assert first.results.keys() == other.results.keys()
    for query, (hits, realized) in first.results.items():
        assert torch.equal(hits, other.results[query][0])
        assert torch.equal(realized, other.results[query][1])


def test_batches_are_full_until_the_end():
    suite = Suite(table(2, queries=60, share=0.4))
    cascade_sizes = suite.run(7, fill=6).sizes
    left = cascade_sizes[-len(suite.stages) * 2 :]
    assert set(cascade_sizes[: -len(left)]) == {6}


def test_stages_go_by_cost_then_by_their_place_and_ask_one_search_for_all():
    cases = [
        (GrayBox(), Square(queries=10)),
        (GrayBox(), PGD(steps=3)),
        (GrayBox(), CWL2(steps=2, binary_search_steps=1)),
        (GrayBox(), PGD(steps=3, restarts=2)),
        (GrayBox(), FGSM()),
        (GrayBox(), PGD(steps=3, name="other")),
    ]
    found = stages(cases, 2)
    assert [stage.case for stage in found] == [4, 4, 2, 1, 1, 5, 5, 0, 0, 3, 3]
    assert {stage.sizes for stage in found if stage.case == 2} == {(1, 2)}
    assert {stage.sizes for stage in found if stage.case != 2} == {(1,), (2,)}


# ---------------------------------------------------------------- on digits


@pytest.fixture
def measure(tmp_path, database, classifier):
    """Run a suite on digits; return the counts of its worst case, and what broke each image."""

    def call(run, batch_size=16, cascade=True, **changes):
        seed_everything(0, verbose=False)
        taps = list(database.taps.values())
        given = {
            "attacks": [
                Square(queries=20, enough=0.0),
                FGSM(),
                PGD(steps=4),
                CWL2(steps=5, binary_search_steps=2, step_size=0.1),
                PGD(steps=4, objective=FeatureSpace()),
                PGD(steps=4, objective=SoftKNN(), enough=0),
                RandomNoise(),
            ],
            "threats": [GrayBox(), WhiteBox()],
            "defenses": [NoDefense(), KNN(taps=["early", "late"], k=[5])],
            "database": Database(path=database.path, taps=taps, index=Faiss(factory="Flat"), build_missing=True),
            "topk": [1],
        }
        evaluation = Evaluation(classifier=classifier, cascade=cascade, **{"deltas": DELTAS, **given, **changes})
        trainer = EvalTrainer(
            default_root_dir=tmp_path,
            run=run,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
        )
        data = ImageData(
            queries=Digits(split="test"), database=Digits(split="train"), num_queries=48, batch_size=batch_size
        )
        trainer.test(evaluation, data)
        rows = [row for row in evaluation.results if (row["threat"], row["attack"]) == WORST_CASE]
        with (tmp_path / run / "broken_by.csv").open() as file:
            broken = list(csv.reader(file))
        return evaluation, rows, broken

    return call


def counts(rows):
    """The lines without how far attacks went, which depends on which of them were run, and on rounding."""
    return [{name: value for name, value in row.items() if "delta_" not in name} for row in rows]


def test_digits_have_the_worst_case_of_the_full_suite_image_by_image(measure):
    _, rows, broken = measure("full", cascade=False)
    cascade, found, found_broken = measure("cascade")
    assert cascade.results == found
    assert counts(found) == counts(rows)
    for line, expected in zip(found_broken, broken, strict=True):
        assert line[:3] == expected[:3]  # id, norm and size
        for cell, other in zip(line[3:], expected[3:], strict=True):
            assert (cell in ("", "clean") or other in ("", "clean")) <= (cell == other)


@pytest.mark.slow
def test_in_linf_as_well(measure):
    attacks = [Square(queries=20, enough=0.0), PGD(steps=4), PGD(steps=4, objective=FeatureSpace()), RandomNoise()]
    changes = {"attacks": attacks, "deltas": ["8/255", "24/255"], "norm": "linf"}
    _, rows, _ = measure("full", cascade=False, **changes)
    _, found, broken = measure("cascade", **changes)
    assert counts(found) == counts(rows)
    assert {row["norm"] for row in found} == {"linf"}
    assert {tuple(line[1:3]) for line in broken} == {("norm", "delta"), *(("linf", str(n / 255)) for n in (8, 24))}
    accuracies = [row["accuracy"] for row in found if row["defense"] == "none"]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1]


@pytest.mark.slow
def test_batch_size_changes_nothing(measure):
    _, rows, broken = measure("one", batch_size=16)
    _, found, found_broken = measure("other", batch_size=11)
    assert (counts(rows), broken) == (counts(found), found_broken)


@pytest.mark.slow
def test_an_interrupted_cascade_attacks_nothing_twice(measure, monkeypatch):
    attacked = []

    class Stopped(Exception):  # noqa: N818
        pass

    def attempts(self, *given, **options):
        attacked.append((self.name, given[3].tolist(), given[4]))
        if len(attacked) == stop:
            raise Stopped
        return original(self, *given, **options)

    original, stop = Attack.attempts, None
    monkeypatch.setattr(Attack, "attempts", attempts)
    _, rows, broken = measure("whole")
    whole, attacked[:] = list(attacked), []
    stop = len(whole) // 2
    with pytest.raises(Stopped):
        measure("cut")
    before, attacked[:], stop = attacked[:-1], [], None
    _, found, found_broken = measure("cut")
    assert (rows, broken) == (found, found_broken)
    assert before + attacked == whole
