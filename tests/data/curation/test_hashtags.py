import json
import random
import sys
import unicodedata
from pathlib import Path

import pytest

from lit_knn.data.curation.hashtags import IMAGENET, HashtagList, canonical, hashtags
from lit_knn.errors import UserError

COCKS = HashtagList({"cock": ("n1",), "crane": ("n2", "n3"), "हिन्दी": ("n3",)})


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (["#Golden_Retriever", "golden retriever", "GOLDEN-RETRIEVER", "golden+retriever", "golden.retriever!"], None),
        (["St. Bernard", "#stbernard", "ＳＴＢＥＲＮＡＲＤ", "#st🐶bernard❤️"], "stbernard"),
        (["Café", "cafe\u0301", "#CAFÉ"], "café"),
        (["STRASSE", "straße"], "strasse"),
        (["ﬁre", "FIRE"], "fire"),
        (["#हिन्दी", "हिन्दी"], "हिन्दी"),  # vowel signs and the virama are marks, no letters
        (["می\u200cخواهم", "میخواهم"], "میخواهم"),
        (["#ﾈｺ", "ネコ"], "ネコ"),
        (["Кот_и_пёс", "кот и пёс"], "котипёс"),
        (["ΣΊΣΥΦΟΣ", "σίσυφος"], "σίσυφοσ"),
        (["#猫2", "猫２"], "猫2"),
        (["", "#", "___", "🐱", "\ufe0f", "\ud800", "\0"], ""),
    ],
)
def test_forms_that_are_the_same(forms: list[str], expected: str | None) -> None:
    assert {canonical(form) for form in forms} == {expected if expected is not None else "goldenretriever"}


def test_forms_that_differ() -> None:
    assert len({canonical(form) for form in ("cafe", "café", "cafés", "caf", "кафе")}) == 5


def test_the_canonical_form_of_anything_is_canonical() -> None:
    draw = random.Random(0)
    everything = [chr(code) for code in range(sys.maxunicode + 1)]
    tags = everything[::7] + ["".join(draw.choices(everything, k=5)) for _ in range(20_000)]
    for tag in tags:
        form = canonical(tag)
        assert canonical(form) == form == unicodedata.normalize("NFKC", form)
    ascii_only = "".join(everything[:128])
    assert canonical(ascii_only + "é") == canonical(ascii_only) + "é"  # both ways agree
    assert len(canonical("a" * 1_000_000 + "é")) == 1_000_001


@pytest.mark.parametrize(
    ("metadata", "caption", "expected"),
    [
        ({"hashtags": ["#Cat", "big dog", 3, None, ["x"], {"y": 1}]}, "#bird", {"cat", "bigdog"}),
        ({"hashtags": [], "tags": ["Cat"]}, "", {"cat"}),
        ({"tags": "cat,big+dog;bird"}, "", {"cat", "bigdog", "bird"}),
        ({"tags": "#cat #dog and"}, "", {"cat", "dog"}),
        ({"tags": "cat dog"}, "", {"cat", "dog"}),
        ({"tags": '["cat", "dog"]'}, "", {"cat", "dog"}),
        ({"hashtags": " ", "tags": None}, "#bird", {"bird"}),
        ({"hashtags": ["!"], "tags": ["cat"]}, "#bird", set()),  # there is a list, of nothing
        (
            {"caption": "#a1 b", "tags": 7},
            "x #c_d, (#e) #f#g #h's ＃i #日本語。",
            {"a1", "cd", "e", "f", "g", "h", "i", "日本語"},
        ),
        ({"caption": 5}, "A&#39;s http://x.org/#top #हिन्दी। # #- #_", {"हिन्दी"}),
        (None, "#cat", {"cat"}),
        ([{"tags": "dog"}], "#cat", {"cat"}),
        ("tags", "no tag", set()),
        (3.5, "", set()),
        ({"hashtags": {"cat": 1}, "tags": True}, "", set()),
        ({"hashtags": ["x" * 100_000]}, "", {"x" * 100_000}),
    ],
)
def test_hashtags_of_an_image(metadata: object, caption: str, expected: set[str]) -> None:
    assert hashtags(metadata, caption) == expected


def test_matching() -> None:
    assert COCKS.match({"dog", "हिन्दी", "crane"}) == {"crane": ["n2", "n3"], "हिन्दी": ["n3"]}
    assert COCKS.without(["#CRANE", "no such"]).match(["crane", "cock"]) == {"cock": ["n1"]}
    assert COCKS.only(["n3"]).synsets == {"crane": ("n3",), "हिन्दी": ("n3",)}
    assert len({COCKS.identity(), COCKS.without(["crane"]).identity(), COCKS.only(["n3"]).identity()}) == 3
    with pytest.raises(UserError, match="no hashtag names class n4"):
        COCKS.only(["n1", "n4"])


def test_the_list_of_imagenet() -> None:
    tags = HashtagList.read()
    assert len({synset for ids in tags.synsets.values() for synset in ids}) == 1000
    assert len(tags.synsets) >= 1500  # the paper's number
    assert tags.match(hashtags({}, "my #GoldFish by a #crane #nothing")) == {
        "crane": ["n02012849", "n03126707"],
        "goldfish": ["n01443537"],
    }
    assert "Princeton University" in json.loads(IMAGENET.read_text())["notice"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"tags": []}',
        '{"tags": {"A": ["n1"]}}',
        '{"tags": {"a": "n1"}}',
        '{"tags": {"a": []}}',
        "\ud800",
    ],
)
def test_bad_lists(tmp_path: Path, text: str) -> None:
    (tmp_path / "tags.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UserError, match=r"tags\.json(:| is no list of hashtags)"):
        HashtagList.read(tmp_path / "tags.json")
    with pytest.raises(UserError, match=r"nowhere is no list"):
        HashtagList.read(tmp_path / "nowhere")
