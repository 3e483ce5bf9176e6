import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn

from lit_knn.errors import UserError
from lit_knn.evaluation.metrics import RobustAccuracy, SampleAudit, by_line, hits
from lit_knn.report.results import PROTOCOLS, Variant
from lit_knn.report.results.intervals import wilson
from lit_knn.report.results.record import COLUMNS, Record
from tests.conftest import in_processes

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
    cells = (len(CASES), len(DELTAS))
    scores = torch.randint(6, (len(VARIANTS), size * 6, 8), generator=generator).float()
    found = hits(scores, torch.randint(8, (size * 6,), generator=generator), TOPK).view(*cells, size, len(VARIANTS), -1)
    realized = torch.tensor(DELTAS)[:, None] * (0.9 + 0.1 * torch.rand(*cells, size, generator=generator))
    return found, realized, realized * 2.1


def update(metric, batches):
    for number in batches:
        metric.update(*batch(number, BATCHES[number]))


def csv(rows, path):
    text = dict.fromkeys(("run", "created", "git"), "")
    dicts = {name: {} for name in ("seconds", "config", "versions", "fingerprints", "queries", "database")}
    return Record(**text, **dicts, seed=0, warnings=[], passes=[], costs=[], results=rows).write_csv(path).read_bytes()


def test_class_equals_functional():
    metric = build()
    update(metric, range(4))
    rows = metric.rows()
    assert len(rows) == 2 * 3 * 3 * 2
    assert {tuple(row) for row in rows} == {COLUMNS}
    for row in rows:
        case, delta = CASES.index((row["threat"], row["attack"])), DELTAS.index(row["delta"])
        variant = VARIANTS.index(Variant(*(row[field] for field in Variant._fields)))
        seen = [[part[case, delta] for part in batch(n, size)] for n, size in enumerate(BATCHES)]
        outcome, realized, normalized = map(torch.cat, zip(*seen, strict=True))
        outcome, realized, normalized = (
            outcome[:, variant, TOPK.index(row["topk"])],
            realized.double(),
            normalized.double(),
        )
        low, high = wilson(outcome.sum(), 24)
        assert (row["correct"], row["n"]) == (outcome.sum(), 24)
        assert row["accuracy"] == outcome.double().mean()
        assert (row["low"], row["high"]) == (low, high)
        assert row["delta_mean"] == pytest.approx(realized.mean().item(), abs=2**-32)
        assert row["delta_max"] == pytest.approx(realized.max().item(), abs=2**-32)
        assert row["normalized_delta_mean"] == pytest.approx(normalized.mean().item(), abs=2**-32)


def test_several_evaluations_of_an_image_make_no_interval_narrower():
    lines = Variant("crop").evaluated(4)
    metric = RobustAccuracy([("gray_box", "PGD")], [0.0], lines, [1])
    right = torch.tensor([4, 3, 1, 2, 4, 0, 3])  # of 4 evaluations each
    size = torch.zeros(1, 1, 7)
    metric.update(by_line(right[None, None, :, None, None], lines), size, size)
    mean, worst, majority = metric.rows()
    assert (mean["correct"], mean["n"], mean["accuracy"]) == (17, 7, 17 / 28)
    assert (worst["correct"], worst["n"], worst["accuracy"]) == (2, 7, 2 / 7)
    assert (majority["correct"], majority["n"], majority["accuracy"]) == (4, 7, 4 / 7)
    low, high = wilson(17 / 4, 7)
    assert (mean["low"], mean["high"]) == (low, high)
    assert high - low > wilson(17, 28)[1] - wilson(17, 28)[0]
    assert {row["protocol"]: row["evaluations"] for row in metric.rows()} == dict.fromkeys(PROTOCOLS, 4)


def test_one_batch_split_batches_and_any_order_are_the_same():
    metric, reversed_, whole = build(), build(), build()
    update(metric, range(4))
    update(reversed_, [3, 2, 1, 0])
    parts = [batch(n, size) for n, size in enumerate(BATCHES)]
    whole.update(*(torch.cat(part, dim=2) for part in zip(*parts, strict=True)))
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


def test_before_anything_is_counted_there_are_no_rows():
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert build().rows() == []


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
    outcome, realized, normalized = batch(0, 7)
    for wrong in (
        (outcome[:, :, :, :2], realized, normalized),
        (outcome[:1], realized, normalized),
        (outcome, realized[..., :3], normalized),
        (outcome, realized, normalized[:, :1]),
    ):
        with pytest.raises(ValueError, match=r"do not fit \(2, 3, N, 3, 2\) and \(2, 3, N\)"):
            metric.update(*wrong)
    normalized[1, 2, 4] = torch.nan
    with pytest.raises(ValueError, match=r"attacked by \('black_box', 'PGD'\) .* not finite"):
        metric.update(outcome, realized, normalized)
    assert not metric.total.any()


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
    in_processes(_rank, 2, str(tmp_path), count=2)
    metric = build()
    update(metric, range(4))
    alone = csv(metric.rows(), tmp_path / "alone.csv")
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes() == alone
