import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from lit_knn.errors import UserError
from lit_knn.evaluation.metrics import RobustAccuracy, SampleAudit, hits, wilson
from lit_knn.report.results import Variant
from lit_knn.report.results.record import COLUMNS, Record

CASES = [("gray_box", "PGD"), ("black_box", "PGD")]
DELTAS = [0.0, 0.02, 0.06]
VARIANTS = [Variant("none"), Variant("kNN", "layer1", 50, "UW", "soft"), Variant("kNN", "layer1", 50, "CBW-D", "soft")]
TOPK = (1, 5)
BATCHES = [7, 7, 7, 3]


def build():
    return RobustAccuracy(CASES, DELTAS, VARIANTS, TOPK)


def batch(number, size):
    """What one batch gives under every case and Δ, the same on whichever process."""
    generator = torch.Generator().manual_seed(number)
    for case in range(len(CASES)):
        for delta, budget in enumerate(DELTAS):
            scores = torch.randint(6, (len(VARIANTS), size, 8), generator=generator).float()
            label = torch.randint(8, (size,), generator=generator)
            realized = budget * (0.9 + 0.1 * torch.rand(size, generator=generator))
            yield case, delta, hits(scores, label, TOPK), realized, realized * 2.1


def update(metric, batches):
    for number in batches:
        for values in batch(number, BATCHES[number]):
            metric.update(*values)


def csv(rows, path):
    text = dict.fromkeys(("run", "created", "git"), "")
    dicts = {name: {} for name in ("seconds", "config", "versions", "fingerprints", "queries", "database")}
    return Record(**text, **dicts, seed=0, warnings=[], results=rows).write_csv(path).read_bytes()


def test_class_equals_functional():
    metric = build()
    update(metric, range(4))
    rows = metric.rows()
    assert len(rows) == 2 * 3 * 3 * 2
    assert {tuple(row) for row in rows} == {COLUMNS}
    for row in rows:
        case, delta = CASES.index((row["threat"], row["attack"])), DELTAS.index(row["delta"])
        variant = VARIANTS.index(Variant(*(row[field] for field in Variant._fields)))
        seen = [b for n, size in enumerate(BATCHES) for b in batch(n, size) if b[:2] == (case, delta)]
        outcome = torch.cat([b[2] for b in seen])[:, variant, TOPK.index(row["topk"])]
        realized, normalized = (torch.cat([b[i] for b in seen]).double() for i in (3, 4))
        low, high = wilson(outcome.sum(), torch.tensor(24))
        assert (row["correct"], row["n"]) == (outcome.sum(), 24)
        assert row["accuracy"] == outcome.double().mean()
        assert (row["low"], row["high"]) == (low, high)
        assert row["delta_mean"] == pytest.approx(realized.mean().item(), abs=2**-32)
        assert row["delta_max"] == pytest.approx(realized.max().item(), abs=2**-32)
        assert row["normalized_delta_mean"] == pytest.approx(normalized.mean().item(), abs=2**-32)


def test_one_batch_split_batches_and_any_order_are_the_same():
    metric, reversed_, whole = build(), build(), build()
    update(metric, range(4))
    update(reversed_, [3, 2, 1, 0])
    parts = [list(batch(n, size)) for n, size in enumerate(BATCHES)]
    for same_cell in zip(*parts, strict=True):
        whole.update(*same_cell[0][:2], *(torch.cat(column) for column in list(zip(*same_cell, strict=True))[2:]))
    assert metric.rows() == reversed_.rows() == whole.rows()


def test_updates_are_out_of_place_and_reset_forgets():
    metric = build()
    before = metric.correct
    update(metric, [0])
    assert before.sum() == 0
    first = metric.rows()
    metric.reset()
    update(metric, [1])
    assert metric.rows() != first
    metric.reset()
    update(metric, [0])
    assert metric.rows() == first


def test_cells_that_were_not_attacked_have_no_rows():
    metric = build()
    metric.update(*next(batch(0, 7)))
    assert {(row["threat"], row["delta"]) for row in metric.rows()} == {("gray_box", 0.0)}


def test_a_precision_plugin_does_not_harm_the_states():
    model, reference = nn.Module(), build()
    model.metric = build()
    update(model.metric, [0, 1])
    model.to(torch.half)  # what `precision: 16-true` does
    update(model.metric, [2, 3])
    update(reference, range(4))
    assert model.metric.rows() == reference.rows()
    assert not model.state_dict()  # a checkpoint carries no counts


def test_pickles():
    metric = build()
    update(metric, [0])
    assert pickle.loads(pickle.dumps(metric)).rows() == metric.rows()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deltas": [0.02, 0.02]}, "deltas"),
        ({"cases": []}, "threats × attacks"),
        ({"variants": VARIANTS * 2}, "variants"),
        ({"topk": (1, 1)}, "topk"),
    ],
)
def test_refuses_lists_that_are_empty_or_repeat(change, message):
    with pytest.raises(UserError, match=message):
        RobustAccuracy(**{"cases": CASES, "deltas": DELTAS, "variants": VARIANTS, "topk": TOPK, **change})


def test_refuses_shapes_that_do_not_fit_and_perturbations_that_are_not_finite():
    metric = build()
    case, delta, outcome, realized, normalized = next(batch(0, 7))
    with pytest.raises(ValueError, match="do not fit"):
        metric.update(case, delta, outcome[:, :2], realized, normalized)
    with pytest.raises(ValueError, match="do not fit"):
        metric.update(case, delta, outcome, realized[:3], normalized)
    with pytest.raises(ValueError, match="not finite"):
        metric.update(case, delta, outcome, realized / 0, normalized)


def _rank(rank, world_size, folder):
    torch.set_num_threads(1)
    folder = Path(folder)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=world_size
    )
    metric = build()
    update(metric, range(rank, len(BATCHES), world_size))
    csv(metric.rows(), folder / f"{rank}.csv")
    audit = SampleAudit()
    audit.update(torch.arange(rank, len(BATCHES), world_size))
    audit.verify(torch.arange(len(BATCHES)))
    torch.distributed.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_write_the_bytes_of_one(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    metric = build()
    update(metric, range(4))
    alone = csv(metric.rows(), tmp_path / "alone.csv")
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes() == alone
