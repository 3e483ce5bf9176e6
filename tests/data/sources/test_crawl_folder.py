from pathlib import Path

import pytest

from lit_knn.data import TarShards
from lit_knn.data.sources.crawl_folder import Downloads, has_not_finished
from lit_knn.errors import UserError
from tests.data.conftest import samples, write_tar
from tests.data.crawl import finish, write_shard


def test_what_has_no_statistics_where_others_have_is_unfinished(tmp_path: Path) -> None:
    whole, begun = write_shard(tmp_path, 0), write_shard(tmp_path, 1, finished=False)
    own = write_tar(tmp_path / "own.tar", samples(0, 1))
    other = write_tar(tmp_path / "elsewhere.tar", samples(0, 1))
    assert has_not_finished([whole, begun, own, other]) == {begun}
    source = TarShards(urls=str(tmp_path))
    assert source.shard_names() == ["00000", "elsewhere", "own"]
    assert [(Path(key).name, reason) for _, key, reason in source.unread()] == [
        ("00001.tar", "img2dataset has not finished it")
    ]
    write_shard(tmp_path, 1)
    assert TarShards(urls=str(tmp_path)).shard_names() == ["00000", "00001", "elsewhere", "own"]


@pytest.mark.parametrize("urls", ["", "/*.tar", "/0000[0-9].tar", "/{00000..00001}.tar"])
def test_it_is_unfinished_however_it_is_named(tmp_path: Path, urls: str) -> None:
    write_shard(tmp_path, 0)
    write_shard(tmp_path, 1, finished=False)
    assert TarShards(urls=f"{tmp_path}{urls}").shard_names() == ["00000"]


def test_a_folder_in_which_nothing_is_finished_yet(tmp_path: Path) -> None:
    path = write_shard(tmp_path, 0, finished=False)
    assert not has_not_finished([path])  # as far as one can know: a tar file, which is refused when it is opened
    (tmp_path / "_tmp").mkdir()
    with pytest.raises(UserError, match=r"00000\.tar is unfinished, and so is all .* writes 00000_stats\.json when"):
        TarShards(urls=str(tmp_path)).shard_names()


def test_tar_files_that_were_copied_without_the_rest_are_shards(tmp_path: Path) -> None:
    paths = [write_tar(tmp_path / f"{number:05d}.tar", samples(0, 1)) for number in range(2)]
    assert not has_not_finished(paths)
    assert Downloads.beside(paths) == Downloads(0, 0, 0)
    assert TarShards(urls=str(tmp_path)).remark() == ""


def test_failures_are_added_up(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path, number, 3, lost=number, unusable=1) for number in range(3)]
    assert Downloads.beside(paths) == Downloads(tried=15, lost=3, unusable=3)
    told = "of 15 addresses, img2dataset could not download 3 and could not use what 3 gave"
    assert TarShards(urls=str(tmp_path)).remark() == told
    for text in ("", "{", "[]", '{"count": 1}', '{"count": "a", "failed_to_download": 0, "failed_to_resize": 0}'):
        (tmp_path / "00000_stats.json").write_text(text)  # one that is being written
        assert Downloads.beside(paths) == Downloads(tried=11, lost=3, unusable=2)
    finish(paths[0], 4, 3, 0, 1)
    assert Downloads.beside(paths).tried == 15
