import errno
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lit_knn.data import TarShards
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo, write_tar

TOOLS = Path(__file__).parents[2] / "tools"
WORDS = [["goldfish", "tench", "dog"], ["Goldfish"], ["crane", "tench"], ["nothing"], [], ["crane"]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("select_targeted")


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A folder as img2dataset leaves it: three tar files of two images, and an empty one."""
    folder = tmp_path / "all"
    folder.mkdir()
    for shard in range(3):
        members = {}
        for i in (2 * shard, 2 * shard + 1):
            members[f"{i:04d}.jpg"] = encode(photo(i), "jpg")
            members[f"{i:04d}.json"] = json.dumps({"hashtags": WORDS[i]}).encode()
        write_tar(folder / f"{shard:05d}.tar", members)
    write_tar(folder / "00003.tar", {})
    (folder / "00000_stats.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(folder: Path) -> list[str]:
    source = TarShards(urls=str(folder))
    shards = [source.open_shard(index) for index in range(len(source.shard_names()))]
    return [shard.read(row).key for shard in shards for row in range(len(shard))]


def test_parts_make_what_one_run_makes(script: ModuleType, everything: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    script.main(["select", str(everything), str(whole)])
    for part in (3, 1, 2):
        assert not (parts / "summary.json").exists()
        script.main(["select", f"{everything}/*.tar", str(parts), "--part", f"{part}/3"])
    assert contents(parts) == contents(whole)
    assert sorted(contents(whole)) == sorted(
        [f"{i:05d}{end}" for i in range(4) for end in (".tar", "_stats.json")] + ["summary.json"]
    )
    assert kept(whole) == ["0000", "0001", "0002", "0005"]
    summary = json.loads((whole / "summary.json").read_text())
    del summary["selection"]
    assert summary == {
        "shards": 4,
        "images": 6,
        "kept": 4,
        "without_image": 0,
        "unreadable_metadata": 0,
        "hashtags": {"crane": 2, "goldfish": 2, "tench": 2},
        "synsets": {"n01440764": 2, "n01443537": 2, "n02012849": 2, "n03126707": 2},
    }


def test_an_interrupted_run_goes_on(
    script: ModuleType, everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.main(["select", str(everything), str(tmp_path / "whole")])
    copied = []

    def interrupted(path, out, chosen):
        if len(copied) == 2:
            out.write(b"half of it")
            raise KeyboardInterrupt
        copied.append(path)
        return original(path, out, chosen)

    original = script.copy_matching
    monkeypatch.setattr(script, "copy_matching", interrupted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        script.main(["select", str(everything), str(out)])
    assert sorted(path.name for path in out.glob("*.tar")) == ["00000.tar", "00001.tar"]
    copied.append(None)
    script.main(["select", str(everything), str(out)])
    assert len(copied) == 5
    assert contents(out) == contents(tmp_path / "whole")


def test_options(script: ModuleType, everything: Path, tmp_path: Path) -> None:
    for name, text in {"deny": "#Gold_Fish\n\n", "classes": "n02012849\nn01443537\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "tags.json").write_text('{"tags": {"nothing": ["n0"]}}')
    for number, (options, keys) in enumerate(
        [
            (["--deny", tmp_path / "deny"], ["0000", "0002", "0005"]),
            (["--classes", tmp_path / "classes"], ["0000", "0001", "0002", "0005"]),
            (["--classes", tmp_path / "classes", "--deny", tmp_path / "deny"], ["0002", "0005"]),
            (["--hashtags", tmp_path / "tags.json"], ["0003"]),
        ]
    ):
        script.main(["select", str(everything), str(tmp_path / f"out-{number}"), *map(str, options)])
        assert kept(tmp_path / f"out-{number}") == keys


def test_hashtags_that_hardly_occur(script: ModuleType, everything: Path, tmp_path: Path) -> None:
    write_tar(everything / "00003.tar", {"9.png": encode(photo(9)), "9.txt": b"#goldfish"})
    out = str(tmp_path / "out")
    select = ["select", str(everything), out, "--min-count", "3"]
    script.main(["count", str(everything), out, "--part", "1/2"])
    with pytest.raises(UserError, match=r"2 tar files have none \(.*00002\.tar\): count first"):
        script.main(select)
    script.main(["count", str(everything), out, "--part", "2/2"])
    script.main(select)
    assert kept(tmp_path / "out") == ["0000", "0001", "9"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["hashtags"] == {"goldfish": 3}
    with pytest.raises(UserError, match="no hashtag is left"):
        script.main([*select[:-1], "4"])


def test_runs_that_do_not_belong_together(script: ModuleType, everything: Path, tmp_path: Path) -> None:
    (tmp_path / "deny").write_text("crane\n")
    out = tmp_path / "out"
    script.main(["select", str(everything), str(out)])
    before = contents(out)
    with pytest.raises(UserError, match="with other options: choose another folder"):
        script.main(["select", str(everything), str(out), "--deny", str(tmp_path / "deny")])
    write_tar(everything / "00001.tar", {})
    with pytest.raises(UserError, match=r"another 00001\.tar"):
        script.main(["select", str(everything), str(out)])
    assert contents(out) == before
    (out / "00000_stats.json").write_text("{")
    with pytest.raises(UserError, match=r"00000_stats\.json is damaged"):
        script.main(["select", str(everything), str(out)])


def test_a_damaged_tar_file_does_not_keep_the_others_waiting(
    script: ModuleType, everything: Path, tmp_path: Path
) -> None:
    good = (everything / "00001.tar").read_bytes()
    (everything / "00001.tar").write_bytes(good[:1000])
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"^1 of 4 tar files are left out, .* first: .*00001\.tar is cut short"):
        script.main(["select", str(everything), str(out)])
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".tar") == [f"0000{i}.tar" for i in (0, 2, 3)]
    assert not (out / "summary.json").exists()
    (everything / "00001.tar").write_bytes(good)
    script.main(["select", str(everything), str(out)])
    script.main(["select", str(everything), str(tmp_path / "whole")])
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk(script: ModuleType, everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path, out, chosen):
        out.write(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(script, "copy_matching", full)
    with pytest.raises(UserError, match=r"00000.tar cannot be written: No space left on device"):
        script.main(["select", str(everything), str(tmp_path / "out")])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--part", "0/3"], "there is no part 0/3: parts go from 1/3 to 3/3"),
        (["--part", "first"], "part is 'first': accepted are 1/16 to 16/16"),
        (["--min-count", "0"], "--min-count is 0: accepted are 1 and more"),
        (["--deny", "/nowhere"], "--deny /nowhere cannot be read"),
        (["--classes", "/nowhere"], "--classes /nowhere cannot be read"),
        (["--hashtags", "/nowhere"], "/nowhere is no list of hashtags"),
    ],
)
def test_bad_options(script: ModuleType, everything: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        script.main(["select", str(everything), str(tmp_path / "out"), *options])


def test_folders_that_would_mix(script: ModuleType, everything: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lies in the folder to write to"):
        script.main(["select", str(everything), str(everything)])
    (tmp_path / "more").mkdir()
    write_tar(tmp_path / "more" / "00002.tar", {})
    with pytest.raises(UserError, match=r"00002\.tar and .*00002\.tar have the same name"):
        script.main(["select", str(everything), str(tmp_path / "more"), str(tmp_path / "out")])


def test_bad_input_is_one_sentence_and_code_2(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOLS / "select_targeted.py"), "select", str(tmp_path / "*.tar"), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: no tar file matches")
    assert len(run.stderr.splitlines()) == 1
