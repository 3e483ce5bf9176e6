import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from lit_knn.data.curation.hashtags import IMAGENET, HashtagList
from lit_knn.errors import UserError


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    return importlib.import_module("derive_hashtags")


def test_the_shipped_list_is_what_the_script_derives(script: ModuleType, tmp_path: Path) -> None:
    script.main([str(tmp_path / "tags.json")])
    assert (tmp_path / "tags.json").read_bytes() == IMAGENET.read_bytes()


def test_other_classes(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "classes.txt").write_text("n00004475\nn01514668\n")  # the first is none of ImageNet's 1,000
    script.main([str(tmp_path / "tags.json"), "--classes", str(tmp_path / "classes.txt")])
    assert "3 hashtags of 2 classes" in capsys.readouterr().out
    assert HashtagList.read(tmp_path / "tags.json").synsets == {
        "being": ("n00004475",),
        "cock": ("n01514668",),
        "organism": ("n00004475",),
    }


def test_synonyms_become_canonical_and_ambiguous_ones_name_all(script: ModuleType) -> None:
    synonyms = {"n2": ["St. Bernard", "Crane"], "n1": ["crane", "!"], "n3": ["unused"]}
    tags = script.derive(["n2", "n1"], synonyms)
    assert tags == {"crane": ["n1", "n2"], "stbernard": ["n2"]}
    assert json.loads(script.text(tags))["tags"] == tags
    with pytest.raises(UserError, match="n9 is none of timm's 3 WordNet ids"):
        script.derive(["n9"], synonyms)


def test_classes_that_cannot_be_read(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--classes .*nowhere cannot be read"):
        script.main([str(tmp_path / "tags.json"), "--classes", str(tmp_path / "nowhere")])
