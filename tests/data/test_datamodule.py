from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from PIL import Image

from lit_knn.data import Batch, Digits, Failure, ImageData, ImageFolder, Preprocessing, TarShards
from lit_knn.data.datamodule import LISTED_SHARDS
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo, samples, write_tar


def data(pattern: str | Path, **arguments: Any) -> ImageData:
    source = TarShards(urls=str(pattern))
    return ImageData(**{"queries": source, "database": source, "batch_size": 4} | arguments)


def on_rank(module: ImageData, rank: int, world_size: int) -> ImageData:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, strategy=strategy)  # type: ignore[assignment]
    return module


def assert_same(found: Iterable[Batch], expected: Iterable[Batch]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in ("image", "label", "id"))  # type: ignore[literal-required]
        assert (a["shard"], a["key"], a["failed"]) == (b["shard"], b["key"], b["failed"])


# 3 shards of odd lengths, fewer than 4 workers: batches of 4, 3 | 1 | 4, 1
LENGTHS = (7, 1, 5)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_and_workers_change_nothing(tars: Callable[..., str], workers: int, world_size: int) -> None:
    pattern = tars(*LENGTHS, height=6, width=6)
    expected = list(data(pattern).test_dataloader())
    assert [len(batch["id"]) for batch in expected] == [4, 3, 1, 4, 1]
    assert torch.cat([batch["id"] for batch in expected]).tolist() == list(range(13))
    found: list[Any] = [None] * len(expected)
    for rank in range(world_size):
        loader = on_rank(data(pattern, num_workers=workers), rank, world_size).test_dataloader()
        found[rank::world_size] = list(loader)
        assert len(loader) == len(range(rank, 5, world_size))
    assert_same(found, expected)


