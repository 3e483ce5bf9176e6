import bz2
import hashlib
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from lit_knn.data import YFCC100M, ImageData, ImageError
from lit_knn.data.sources.yfcc100m import photo_name
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo

# a line of the real data, as https://lbsn.vgiscience.org/tutorial/yfcc-introduction describes it
REAL_URL, REAL_NAME = (
    b"http://farm8.staticflickr.com/7205/6985418911_df7747990d.jpg",
    "4e2f7a26a1dfbf165a7e30bdabf7e72a",
)


def url(number: int) -> str:
    return f"http://farm{number % 9}.staticflickr.com/{number}/{number}_{number:010x}.jpg"


def name(number: int) -> str:
    """By way of text, unlike the code under test."""
    digest = hashlib.md5(url(number).encode()).hexdigest()
    return "".join(digest[i + 1] if digest[i] == "0" else digest[i : i + 2] for i in range(0, 32, 2))


def key(number: int) -> str:
    return f"{name(number)[:3]}/{name(number)[3:6]}/{name(number)}.jpg"


def line(number: int, *, columns: int = 23, video: bool = False) -> bytes:
    fields = [f"{number}", "1@N00", "nick", *["%D0%BA+%23cat"] * 11, url(number), *["x"] * 7, str(int(video))]
    if columns == 25:
        fields = [f"{number}", fields[0], name(number), *fields[1:]]
    assert len(fields) == columns
    return "\t".join(fields).encode() + b"\n"


def write(path: Path, numbers: Sequence[int], **options: int) -> Path:
    """Write metadata; every fifth number is a video."""
    text = b"".join(line(number, video=number % 5 == 4, **options) for number in numbers)
    path.write_bytes(bz2.compress(text) if path.suffix == ".bz2" else text)
    return path


def photos(numbers: Sequence[int]) -> list[str]:
    return [key(number) for number in numbers if number % 5 != 4]


def keys(source: YFCC100M) -> list[list[str]]:
    return [list(source.open_shard(index).keys()) for index in range(len(source.shard_names()))]


def test_names_of_the_mirror() -> None:
    assert photo_name(REAL_URL) == REAL_NAME
    lengths = {len(photo_name(url(number).encode())) for number in range(200)}
    assert lengths >= {30, 31, 32}
    assert all(photo_name(url(number).encode()) == name(number) for number in range(200))


def test_shards_are_ranges_of_the_photos(tmp_path: Path) -> None:
    write(tmp_path / "m-0.tsv", range(25))
    write(tmp_path / "m-1.tsv", [4, 9])  # nothing but videos
    write(tmp_path / "m-2.tsv", range(25, 36))
    source = YFCC100M(metadata=str(tmp_path / "m-{0..2}.tsv"), root=tmp_path, shard_size=8)
    assert source.shard_names() == ["m-0-00000", "m-0-00001", "m-0-00002", "m-2-00000", "m-2-00001"]
    first, second = photos(range(25)), photos(range(25, 36))
    assert keys(source) == [first[:8], first[8:16], first[16:], second[:8], second[8:]]
    assert max(len(one.encode()) for shard in keys(source) for one in shard) <= 44
    again = pickle.loads(pickle.dumps(YFCC100M(metadata=str(tmp_path), root=tmp_path, shard_size=8)))
    assert keys(again) == keys(source)


def test_columns_compression_and_place_make_no_difference(tmp_path: Path) -> None:
    identities, listed = set(), set()
    for columns in (23, 25):
        for suffix in (".tsv", ".bz2"):
            folder = tmp_path / f"{columns}{suffix}"
            folder.mkdir()
            path = write(folder / f"m{suffix}", range(40), columns=columns)
            source = YFCC100M(metadata=str(path), root=folder, listing=folder / "lists", shard_size=9)
            identities.add(source.identity())
            listed.add(str(keys(source)))
    assert len(identities) == len(listed) == 1
    assert YFCC100M(metadata=str(path), root=folder, shard_size=10).identity() not in identities
    path = write(tmp_path / "other.tsv", range(1, 40))
    assert YFCC100M(metadata=str(path), root=folder, shard_size=9).identity() not in identities


def test_the_metadata_are_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "m.bz2", range(30))
    before = keys(YFCC100M(metadata=str(path), root=tmp_path, shard_size=7))
    path.write_bytes(bytes(path.stat().st_size))  # of the same length, but of no use any more
    assert keys(YFCC100M(metadata=str(path), root=tmp_path, shard_size=7)) == before
    assert len((tmp_path / "m.photos").read_text().splitlines()) == 1 + 24  # a person can read it, too


