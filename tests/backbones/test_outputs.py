from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lit_knn.backbones.outputs import WHATEVER, logits_of
from lit_knn.errors import UserError


@dataclass
class Output:
    scores: Tensor
    loss: float = 0.0


LOGITS, IMAGE = torch.rand(4, 7), torch.rand(4, 3, 8, 8)
OTHER = torch.rand(4, 7)


@pytest.mark.parametrize(
    ("output", "key"),
    [
        (LOGITS, None),
        ({"logits": LOGITS, "aux": OTHER}, "logits"),
        ({0: OTHER, 1: LOGITS}, 1),
        ((OTHER, LOGITS), 1),
        ([OTHER, LOGITS], -1),
        ((OTHER, LOGITS), "1"),
        (namedtuple("Named", "aux logits")(OTHER, LOGITS), "logits"),
        (namedtuple("Named", "aux logits")(OTHER, LOGITS), 1),
        (Output(LOGITS), "scores"),
    ],
)
def test_logits_are_found_where_the_key_says(output, key):
    assert logits_of(output, key, IMAGE) is LOGITS


@pytest.mark.parametrize(
    ("output", "key", "sentence"),
    [
        ((LOGITS, OTHER), None, r"a tuple with 0: a float32 tensor \(4, 7\), 1: .* `output` names"),
        ({"a": LOGITS}, None, r"a dict with 'a': a float32 tensor \(4, 7\)"),
        (Output(LOGITS), None, "a Output with 'scores'"),
        ({"a": LOGITS}, "b", "`output` is 'b', but the network returns a dict with 'a'"),
        ((LOGITS,), 1, "`output` is 1, but the network returns a tuple with 0"),
        ((LOGITS,), "1", "`output` is '1', but the network returns a tuple with 0"),
        (LOGITS, 0, r"`output` is 0, but the network returns a float32 tensor \(4, 7\): leave it out"),
        (LOGITS, "shape", "leave it out"),
        (None, None, "returns nothing"),
        (LOGITS.argmax(1), None, r"a int64 tensor \(4,\)"),
        (LOGITS > 0, None, r"a bool tensor \(4, 7\)"),
        (LOGITS[:, :1], None, r"\(4, 1\) .*at least two classes"),
        (LOGITS[:2], None, r"\(2, 7\) for 4 images"),
        (LOGITS[:, :, None, None], None, r"\(4, 7, 1, 1\)"),
        ({"a": LOGITS[0]}, "a", r"has at `output` 'a' a float32 tensor \(7,\)"),
    ],
)
def test_anything_else_is_refused_with_what_there_is(output, key, sentence):
    with pytest.raises(UserError, match=sentence):
        logits_of(output, key, IMAGE)


@pytest.mark.parametrize(
    "output",
    [
        OTHER,
        OTHER.view(4, 7, 1, 1),
        [torch.rand(3, 7), None, OTHER, LOGITS],
        {"ids": torch.arange(4), "maps": OTHER.view(4, 1, 7), "logits": LOGITS},
        Output(OTHER),
        namedtuple("Named", "aux logits")(OTHER, LOGITS),
    ],
)
def test_a_network_without_logits_shows_its_first_rows(output):
    assert torch.equal(logits_of(output, WHATEVER, IMAGE), OTHER)
    assert logits_of(OTHER[:, 0], WHATEVER, IMAGE).shape == (4, 1)


@pytest.mark.parametrize("output", [None, {}, torch.arange(4), torch.rand(3, 7), torch.tensor(0.5), ["text"]])
def test_what_has_no_row_for_each_image_is_no_network_of_images(output):
    with pytest.raises(UserError, match="where a float tensor with a row for each of them is needed"):
        logits_of(output, WHATEVER, IMAGE)