def test_batches_are_what_the_contract_says(tars: Callable[..., str]) -> None:
    module = data(tars(3, height=6, width=9))
    (batch,) = module.test_dataloader()
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].is_contiguous()
    assert batch["label"].tolist() == [0, 1, 2]
    assert batch["key"] == ["s000", "s001", "s002"]
    ready = module.on_after_batch_transfer(batch)
    assert ready["image"].dtype == torch.float32
    assert ready["image"].shape == (3, 3, 6, 9)
    expected = np.stack([np.asarray(photo(i, 6, 9)) for i in range(3)]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(ready["image"], expected, atol=1e-7)
    assert torch.equal(module.image("queries", 0, 1), batch["image"][1])


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*many workers")  # Lightning's own
def test_a_real_trainer_sees_each_query_once() -> None:
    class Seen(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.ids: list[int] = []

        def test_step(self, batch: Batch, index: int) -> None:
            assert batch["image"].dtype == torch.float32
            assert 0.9 < float(batch["image"].max()) <= 1
            self.ids += batch["id"].tolist()

    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    module, seen = ImageData(queries=Digits(split="test"), num_queries=101, num_workers=1), Seen()
    trainer.test(seen, module, verbose=False)
    assert seen.ids == module.expected_query_ids().tolist()


def test_the_global_generator_stays_as_it_is() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(ImageData(queries=Digits(split="test")).test_dataloader())
    assert torch.rand(1) == expected


def test_a_subset_of_the_queries(tars: Callable[..., str]) -> None:
    pattern = tars(*LENGTHS, height=6, width=6)
    module = data(pattern, num_queries=6, query_seed=3)
    ids = module.expected_query_ids()
    assert ids.dtype == torch.int64
    assert module.num_queries_total == len(set(ids.tolist())) == 6
    assert ids.tolist() == sorted(ids.tolist())
    batches = list(module.test_dataloader())
    assert torch.equal(torch.cat([batch["id"] for batch in batches]), ids)
    assert [key for batch in batches for key in batch["key"]] == [f"s{i:03d}" for i in ids]
    assert torch.equal(data(pattern, num_queries=6, query_seed=3).expected_query_ids(), ids)
    assert not torch.equal(data(pattern, num_queries=6, query_seed=4).expected_query_ids(), ids)
    with pytest.raises(UserError, match="only 13 queries"):
        data(pattern, num_queries=14).test_dataloader()


def test_fewer_batches_than_processes(tars: Callable[..., str]) -> None:
    pattern = tars(5, height=6, width=6)
    assert len(on_rank(data(pattern), 1, 2).test_dataloader()) == 1
    with pytest.raises(UserError, match="5 queries make 2 batches of 4, too few for 3 processes"):
        on_rank(data(pattern), 0, 3).test_dataloader()


def test_database_batches(tars: Callable[..., str]) -> None:
    module = data(tars(*LENGTHS, height=6, width=6), batch_size=2)
    found = [(batch["shard"], batch["id"].tolist()) for batch in module.database_batches([2, 0], stride=2)]
    assert found == [(2, [0, 2]), (2, [4]), (0, [0, 2]), (0, [4, 6])]
    halves = [list(module.database_batches([2, 0], stride=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [(batch["shard"], batch["id"].tolist()) for batch in halves[1]] == found[1::2]
    assert len(module.database_batches([2, 0], stride=2)) == 4
    with pytest.raises(UserError, match=r"data\.database"):
        ImageData(queries=Digits(split="test")).database_batches([0])


BAD = {"s001.png": b"", "s002.png": encode(photo(2, 6, 6))[:-60], "s004.png": b"<html>"}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "bad.tar", samples(0, 6, height=6, width=6) | BAD)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_are_skipped_and_listed(bad: Path, workers: int) -> None:
    module = data(bad, on_error="skip", num_workers=workers, batch_size=3)
    first, second = module.database_batches([0])
    assert first["id"].tolist() == [0]
    assert second["key"] == ["s003", "s005"]
    assert [(row, key) for row, key, _ in first["failed"] + second["failed"]] == [(1, "s001"), (2, "s002"), (4, "s004")]
    assert [failure.reason.split(" (")[0] for failure in first["failed"]] == [
        "the image is empty",
        "the image is damaged or cut short",
    ]


def test_a_batch_without_any_good_image(bad: Path) -> None:
    module = data(bad, on_error="skip", batch_size=1)
    batch = module.on_after_batch_transfer(list(module.database_batches([0]))[1])
    assert batch["image"].shape[:2] == (0, 3)
    assert batch["id"].dtype == batch["label"].dtype == torch.int64
    assert len(batch["failed"]) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_raise_one_sentence(bad: Path, workers: int) -> None:
    module = data(bad, num_workers=workers)
    sentence = r"^s001 of shard bad: the image is empty \(0 bytes\)"
    with pytest.raises(UserError, match=rf"{sentence}; data\.on_error: skip leaves it out$"):
        list(module.database_batches([0]))
    with pytest.raises(UserError, match=rf"{sentence}; data\.on_query_error: skip leaves it out$"):
        list(data(bad, num_workers=workers, on_error="skip").test_dataloader())  # of the database only
    with pytest.raises(UserError, match=rf"{sentence}$"):
        module.image("database", 0, 1)


def test_a_damaged_shard_raises_one_sentence(tars: Callable[..., str], tmp_path: Path) -> None:
    pattern = tars(3, 3, height=6, width=6)
    (tmp_path / "part-1.tar").write_bytes((tmp_path / "part-1.tar").read_bytes()[:1000])
    loader = iter(data(pattern, num_workers=1).database_batches([0, 1]))
    with pytest.raises(UserError, match=r"^[^\n]*part-1\.tar is cut short[^\n]*$"):
        list(loader)


def test_every_kind_of_image_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    sixteen = Image.fromarray(np.arange(80 * 60, dtype=np.uint16).reshape(80, 60))
    files = {
        "cmyk.jpg": encode(photo(0, mode="CMYK"), "jpg"),
        "gray.jpg": encode(photo(1, mode="L"), "jpg"),
        "one.png": encode(photo(2, 1, 1)),
        "palette.png": encode(photo(3, mode="P")),
        "png.JPEG": encode(photo(4)),
        "sixteen.png": encode(sixteen),
        "webp.png": encode(photo(5), "webp"),
        "zero.jpg": b"",
    }
    for name, content in files.items():
        (tmp_path / "a" / name).write_bytes(content)
    source, preprocessing = ImageFolder(root=tmp_path), Preprocessing(resize=32, crop=28)
    module = ImageData(queries=source, database=source, preprocessing=preprocessing, on_error="skip")
    (batch,) = module.database_batches([0])
    assert batch["image"].shape == (7, 3, 28, 28)
    assert [failure.key for failure in batch["failed"]] == ["a/zero.jpg"]


def test_sizes_that_differ(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": encode(photo(0, 6, 6)), "b.png": encode(photo(1, 6, 7))})
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"a \(6×6\) and b \(6×7\): set data\.preprocessing"):
            list(data(tmp_path / "x.tar", num_workers=workers, on_error="skip").database_batches([0]))


def test_queries_need_labels(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": encode(photo(0, 6, 6))})
    assert next(iter(data(tmp_path / "x.tar").database_batches([0])))["label"].tolist() == [-1]
    with pytest.raises(UserError, match="a of shard x has no label"):
        list(data(tmp_path / "x.tar").test_dataloader())


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"num_workers": -1}, {"num_queries": 0}, {"on_error": "ignore"}]
)
def test_bad_settings(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"data\.{next(iter(arguments))}"):
        ImageData(queries=Digits(split="test"), **arguments)


def test_yaml_builds_it_from_short_names(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        """
        data:
          queries: {class_path: Digits, init_args: {split: test}}
          database: {class_path: TarShards, init_args: {urls: "x-{0..3}.tar"}}
          preprocessing: {resize: 32, crop: 28}
          num_queries: 100
        """
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(ImageData, "data")
    module = parser.instantiate(parser.parse_args(["--config", str(config)])).data
    assert module.preprocessing == Preprocessing(resize=32, crop=28)
    assert module.database.urls == ["x-{0..3}.tar"]
    assert module.num_queries_total == 100


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_without_images_change_nothing(tars: Callable[..., str], tmp_path: Path, num_workers: int) -> None:
    """A crawl has some, first, last or in between; a database of nothing else has no batch."""
    urls = tars(0, 3, 0, 5, 0)
    source = TarShards(urls=urls)
    data = ImageData(queries=source, database=source, batch_size=2, num_workers=num_workers)
    assert (data.num_queries_total, data.about_database_rows) == (8, 8)
    assert data.num_rows(2) == 0
    for loader in (data.test_dataloader(), data.database_batches(range(5))):
        assert [(batch["shard"], len(batch["key"])) for batch in loader] == [(1, 2), (1, 1), (3, 2), (3, 2), (3, 1)]
    nothing = TarShards(urls=str(tmp_path / "part-{0,2}.tar"))
    data = ImageData(queries=nothing, database=nothing)
    assert len(data.database_batches([0, 1])) == 0
    with pytest.raises(UserError, match="there are 0 queries"):
        data.test_dataloader()


def test_the_number_of_images_is_estimated_from_a_few_of_many_shards(tars: Callable[..., str], monkeypatch) -> None:
    source = TarShards(urls=tars(*(3 + number % 3 for number in range(70))))
    data = ImageData(queries=source, database=source)
    listed = []
    rows = ImageData.num_rows
    monkeypatch.setattr(ImageData, "num_rows", lambda self, shard: listed.append(shard) or rows(self, shard))
    assert abs(data.about_database_rows - 280) < 20
    assert len(listed) == len(set(listed)) <= 2 * LISTED_SHARDS


def test_few_shards_are_all_counted(tars: Callable[..., str]) -> None:
    source = TarShards(urls=tars(*range(1, 32)))
    assert ImageData(queries=source, database=source).about_database_rows == sum(range(1, 32))


def test_losses_are_warned_of_once(tars: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tars(3)
    (tmp_path / "part-1.tar.gz").touch()
    database = TarShards(urls=str(tmp_path))
    module = ImageData(queries=database, database=database)
    for _ in range(2):
        module.warn_of_losses([Failure(3, "a.png", "cut short")])
    (sentence,) = module.warnings
    assert sentence.startswith("2 that are images, or look like some, are not in the database: ")
    assert "part-1.tar.gz (compressed shards are not read), a.png (cut short)" in sentence
    assert [record.getMessage() for record in caplog.records] == [sentence]
    none = ImageData(queries=Digits(split="test"), database=Digits(split="train"))
    none.warn_of_losses()
    assert none.warnings == []


def test_queries_that_are_in_the_database_are_refused_unless_allowed(tars: Callable[..., str]) -> None:
    pattern = tars(3, 2)
    data(pattern, database=Digits(split="train")).verify_disjoint()
    ImageData(queries=Digits(split="test")).verify_disjoint()
    part = TarShards(urls=pattern.replace("*", "1"))
    with pytest.raises(
        UserError, match=r"part-1\.tar is a shard of both; take others, or set data\.allow_overlap: true"
    ):
        data(pattern, queries=part).verify_disjoint()
    allowed = data(pattern, queries=part, allow_overlap=True)
    allowed.verify_disjoint()
    assert [sentence.split(":")[0] for sentence in allowed.warnings] == [
        "data.queries are images of data.database, where retrieval finds them again"
    ]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_beyond_its_range_is_refused(seed: int) -> None:
    with pytest.raises(UserError, match=f"data.query_seed is {seed}: accepted are 0 to 4294967295"):
        ImageData(queries=Digits(split="test"), query_seed=seed)
