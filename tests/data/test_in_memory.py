import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lit_knn.data import Arrays, Digits, ImageFolder, Preprocessing, tensors
from lit_knn.errors import UserError


def test_all_digits():
    images, labels = tensors(Digits(split="all"))
    expected = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    assert torch.equal(images, torch.from_numpy(expected)[:, None].repeat(1, 3, 1, 1))
    assert labels.tolist() == load_digits().target.tolist()


def test_shards_one_after_the_other_and_black_images_as_well():
    given = torch.rand(7, 3, 4, 4)
    given[2] = 0
    images, labels = tensors(Arrays.of(given, torch.arange(7), shard_size=3))
    assert torch.equal(images, given)
    assert labels.tolist() == list(range(7))


def test_images_of_other_sizes(tmp_path):
    """Each of two shards has images of one size."""
    for name, side in (("a", 9), ("b", 12)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (side, side), "red").save(tmp_path / name / "1.png")
    source = ImageFolder(root=tmp_path)
    with pytest.raises(UserError, match="differ in size"):
        tensors(source)
    assert tensors(source, Preprocessing(resize=8, crop=8))[0].shape == (2, 3, 8, 8)
