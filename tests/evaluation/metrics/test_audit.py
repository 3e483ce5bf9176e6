import pytest
import torch

from lit_knn.evaluation.metrics import AuditError, SampleAudit

EXPECTED = torch.arange(1000, 1037)


def seen(*batches):
    audit = SampleAudit()
    for batch in batches:
        audit.update(batch)
    return audit


def test_every_sample_once_in_any_order_and_batching():
    shuffled = EXPECTED[torch.randperm(37, generator=torch.Generator().manual_seed(0))]
    seen(EXPECTED).verify(shuffled)
    seen(*shuffled.split(8)).verify(EXPECTED)


@pytest.mark.parametrize(
    "batches",
    [
        [EXPECTED[:-1]],  # missing
        [EXPECTED, EXPECTED[:3]],  # padded, as DistributedSampler does
        [EXPECTED[:-1], EXPECTED[:1]],  # one missing, one twice: the count is right
        [EXPECTED[:-2], EXPECTED[-1:] - 1, EXPECTED[-2:-1] + 1, EXPECTED[:1]],
    ],
)
def test_anything_else_is_noticed(batches):
    with pytest.raises(AuditError, match="37 were to be counted exactly once each"):
        seen(*batches).verify(EXPECTED)


def test_equal_count_sum_and_sum_of_squares_are_noticed():
    with pytest.raises(AuditError):  # Prouhet: {0,3,5,6,9,10,12,15} and the rest of 0..15 agree up to cubes
        seen(torch.tensor([0, 3, 5, 6, 9, 10, 12, 15])).verify(torch.tensor([1, 2, 4, 7, 8, 11, 13, 14]))


def test_precision_plugin_and_reset():
    audit = seen(EXPECTED).to(torch.half)
    audit.verify(EXPECTED)
    audit.reset()
    audit.update(EXPECTED[:5])
    audit.verify(EXPECTED[:5])
