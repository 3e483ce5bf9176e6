import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import webdataset
from webdataset.tariterators import base_plus_ext, tar_file_iterator

from lit_knn.data.sources.tar_index import image_of, listing, padded, samples
from lit_knn.errors import UserError
from tests.data.conftest import write_tar


def test_parts_of_a_key_need_not_be_neighbors(tmp_path: Path) -> None:
    members = {"a.jpg": b"1" * 700, "x/b.PNG": b"22", "a.json": b"{}", "b.seg.png": b"", "README": b"", ".hidden": b""}
    path = write_tar(tmp_path / "x.tar", members)
    listed = samples(path)
    assert {key: list(sample) for key, sample in listed.items()} == {
        "a": ["jpg", "json"],
        "x/b": ["png"],
        "b": ["seg.png"],
    }
    data = path.read_bytes()
    for key, extension, name in (("a", "jpg", "a.jpg"), ("x/b", "png", "x/b.PNG"), ("a", "json", "a.json")):
        member = listed[key][extension]
        assert data[member.offset : member.offset + member.size] == members[name]
    assert [padded(size) for size in (0, 1, 512, 513)] == [0, 512, 512, 1024]


def reference(path: Path) -> list[tuple[str, int, int, int]]:
    """What Python's own module finds, whatever the key."""
    with tarfile.open(path) as tar:
        return [(one.name, one.offset, one.offset_data, one.size) for one in tar if one.isreg() and "." in one.name]


def found(path: Path) -> list[tuple[str, int, int, int]]:
    return [tuple(member) for sample in samples(path).values() for member in sample.values()]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_same_members_as_tarfile(tmp_path: Path, kind: int) -> None:
    """Long names in any script, fractions of seconds, folders, links, old headers: what a tar file may hold."""
    names = ["a.jpg", "d/" * 30 + "b" * 60 + ".png", "c.json"]
    if kind != tarfile.USTAR_FORMAT:
        names += ["фото/" * 40 + "猫" * 60 + ".jpg", "\udcff.png"]  # the last is no UTF-8
    comment = {"pax_headers": {"comment": "of all"}} if kind == tarfile.PAX_FORMAT else {}
    with tarfile.open(tmp_path / "x.tar", "w", format=kind, **comment) as tar:
        for number, name in enumerate(names):
            for extra, what in (("folder.", tarfile.DIRTYPE), ("link.", tarfile.LNKTYPE), ("soft.", tarfile.SYMTYPE)):
                other = tarfile.TarInfo(f"{extra}{number}")
                other.type, other.linkname = what, "l" * (90 if kind == tarfile.USTAR_FORMAT else 300)
                tar.addfile(other)
            info = tarfile.TarInfo(name)
            info.type = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)[number % 3]
            info.size, info.mtime = 300 * number, 1.5 if kind == tarfile.PAX_FORMAT else 1
            info.uid = 10**9 if kind == tarfile.GNU_FORMAT else 1  # too large for octal digits
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    assert len(found(tmp_path / "x.tar")) == len(names)
    assert found(tmp_path / "x.tar") == reference(tmp_path / "x.tar")


