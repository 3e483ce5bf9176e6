"""Random numbers belong to an image, its purpose and its draw, and to nothing else."""

import hashlib

import pytest
import torch

from lit_knn.randomness import Randomness

LIKE = torch.empty(3, 3, 4, 4)
IDS = torch.tensor([7, 3, 7])
DRAWS = {
    "uniform": lambda randomness: randomness.uniform(LIKE, 5),
    "integers": lambda randomness: randomness.integers(1000, 5),
    "normal": lambda randomness: randomness.normal(LIKE),
    "direction": lambda randomness: randomness.direction(LIKE),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_they_depend_on_seed_id_purpose_draw_and_nothing_else(draw):
    found = draw(Randomness(0, IDS))
    assert torch.equal(found[0], found[2])
    others = [
        Randomness(0, torch.tensor([8, 4, 9])),
        Randomness(1, IDS),
        Randomness(0, IDS, draw=1),
        Randomness(0, IDS, "crop"),
        Randomness(0, IDS, "crop", 1),
        Randomness(0, IDS).of("noise"),
        Randomness(0, IDS, "attacker").of("crop"),
        Randomness(0, IDS, "attacker", 1).of("crop"),
        Randomness(0, IDS, "attacker", 1).of("crop", 1),
    ]
    seen = [found, *map(draw, others)]
    assert not any(torch.equal(a, b) for n, a in enumerate(seen) for b in seen[:n])


def test_images_of_another_batch_get_the_same_numbers():
    whole = Randomness(5, IDS, "crop").normal(LIKE)
    assert torch.equal(whole[1:2], Randomness(5, IDS[1:2], "crop").normal(LIKE[:1]))


def test_a_stream_goes_on_and_begins_again():
    root = Randomness(0, IDS)
    stream = root.of("crop")
    first, second = stream.uniform(LIKE), stream.uniform(LIKE)
    assert not torch.equal(first, second)
    assert torch.equal(root.of("crop").uniform(LIKE), first)
    assert torch.equal(root.of("crop").uniform(LIKE, 2), torch.stack([first, second], dim=1))


def test_the_key_is_written_down():
    """By hand, so that a change of the streams, and with them of published numbers, does not go unseen."""

    def by_hand(key):
        seed = int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "little")
        return torch.rand(2, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(Randomness(4, torch.tensor([31])).uniform(LIKE, 2)[0], by_hand(b"4/31/0"))
    assert torch.equal(Randomness(4, torch.tensor([31]), "crop", 2).uniform(LIKE, 2)[0], by_hand(b"4/31/2/crop"))


def test_ranges_types_and_lengths():
    found = Randomness(0, torch.arange(200))
    like = torch.empty(200, 3, 2, 2, dtype=torch.float64)
    uniform, integers = found.uniform(like), found.integers(3, 4)
    assert uniform.dtype == torch.float64
    assert uniform.shape == (200,)
    assert 0 <= uniform.min() < 0.05
    assert 0.95 < uniform.max() < 1
    assert integers.shape == (200, 4)
    assert integers.unique().tolist() == [0, 1, 2]
    torch.testing.assert_close(found.direction(like).flatten(1).norm(dim=1), torch.ones(200, dtype=torch.float64))


def test_some_of_the_images_begin_again_with_their_own():
    randomness = Randomness(1, torch.tensor([4, 5, 6]), "a", 2)
    chosen = torch.tensor([False, True, True])
    like = torch.zeros(3)
    assert torch.equal(randomness.among(chosen).uniform(like), randomness.uniform(like)[chosen])


def test_the_default_precision_of_pytorch_does_not_matter():
    """As in `64-true`: Lightning changes it within the steps of a loop, and not where a cascade or a search ends."""
    like = torch.zeros(5, 3, 8, 8, dtype=torch.float64)

    def drawn():
        streams = Randomness(2, torch.arange(5)).of("a")
        return streams.uniform(like, 2), streams.normal(like), streams.direction(like), streams.integers(9, 2)

    before = drawn()
    torch.set_default_dtype(torch.float64)
    try:
        within = drawn()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(before, within, strict=True))
