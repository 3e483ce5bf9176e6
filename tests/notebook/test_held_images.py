import numpy as np
import pytest
import torch

from lit_knn.data import ImageData
from lit_knn.errors import UserError
from lit_knn.notebook.held_images import held_images

BYTES = torch.randint(0, 256, (5, 3, 6, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(5)


def read(source):
    (batch,) = ImageData(queries=source, batch_size=9).test_dataloader()
    return batch["image"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_read_as_they_are(dtype):
    given = (BYTES / 255).to(dtype).requires_grad_()
    assert torch.equal(read(held_images(given, LABELS, "images")), given.detach().float())


def test_bytes_of_either_layout():
    for given in (BYTES, BYTES.permute(0, 2, 3, 1), BYTES.numpy(), BYTES.permute(0, 2, 3, 1).numpy()):
        assert torch.equal(read(held_images(given, LABELS, "images")), BYTES)


def test_of_a_tensor_that_may_be_both_the_second_dimension_is_the_channels():
    given = torch.rand(2, 3, 5, 3)
    assert torch.equal(read(held_images(given, LABELS[:2], "images")), given)
    with pytest.raises(UserError, match="may be both"):
        held_images(given.numpy(), LABELS[:2], "images")


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        ([[0.0]], LABELS, "images are of type list: a tensor or NumPy array"),
        (BYTES.long(), LABELS, r"images are int64 \(5, 3, 6, 4\): "),
        (BYTES[0], LABELS, r"images has shape \(3, 6, 4\)"),
        (BYTES[:, :2], LABELS, r"images has shape \(5, 2, 6, 4\)"),
        (BYTES[:, :1], LABELS, "one channel.*repeat it three times"),
        (BYTES[:0], LABELS[:0], "holds 0 images"),
        (BYTES / 255 - 0.5, LABELS, "images reach from -0.5 to 0.5: .*not normalized: give the network's mean and std"),
        (torch.full((5, 3, 2, 2), torch.nan), LABELS, "reach from nan to nan"),
        (BYTES, LABELS[:4], "holds 5 images, and its labels are int64"),
        (BYTES, LABELS.float(), "labels are float32"),
        (BYTES, LABELS - 2, "has a label -2"),
        (BYTES, [0, 1, 2, 3, 4.5], "labels of images are of type list: integers"),
        (BYTES.to_sparse(), LABELS, "images cannot be read, TypeError.*: a tensor or NumPy array"),
        (BYTES, LABELS.to("meta"), "labels of images cannot be read, NotImplementedError.*: integers"),
    ],
)
def test_what_is_not_accepted_is_one_sentence(images, labels, sentence):
    with pytest.raises(UserError, match=sentence):
        held_images(images, labels, "images")


def test_labels_may_be_a_list():
    assert [held_images(BYTES, LABELS.tolist(), "images").open_shard(0).read(row).label for row in range(5)] == [
        *range(5)
    ]


def test_images_that_are_attacked_need_labels():
    for labels, said in ((None, "None"), (LABELS - 1, "-1, unknown, for 1 of 5")):
        with pytest.raises(UserError, match=f"labels of images are {said}: images that are attacked need one each"):
            held_images(BYTES, labels, "images", attacked=True)


def test_rows_may_be_without_labels_and_are_not_copied():
    given = BYTES.numpy()
    source = held_images(given, None, "database images")
    assert np.may_share_memory(source.open_shard(0)._images, given)
    assert source.open_shard(0).read(0).label == -1
    with pytest.raises(UserError, match="has no label, which queries need"):
        read(source)