def test_the_same_members_as_of_webdataset_and_gnu_tar(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as writer:
        for key in ("a", "b"):
            writer.write({"__key__": key, "jpg": b"123", "json": {"k": key}})
    assert len(found(tmp_path / "x.tar")) == 4
    assert found(tmp_path / "x.tar") == reference(tmp_path / "x.tar")
    names = ["a.jpg", "b" * 200 + ".jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"12345")
    for kind in ("v7", "oldgnu", "gnu", "ustar", "posix"):
        some = names[: 1 if kind in ("v7", "ustar") else 2]
        command = ["tar", "cf", str(tmp_path / "y.tar"), f"--format={kind}", "-C", str(tmp_path), *some]
        subprocess.run(command, check=True)
        assert len(found(tmp_path / "y.tar")) == len(some)
        assert found(tmp_path / "y.tar") == reference(tmp_path / "y.tar")


def test_sizes_beyond_octal_digits_and_sparse_files(tmp_path: Path) -> None:
    size = 9 * 2**30
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("a.jpg")
        info.size = size
        header = info.tobuf(kind)
        with (tmp_path / "x.tar").open("wb") as file:  # of holes: it takes up nothing
            file.write(header)
            file.truncate(len(header) + size + 1024)
        assert found(tmp_path / "x.tar") == reference(tmp_path / "x.tar") == [("a.jpg", 0, len(header), size)]
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(10**6)
        file.seek(500_000)
        file.write(b"1")
    for kind in ("gnu", "posix"):
        command = ["tar", "cSf", str(tmp_path / "x.tar"), f"--format={kind}", "-C", str(tmp_path), "a.jpg"]
        subprocess.run(command, check=True)
        with pytest.raises(UserError, match="a sparse file"):
            samples(tmp_path / "x.tar")


def test_any_damaged_header_is_noticed(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as writer:
        writer.write({"__key__": "a", "jpg": b"123"})
    good = (tmp_path / "x.tar").read_bytes()
    starts = (0, 2 * 512)  # of the attributes' header, of the member's own
    for place in [start + byte for start in starts for byte in range(0, 512, 7)]:
        (tmp_path / "x.tar").write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        if (place % 512) not in (154, 155):  # after the digits of the checksum
            with pytest.raises(UserError, match=r"x\.tar is cut short, damaged.*the header at byte 0 makes no sense"):
                samples(tmp_path / "x.tar")
    for attributes in (b"x", b"0 a=b\n", b"-1 a\n", b"9 size=x\n", b"huge"):
        info = tarfile.TarInfo("attributes")
        info.type, info.size = tarfile.XHDTYPE, 2**30 if attributes == b"huge" else len(attributes)
        (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + attributes.ljust(512, b"\0") + good)
        with pytest.raises(UserError, match=r"the header at byte 0 makes no sense"):
            samples(tmp_path / "x.tar")


def test_members_that_end_before_they_begin_or_after_the_file(tmp_path: Path) -> None:
    """The first is crafted: taken as it is, the same header would be read again without end."""
    header = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)
    for size in (-512, -1024, 10**9):
        record = b"size=%d\n" % size
        record = b"%d %s" % (len(record) + 3, record)
        attributes = tarfile.TarInfo("attributes")
        attributes.type, attributes.size = tarfile.XHDTYPE, len(record)
        data = attributes.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + header + bytes(1024)
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(UserError, match=f"a size of {size} bytes" if size < 0 else "no end mark after a"):
            listing(tmp_path / "x.tar")


def test_images(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.txt": b"", "b.webp": b"", "c.jpg": b"", "c.png": b"", "c.txt": b""})
    listed = samples(path)
    assert image_of(path, "a", listed["a"]) is None
    assert image_of(path, "b", listed["b"]) is listed["b"]["webp"]
    with pytest.raises(UserError, match=r"two images of key 'c': \.jpg and \.png"):
        image_of(path, "c", listed["c"])


def test_samples_are_those_of_webdataset_and_no_image_is_lost_in_silence(tmp_path: Path) -> None:
    """Each member that looks like an image is a sample's, another part of a sample that has one, or listed."""
    lost = ["shot_0.5.png", "d.x/two.image.jpg", "a.7.png", "g.gif", "link.png", "__meta__/i.png"]
    read = ["a.png", "b.PPM", "c.bmp", "d.x/e.jpg", "f.tiff", "x__/__y__/i.png", "__k__.png"]
    rest = ["a.cls", "b.seg.png", "shot_0.5.cls", "g.json", "._a.png", ".b.jpg", "README", "__k__"]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in (*read, *lost, *rest):
            info = tarfile.TarInfo(name)
            if name == "link.png":
                info.type, info.linkname = tarfile.LNKTYPE, "a.png"
            tar.addfile(info)
    samples, unread = listing(tmp_path / "x.tar")
    images = {key: image.name for key in samples if (image := image_of(tmp_path, key, samples[key])) is not None}
    assert sorted(images.values()) == sorted(read)
    assert sorted(failure.key for failure in unread) == sorted(lost)
    with (tmp_path / "x.tar").open("rb") as file:
        peer = list(tar_file_iterator(file))
    keys = [base_plus_ext(item["fname"]) for item in peer]
    assert {(key, extension) for key in samples for extension in samples[key]} == {
        (key, extension.lower()) for key, extension in keys if key
    }


def test_empty_and_missing_files(tmp_path: Path) -> None:
    assert samples(write_tar(tmp_path / "x.tar", {})) == {}
    for size in (0, 100, 3 * tarfile.RECORDSIZE):
        (tmp_path / "y.tar").write_bytes(bytes(size))
        with pytest.raises(UserError, match=r"y\.tar is cut short"):
            samples(tmp_path / "y.tar")
    with pytest.raises(UserError, match=r"z\.tar is cut short, damaged or .* \(.*No such file"):
        samples(tmp_path / "z.tar")