def test_an_interrupted_listing_resumes_with_the_next_file(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", range(10))
    whole = (write(tmp_path / "b.bz2", range(10, 2000))).read_bytes()
    (tmp_path / "b.bz2").write_bytes(whole[: len(whole) // 2])
    source = YFCC100M(metadata=str(tmp_path), root=tmp_path, listing=tmp_path / "lists")
    with pytest.raises(UserError, match=r"b\.bz2 is damaged or cut short after line \d+"):
        source.shard_names()
    assert [path.name for path in (tmp_path / "lists").iterdir()] == ["a.photos"]
    first = (tmp_path / "lists" / "a.photos").stat().st_mtime_ns
    (tmp_path / "b.bz2").write_bytes(whole)
    assert [one for shard in keys(source) for one in shard] == photos(range(2000))
    assert (tmp_path / "lists" / "a.photos").stat().st_mtime_ns == first


def test_images_and_the_lack_of_them(tmp_path: Path) -> None:
    root = tmp_path / "images"
    path = write(tmp_path / "m.tsv", [0, 1, 2])
    source = YFCC100M(metadata=str(path), root=root)
    with pytest.raises(UserError, match="images is no folder"):
        source.open_shard(0)
    for number in (0, 2):
        (root / key(number)).parent.mkdir(parents=True)
        (root / key(number)).write_bytes(encode(photo(number), "jpg"))
    shard = source.open_shard(0)
    sample = shard.read(2)
    assert (sample.key, sample.label, sample.image) == (key(2), -1, encode(photo(2), "jpg"))
    with pytest.raises(ImageError, match="No such file"):
        shard.read(1)
    data = ImageData(queries=source, database=source, on_error="skip")
    (batch,) = data.database_batches([0])
    assert batch["key"] == [key(0), key(2)]
    assert [(failure.row, failure.key) for failure in batch["failed"]] == [(1, key(1))]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (b"a\tb\n", "line 3 has 2 columns: accepted are 23 and 25"),
        (b"\n", "line 3 has 1 columns"),
        (line(7)[:-40], "line 3 has 15 columns"),
        (b"\0" * 3_000_000, "line 3 has 1 columns"),
        (line(7)[:-2] + b"2\n", "line 3 ends with b'2': accepted are 0 and 1"),
        (line(7, columns=25).replace(name(7).encode(), b"../../etc/passwd"), "names its photo '../../etc/passwd'"),
        (line(7, columns=25).replace(name(7).encode(), b"caf\xe9"), "names its photo"),
    ],
)
def test_bad_lines(tmp_path: Path, bad: bytes, sentence: str) -> None:
    (tmp_path / "m.tsv").write_bytes(line(0) + line(1) + bad)
    with pytest.raises(UserError, match=rf"m\.tsv, line 3.*{sentence.removeprefix('line 3')}"):
        YFCC100M(metadata=str(tmp_path / "m.tsv"), root=tmp_path).shard_names()
    assert [path.name for path in tmp_path.iterdir()] == ["m.tsv"]


def test_windows_line_ends_and_a_missing_last_one(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_bytes((line(0) + line(1)).replace(b"\n", b"\r\n").rstrip())
    assert keys(YFCC100M(metadata=str(tmp_path / "m.tsv"), root=tmp_path)) == [[key(0), key(1)]]


def test_a_photo_that_comes_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tsv", [0, 1, 2, 1])
    with pytest.raises(UserError, match=rf"photo {name(1)} twice"):
        YFCC100M(metadata=str(path), root=tmp_path).open_shard(0)


def test_lists_of_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tsv", range(6))
    photos_file = tmp_path / "m.photos"
    source = YFCC100M(metadata=str(path), root=tmp_path)
    source.shard_names()
    good = photos_file.read_bytes()
    for bad in (good[:-1], good[:500], b"", b"[]\n", good.replace(b'"photos": 5', b'"photos": 4')):
        photos_file.write_bytes(bad)
        with pytest.raises(UserError, match=r"m\.photos is not the list of .*m\.tsv .*: delete it"):
            YFCC100M(metadata=str(path), root=tmp_path).shard_names()
    photos_file.write_bytes(good)
    write(path, range(7))
    with pytest.raises(UserError, match=r"it lists m\.tsv of \d+ bytes"):
        YFCC100M(metadata=str(path), root=tmp_path).shard_names()


def test_other_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shard_size is 0"):
        YFCC100M(metadata="m", root=tmp_path, shard_size=0)
    with pytest.raises(UserError, match=r"no metadata file matches .*m-1\.tsv"):
        YFCC100M(metadata=f"{write(tmp_path / 'm-0.tsv', [4]).parent}/m-{{0..1}}.tsv", root=tmp_path).shard_names()
    with pytest.raises(UserError, match="no photos in the metadata"):
        YFCC100M(metadata=str(tmp_path / "m-0.tsv"), root=tmp_path).shard_names()
    (tmp_path / "m-0.bz2").write_bytes(b"no bz2")
    with pytest.raises(UserError, match=r"m-0\.tsv would share the list"):
        YFCC100M(metadata=str(tmp_path), root=tmp_path).shard_names()
    with pytest.raises(UserError, match=r"m-0\.bz2 is damaged or cut short after line 0"):
        YFCC100M(metadata=str(tmp_path / "m-0.bz2"), root=tmp_path, listing=tmp_path / "lists").shard_names()
    (tmp_path / "file").touch()
    shutil.rmtree(tmp_path / "lists")
    with pytest.raises(UserError, match="cannot be written"):
        YFCC100M(metadata=str(tmp_path / "m-0.tsv"), root=tmp_path, listing=tmp_path / "file").shard_names()
