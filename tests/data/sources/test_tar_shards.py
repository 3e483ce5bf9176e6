import gzip
import json
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset

from lit_knn.data import ImageError, Sample, TarShards
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo, samples, write_tar

IMAGE = encode(photo(0))


def read_all(source: TarShards) -> list[Sample]:
    shards = [source.open_shard(index) for index in range(len(source.shard_names()))]
    return [shard.read(row) for shard in shards for row in range(len(shard))]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to the garbage collector
def test_reads_what_webdataset_reads(tmp_path: Path) -> None:
    members = {
        **samples(0, 5),
        "dir.x/a.PNG": IMAGE,
        "dir.x/a.cls": b"3\n",
        "b.seg.png": b"another part",
        "b.jpg": encode(photo(1), "jpg"),
        "b.txt": b"a caption",
    }
    write_tar(tmp_path / "x-0.tar", members)
    write_tar(tmp_path / "x-1.tar", samples(0, 3))  # keys may come again in another shard
    source = TarShards(urls=str(tmp_path / "x-{0..1}.tar"))
    peer = webdataset.WebDataset([str(tmp_path / f"x-{i}.tar") for i in (0, 1)], shardshuffle=False, empty_check=False)
    expected = [
        Sample(item["__key__"], int(item.get("cls", b"-1")), item.get("png") or item.get("jpg")) for item in peer
    ]
    assert read_all(source) == expected
    assert len(expected) == 10


def test_json_labels(tmp_path: Path) -> None:
    fields = {
        "a": {"label": 4},
        "b": {"cls": 5},
        "c": {"caption": "no label"},
        "d": {"label": "a word"},
        "e": {"label": True},
        "f": {"label": None, "cls": 3},
        "g": {"label": -1},
        "h": {"label": "7"},
        "i": {"label": 8.0},
        "j": {"label": 8.5},
    }
    members = {f"{key}.json": json.dumps(value).encode() for key, value in fields.items()}
    write_tar(tmp_path / "x.tar", members | {f"{key}.webp": IMAGE for key in fields})
    assert [sample.label for sample in read_all(TarShards(urls=[str(tmp_path / "x.tar")]))] == [4, 5] + [-1] * 5 + [
        7,
        8,
        -1,
    ]


def test_shards_are_named_after_their_files(tmp_path: Path) -> None:
    for name in ("t-08", "t-09", "t-10"):
        write_tar(tmp_path / f"{name}.tar", samples(0, 1))
    assert TarShards(urls=f"{tmp_path}/t-{{08..10}}.tar").shard_names() == ["t-08", "t-09", "t-10"]
    with pytest.raises(UserError, match=r"no tar file matches .*t-11\.tar"):
        TarShards(urls=f"{tmp_path}/t-{{10..11}}.tar").shard_names()
    with pytest.raises(UserError, match="urls is empty"):
        TarShards(urls=[]).shard_names()


def test_classes_bound_the_labels(tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("cat\ndog\n")
    write_tar(tmp_path / "x.tar", {"a.png": IMAGE, "a.cls": b"2"})
    source = TarShards(urls=str(tmp_path / "x.tar"), classes=str(names))
    assert source.class_names == ["cat", "dog"]
    assert source.label_problem(3)
    with pytest.raises(UserError, match=r"x\.tar: a\.cls holds the label 2, accepted are 0 to 1"):
        source.open_shard(0)
    with pytest.raises(UserError, match="nowhere cannot be read"):
        TarShards(urls=str(tmp_path / "x.tar"), classes=str(tmp_path / "nowhere")).open_shard(0)


def test_labels_may_be_names(tmp_path: Path) -> None:
    wordnet = json.dumps({"label": "n02102040"}).encode()
    members = {
        "n01440764/a.png": IMAGE,  # the folders of a data set, packed as they are
        "val/n03888257/b.png": IMAGE,
        "val/n03888257/b.cls": b"5",
        "c.png": IMAGE,
        "c.cls": b"n02102040\n",
        "d.png": IMAGE,
        "d.json": wordnet,
        "n01440764/e.png": IMAGE,
        "n01440764/e.json": b'{"caption": "a fish"}',
        "n99999999/f.png": IMAGE,
        "n03888257_7_n01440764.png": IMAGE,
    }
    write_tar(tmp_path / "x.tar", members)
    source = TarShards(urls=str(tmp_path / "x.tar"))
    assert not source.label_problem(10)
    assert [sample.label for sample in read_all(source)] == [0, 5, 217, 217, 0, -1, 0]
    assert "ImageNet" in source.label_problem(10)
    assert not source.label_problem(1000)
    assert source.class_names is not None
    assert source.class_names[217] == "English springer"
    classes = ["n02102040", "x1", "x2", "x3", "x4", "n01440764"]
    source = TarShards(urls=str(tmp_path / "x.tar"), classes=classes)
    assert [sample.label for sample in read_all(source)] == [5, 5, 0, 0, 5, -1, 5]
    assert source.identity() != TarShards(urls=str(tmp_path / "x.tar"), classes=classes[::-1]).identity()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.cls", b"cat"),
        ("a.cls", b""),
        ("a.cls", b"-1"),
        ("a.cls", b"1.5"),
        ("a.cls", b"\xff\xfe"),
        ("a.cls", b"9223372036854775808"),
        ("a.cls", b"9" * 5000),
        ("a.json", b'{"label": -2}'),
        ("a.json", b'{"label": 9223372036854775808}'),
    ],
)
def test_bad_labels(tmp_path: Path, name: str, data: bytes) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": IMAGE, name: data})
    with pytest.raises(UserError, match=rf"x\.tar: {name} holds"):
        TarShards(urls=str(tmp_path / "x.tar")).open_shard(0)


