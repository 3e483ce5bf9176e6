from pathlib import Path

import pytest

from lit_knn.data.patterns import local_files
from lit_knn.errors import UserError


def found(folder: Path, *patterns: str) -> list[str]:
    """Names that patterns below a folder find."""
    paths = local_files([f"{folder}/{pattern}" for pattern in patterns], kind="tar", suffixes=(".tar", ".x"))
    assert all(path.parent == folder for path in paths)
    return [path.name for path in paths]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a [folder]"  # brackets are a wildcard
    folder.mkdir()
    for name in ("t-08.tar", "t-09.tar", "t-10.tar", "v-a.x", "v-b.x", "t-08.json", "no_suffix"):
        (folder / name).touch()
    (folder / "sub.tar").mkdir()
    return folder


def test_what_patterns_find(folder: Path) -> None:
    assert found(folder, "t-{08..10}.tar") == ["t-08.tar", "t-09.tar", "t-10.tar"]
    assert found(folder, "v-{b,a}.x", "t-10.tar") == ["v-b.x", "v-a.x", "t-10.tar"]
    assert found(folder, "") == ["t-08.tar", "t-09.tar", "t-10.tar", "v-a.x", "v-b.x"]
    assert found(folder, "no_suffix") == ["no_suffix"]  # whoever names a file means it


def test_wildcards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert local_files(["t-*"], kind="tar", suffixes=(".tar",)) == [Path(f"t-{i}.tar") for i in ("08", "09", "10")]
    assert local_files(["[v]-?.x"], kind="tar", suffixes=(".x",)) == [Path("v-a.x"), Path("v-b.x")]
    monkeypatch.setenv("HOME", str(folder))
    assert local_files(["~/v-a.x"], kind="tar", suffixes=(".x",)) == [folder / "v-a.x"]


@pytest.mark.parametrize("pattern", ["t-{10..11}.tar", "w-*.tar", "*.json", "sub.tar", "nowhere/"])
def test_what_is_missing(folder: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="no tar file matches"):
        found(folder, pattern)
