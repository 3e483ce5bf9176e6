import pytest

from lit_knn.data import ImageError
from lit_knn.data.sources.written_labels import json_label, text_label
from lit_knn.errors import UserError


@pytest.mark.parametrize(
    ("text", "label"), [(b"3\n", 3), (b" n01440764 ", "n01440764"), (b"-1", -1), (b"1.5", "1.5"), (b"", "")]
)
def test_a_text_is_a_number_or_a_name(text, label):
    assert text_label("x", text) == label


def test_a_text_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"^x\.tar: a\.cls holds no class but"):
        text_label("x.tar: a.cls", b"\xff")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (b'{"label": 4}', 4),
        (b'{"cls": 5}', 5),
        (b'{"label": "7"}', 7),
        (b'{"label": "a word"}', "a word"),
        (b'{"label": 8.0}', 8),
        (b'{"label": 8.5}', None),
        (b'{"label": true}', None),
        (b'{"label": -1}', None),
        (b"{}", None),
    ],
)
def test_metadata_have_a_label_or_none(text, label):
    assert json_label("x", text) == label


@pytest.mark.parametrize("text", [b"{", b"[3]", b"\xff"])
def test_damaged_metadata_cost_one_image(text):
    with pytest.raises(ImageError, match=r"^x\.tar: a\.json "):
        json_label("x.tar: a.json", text)