@pytest.mark.parametrize("fraction", [0, 0.02, 0.3, 0.5, 0.77, 0.99])
def test_a_tar_cut_anywhere_is_refused(tmp_path: Path, fraction: float) -> None:
    path = write_tar(tmp_path / "x.tar", samples(0, 6))
    complete = path.read_bytes().rstrip(b"\0")  # the padding at the end tells nothing
    path.write_bytes(complete[: int(len(complete) * fraction)])
    with pytest.raises(UserError, match=r"x\.tar is cut short"):
        TarShards(urls=str(path)).open_shard(0)


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": IMAGE, "b.png": IMAGE})
    one = 512 + -(-len(IMAGE) // 512) * 512
    path.write_bytes(path.read_bytes()[:one])
    with pytest.raises(UserError, match=r"no end mark after a\.png"):
        TarShards(urls=str(path)).open_shard(0)


def test_other_bad_tars(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": IMAGE})
    (tmp_path / "z.tar").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(UserError, match="no uncompressed tar"):
        TarShards(urls=str(tmp_path / "z.tar")).open_shard(0)
    (tmp_path / "y.tar").write_bytes(bytes(20_000))
    with pytest.raises(UserError, match=r"y\.tar is cut short.*nothing but zeros"):
        TarShards(urls=str(tmp_path / "y.tar")).open_shard(0)
    write_tar(tmp_path / "y.tar", {"a.png": IMAGE, "a.PNG": IMAGE})
    with pytest.raises(UserError, match=r"a\.PNG twice"):
        TarShards(urls=str(tmp_path / "y.tar")).open_shard(0)
    write_tar(tmp_path / "y.tar", {"a.png": IMAGE, "a.jpg": IMAGE})
    with pytest.raises(UserError, match="two images of key 'a'"):
        TarShards(urls=str(tmp_path / "y.tar")).open_shard(0)


@pytest.mark.parametrize("data", [b"{", b"[3]", b"", b"\xff", b"3", b"[" * 100_000], ids=lambda data: repr(data[:4]))
def test_damaged_metadata_cost_one_image(tmp_path: Path, data: bytes) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": IMAGE, "b.png": IMAGE, "b.json": data, "c.png": IMAGE})
    shard = TarShards(urls=str(tmp_path / "x.tar")).open_shard(0)
    assert [shard.read(row).key for row in (0, 2)] == ["a", "c"]
    with pytest.raises(ImageError, match=r"x\.tar: b\.json "):
        shard.read(1)


def test_a_folder_of_img2dataset(tmp_path: Path) -> None:
    """Its tables and statistics lie beside the tar files; a shard without any success is an empty tar file."""
    metadata = {
        "url": "u",
        "caption": "a #cat",
        "key": "0000",
        "status": "success",
        "error_message": None,
        "exif": "{}",
    }
    text = json.dumps(metadata, indent=4).encode()
    write_tar(
        tmp_path / "00000.tar",
        {
            "000000000.json": text,
            "000000000.jpg": encode(photo(1), "jpg"),
            "000000000.txt": b"a #cat",
            "000000001.json": text,  # metadata without image
            "000000002.jpg": IMAGE,  # image without metadata
        },
    )
    for name in ("00000.parquet", "00000_stats.json", "00001.parquet", "00001_stats.json"):
        (tmp_path / name).write_bytes(b"PAR1")
    with webdataset.TarWriter(str(tmp_path / "00001.tar")):
        pass
    for urls in (str(tmp_path), f"{tmp_path}/*", f"{tmp_path}/0000?.*"):
        source = TarShards(urls=urls)
        assert source.shard_names() == ["00000", "00001"]
        assert [len(source.open_shard(index)) for index in (0, 1)] == [2, 0]
        assert [(sample.key, sample.label) for sample in read_all(source)] == [("000000000", -1), ("000000002", -1)]


def test_compressed_shards_beside_others_are_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "c.tar", {"a.png": IMAGE})
    for name in ("a.tar.gz", "b.TGZ"):
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    source = TarShards(urls=str(tmp_path))
    assert source.shard_names() == ["c"]
    assert [Path(failure.key).name for failure in source.unread()] == ["a.tar.gz", "b.TGZ"]
    assert TarShards(urls=str(path)).unread() == TarShards(urls=f"{tmp_path}/*.tar").unread() == []


def test_identity_knows_the_data_but_not_the_place(tars: Callable[..., str], tmp_path: Path) -> None:
    pattern = tars(3, 2)
    identity = TarShards(urls=pattern).identity()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("*.tar"):
        shutil.copy(path, copy)
    assert TarShards(urls=str(copy / "*.tar")).identity() == identity
    assert TarShards(urls=str(copy / "*-0.tar")).identity() != identity


def test_shards_survive_pickling_and_forking(tars: Callable[..., str]) -> None:
    shard = TarShards(urls=tars(3)).open_shard(0)
    assert pickle.loads(pickle.dumps(shard)).read(2) == shard.read(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(shard.read, [0, 1, 2] * 5) == [shard.read(row) for row in [0, 1, 2] * 5]


def test_shards_that_two_sources_share(tars: Callable[..., str], tmp_path: Path) -> None:
    source = TarShards(urls=tars(3, 2, 4))
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "part-1.tar", tmp_path / "copy")
    assert source.shared(TarShards(urls=str(tmp_path / "copy"))) == f"{tmp_path}/part-1.tar is a shard of both"
    first, others = TarShards(urls=f"{tmp_path}/part-0.tar"), TarShards(urls=f"{tmp_path}/part-[12].tar")
    assert first.shared(others) == ""
