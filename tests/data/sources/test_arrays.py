from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from lit_knn.data import Arrays, Digits, ImageData, Preprocessing
from lit_knn.data.sources import arrays
from lit_knn.errors import UserError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (10, 8, 6, 3), dtype=np.uint8)
FLOATS = RNG.random((10, 8, 6, 3), np.float32)
LABELS = np.arange(10) % 4


def everything(source: Arrays, **settings: Any) -> tuple[torch.Tensor, list[int], list[str]]:
    """Images in [0, 1], labels and keys, as a test meets them."""
    module = ImageData(queries=source, batch_size=4, **settings)
    batches = [module.on_after_batch_transfer(batch) for batch in module.test_dataloader()]
    image, label = (torch.cat([batch[name] for batch in batches]) for name in ("image", "label"))  # type: ignore[literal-required]
    return image, label.tolist(), [key for batch in batches for key in batch["key"]]


@pytest.mark.parametrize("images", [BYTES, FLOATS, FLOATS.astype(np.float64)], ids=["uint8", "float32", "float64"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_arrays_and_tensors_of_either_layout(images: np.ndarray, layout: str) -> None:
    expected = (images / np.float32(255) if images.dtype == np.uint8 else images).transpose(0, 3, 1, 2)
    given = images if layout == "NHWC" else images.transpose(0, 3, 1, 2)
    for array in (given, np.ascontiguousarray(given), torch.from_numpy(given)):
        image, label, _ = everything(Arrays.of(array, LABELS))
        np.testing.assert_array_equal(image, expected.astype(np.float32))
        assert label == LABELS.tolist()


def test_a_benchmark_of_blocks(tmp_path: Path) -> None:
    """As CIFAR-10-C lies on disk: five severities one after the other in one array, and labels that go with them."""
    np.save(tmp_path / "fog.npy", BYTES)
    np.save(tmp_path / "labels.npy", LABELS.astype(np.uint8))
    source = Arrays(images=tmp_path / "fog.npy", labels=tmp_path / "labels.npy", rows=(4, 9), shard_size=3)
    image, label, keys = everything(source)
    np.testing.assert_array_equal(image * 255, BYTES[4:9].transpose(0, 3, 1, 2))
    assert label == LABELS[4:9].tolist()
    assert keys == [f"fog/{row:06d}" for row in range(4, 9)]
    assert source.shard_names() == ["fog-000004", "fog-000007"]
    assert isinstance(source._stored, np.memmap)


def test_saved_adversarial_images_in_one_file(tmp_path: Path) -> None:
    tensors = {"adv": torch.from_numpy(FLOATS).permute(0, 3, 1, 2), "y": torch.from_numpy(LABELS)}
    torch.save(tensors, tmp_path / "a.pt")
    image, label, _ = everything(Arrays(images=tmp_path / "a.pt", images_key="adv", labels_key="y"))
    assert torch.equal(image, tensors["adv"])
    assert label == LABELS.tolist()
    small, _, _ = everything(
        Arrays(images=tmp_path / "a.pt", images_key="adv", labels_key="y"),
        preprocessing=Preprocessing(resize=4, crop=3),
    )
    assert small.shape == (10, 3, 3, 3)


def test_a_square_of_three_pixels_needs_a_layout() -> None:
    images = RNG.integers(0, 256, (4, 3, 5, 3), dtype=np.uint8)
    with pytest.raises(UserError, match=r"shape \(4, 3, 5, 3\), which may be both: set layout"):
        Arrays.of(images).open_shard(0)
    for layout, expected in (("NHWC", images), ("NCHW", images.transpose(0, 2, 3, 1))):
        image = Arrays.of(images, layout=layout).open_shard(0).read(1).image  # type: ignore[arg-type]
        np.testing.assert_array_equal(image, expected[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"images": BYTES[0]}, r"images has shape \(8, 6, 3\): accepted are \(M, H, W, 3\)"),
        ({"images": np.array(3)}, r"images has shape \(\)"),
        ({"images": BYTES[..., :1]}, r"images has shape \(10, 8, 6, 1\)"),
        ({"images": BYTES, "layout": "NCHW"}, r"images has shape \(10, 8, 6, 3\): .* layout is NCHW"),
        ({"images": BYTES, "layout": "HWC"}, "layout is 'HWC'"),
        ({"images": BYTES, "labels": LABELS[:9]}, r"holds 10 images, and its labels are int64 \(9,\)"),
        ({"images": BYTES, "labels": LABELS[:, None]}, r"labels are int64 \(10, 1\): accepted is one integer for each"),
        ({"images": BYTES, "labels": LABELS / 2}, "labels are float64"),
        ({"images": BYTES, "labels": LABELS - 2}, "has a label -2: accepted are 0 and more"),
        ({"images": BYTES, "rows": (5, 11)}, "holds 10 images: accepted are rows of these, not 5 to 11"),
        ({"images": BYTES, "rows": (5, 5)}, "not 5 to 5"),
        ({"images": BYTES, "rows": (-5, 10)}, "not -5 to 10"),
        ({"images": BYTES[:0]}, r"of shape \(0, .* holds 0 images: at least one"),
        ({"images": BYTES, "shard_size": 0}, "shard_size is 0"),
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        Arrays.of(**settings).open_shard(0)


def test_images_without_labels_are_a_database_and_no_queries() -> None:
    source = Arrays.of(BYTES)
    module = ImageData(queries=source, database=source)
    assert next(iter(module.database_batches([0])))["label"].tolist() == [-1] * 10
    with pytest.raises(UserError, match=r"images/000000 .* has no label"):
        list(module.test_dataloader())


def test_identity_knows_content_and_rows_but_not_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hashed in (1 << 28, 500):
        monkeypatch.setattr(arrays, "HASHED", hashed)
        changed = BYTES.copy()
        changed[7, 4, 3] ^= 1  # in the middle of an image
        relabeled = np.where(np.arange(10) == 3, 2, 1)
        sources = [
            *(Arrays.of(BYTES), Arrays.of(BYTES, LABELS), Arrays.of(BYTES, relabeled), Arrays.of(changed)),
            *(Arrays.of(BYTES, rows=(0, 9)), Arrays.of(BYTES, shard_size=3), Arrays.of(FLOATS)),
        ]
        assert len({source.identity() for source in sources}) == len(sources)
        for name in ("a.npy", "b.npy"):
            np.save(tmp_path / name, BYTES)
            assert Arrays(images=tmp_path / name).identity() == Arrays.of(BYTES).identity()


def test_yaml_builds_it_from_its_short_name(tmp_path: Path) -> None:
    digits = Digits(split="test").open_shard(0)
    np.save(tmp_path / "x.npy", np.stack([digits.read(row).image for row in range(30)]))  # type: ignore[arg-type]
    np.savez(tmp_path / "y.npz", y=[digits.read(row).label for row in range(30)], z=[0])
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
        data:
          queries:
            class_path: Arrays
            init_args: {{images: {tmp_path}/x.npy, labels: {tmp_path}/y.npz, labels_key: y, rows: [10, 25]}}
        """
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(ImageData, "data")
    module = parser.instantiate(parser.parse_args(["--config", str(config)])).data
    (batch,), expected = module.test_dataloader(), next(iter(ImageData(queries=Digits(split="test")).test_dataloader()))
    assert torch.equal(batch["image"], expected["image"][10:25])
    assert torch.equal(batch["label"], expected["label"][10:25])


def test_classes_have_names() -> None:
    source = Arrays.of(np.zeros((2, 4, 4, 3), np.uint8), np.array([1, 0]), classes=["cat", "dog"])
    assert source.class_names == ["cat", "dog"]
    assert not source.label_problem(2)
    assert "lists 2 classes, but the network has 10" in source.label_problem(10)
    bare = Arrays.of(np.zeros((2, 4, 4, 3), np.uint8))
    assert bare.class_names is None
    assert not bare.label_problem(10)
    assert bare.identity() == Arrays.of(np.zeros((2, 4, 4, 3), np.uint8), classes=["a"]).identity()


def test_rows_that_two_sources_share(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, BYTES)
    a, b = tmp_path / "a.npy", tmp_path / "b.npy"
    first = Arrays(images=a, rows=(0, 6))
    assert first.shared(Arrays(images=a, rows=(4, 9), shard_size=3)) == f"rows 4 to 6 of {a} are in both"
    assert first.shared(Arrays(images=a, rows=(6, 9))) == ""
    assert "hold the same" in first.shared(Arrays(images=b, rows=(0, 6)))
    assert first.shared(Digits(split="test")) == ""
    assert "hold the same" in Arrays.of(BYTES, rows=(0, 6)).shared(Arrays.of(BYTES[5:]))
    assert Arrays.of(BYTES, rows=(0, 6)).shared(Arrays.of(BYTES[6:])) == ""
    assert "hold the same" in Arrays.of(BYTES).shared(Arrays.of(BYTES.copy(), LABELS))
