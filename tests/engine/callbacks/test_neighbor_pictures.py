import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer

from lit_knn.attacks import PGD
from lit_knn.data import Arrays, Digits, ImageData, ImageFolder
from lit_knn.data.classes import IMAGENET
from lit_knn.database import StoredGallery
from lit_knn.defenses import KNN, NoDefense
from lit_knn.engine.callbacks import NeighborPictures
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.figures.neighbor_pictures import LONGEST
from lit_knn.threat_models.budget import RELATIVE_L2


class Run(Trainer):
    """A Trainer that knows a run folder."""

    def __init__(self, folder, callback):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        super().__init__(accelerator="cpu", devices=1, limit_test_batches=0, callbacks=[callback], **quiet)
        self.run_folder = folder


def evaluated(classifier, database, data, folder, callback, deltas=(0.05, 0.1), defenses=None):
    """Call the callback at the end of a test that did nothing, and return its evaluation."""
    evaluation = Evaluation(
        classifier=classifier,
        attacks=[PGD(steps=2)],
        deltas=list(deltas),
        database=database,
        defenses=defenses or [NoDefense(), KNN(taps=["early", "late"], k=[5])],
    )
    trainer = Run(folder, callback)
    evaluation.trainer = trainer
    trainer.datamodule = data
    evaluation.views = database.open(classifier, data)
    callback.on_test_end(trainer, evaluation)
    return evaluation


@pytest.fixture
def draw(monkeypatch, tmp_path, classifier, database, data):
    """Run the callback and return {file name: rows} instead of drawing them."""

    def call(callback, deltas=(0.05, 0.1), defenses=None):
        drawn = {}
        monkeypatch.setattr(
            "lit_knn.engine.callbacks.neighbor_pictures.neighbor_picture",
            lambda rows, path: drawn.update({path.name: rows}),
        )
        evaluated(classifier, database, data, tmp_path, callback, deltas, defenses)
        return drawn

    return call


def test_one_picture_per_tap_with_queries_clean_and_attacked(draw):
    drawn = draw(NeighborPictures(queries=2, neighbors=3))
    assert set(drawn) == {"neighbors-early.png", "neighbors-late.png"}
    for rows in drawn.values():
        assert [row.title.partition(", ")[2] for row in rows] == ["clean", "PGD, Δ = 0.05", "PGD, Δ = 0.1"] * 2
        assert len({row.title.partition(", ")[0] for row in rows}) in (1, 2)  # the true classes of two queries
        assert {len(row.neighbors) for row in rows} == {3}


def test_what_is_drawn_is_what_the_test_saw(draw, data, gallery, classifier):
    """Against the definition: attack the first query, search, read the neighbors' images and softmax rows."""
    rows = draw(NeighborPictures(neighbors=4))["neighbors-late.png"]
    batch = data.on_after_batch_transfer(data.first_queries())
    first = int((classifier(batch["image"]).argmax(1) == batch["label"]).nonzero()[0])
    image, labels, ids = (batch[name][first : first + 1] for name in ("image", "label", "id"))
    label = int(labels)
    source = data.database.open_shard(0)
    attacked = PGD(steps=2)(classifier, image, labels, ids, [0.05, 0.1])
    for row, x in zip(rows, (image, *attacked), strict=True):
        assert np.array_equal(row.image, (x[0] * 255).round().byte().numpy())
        logits, pooled = classifier.tapped(x, [gallery.tap("late")])
        assert row.predicted == str(int(logits.argmax()))
        assert row.confidence == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
        assert row.correct is (int(logits.argmax()) == label)
        nearest = gallery.search("late", gallery.project("late", pooled["late"]), 5).ids[0, :4]
        for picture, id in zip(row.neighbors, nearest, strict=True):
            assert np.array_equal(picture.image, np.asarray(source.read(int(id)).image).transpose(2, 0, 1))
            softmax = gallery.store.softmax_rows(np.array([id]))[0]
            assert picture.predicted == str(int(softmax.argmax()))
            assert picture.confidence == pytest.approx(float(softmax.max()), abs=1e-5)
            assert picture.correct is (int(softmax.argmax()) == label)


def in_folders(root, images, labels, words):
    """Images in a folder for each class, as people have them."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (root / words[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / words[label] / f"{number}.png")
    return ImageFolder(root=root)


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
IDS, NAMES = zip(*(line.split(" ", 1) for line in IMAGENET.read_text().splitlines()[:10]), strict=True)
SOURCES = {  # what makes a source of images and labels, and what its classes are called
    "own folders": (lambda *of: in_folders(*of, WORDS), sorted(WORDS)),
    "WordNet ids": (lambda *of: in_folders(*of, IDS), [name.split(",")[0] for name in NAMES]),
    "arrays and a list": (lambda root, *of: Arrays.of(*of, classes=[f"{word}, synonym" for word in WORDS]), WORDS),
    "arrays": (lambda root, *of: Arrays.of(*of), [str(number) for number in range(10)]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_classes_are_called_by_their_names(kind, monkeypatch, tmp_path, classifier, database, data):
    """What is drawn is read from the figure itself."""
    shard = Digits(split="test").open_shard(0)
    samples = [shard.read(row) for row in range(24)]
    make, names = SOURCES[kind]
    source = make(tmp_path / "images", np.stack([s.image for s in samples]), np.array([s.label for s in samples]))
    shown = []
    monkeypatch.setattr(
        "lit_knn.report.figures.neighbor_pictures.save_figure", lambda figure, *_, **__: shown.append(figure)
    )
    named = ImageData(queries=source, database=data.database, batch_size=24)
    evaluation = evaluated(classifier, database, named, tmp_path, NeighborPictures(queries=4, neighbors=1))
    batch = named.first_images(evaluation.device)
    answers = classifier(batch["image"]).argmax(1)
    order = (answers != batch["label"]).long().argsort(stable=True)[:4]
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
    for figure in shown:
        (axes,) = figure.axes
        texts = [text.get_text() for text in axes.texts][2:]  # below the heads: a title, a query, a neighbor
        titles, below = texts[::3], [text.splitlines()[0] for n, text in enumerate(texts) if n % 3]
        assert [" ".join(title.split()) for title in titles[::3]] == [
            f"{names[label]}, clean" for label in batch["label"][order]
        ]
        assert [text[2:] for text in below[::6]] == [short[answer] for answer in answers[order]]
        assert {text[2:] for text in below} <= {*short}


def test_deltas_may_be_chosen(draw, data):
    (row,) = draw(NeighborPictures(deltas=[0.2]))["neighbors-early.png"]
    assert row.title.endswith(", PGD, Δ = 0.2")
    (same,) = draw(NeighborPictures(deltas=["1/5"]))["neighbors-early.png"]
    assert same.title == row.title
    clean = data.first_queries()["image"].float() / 255
    realized = RELATIVE_L2.realized(clean, torch.from_numpy(row.image)[None].float() / 255).min()
    assert 0.15 < float(realized) < 0.202  # clipping takes some of it, rounding to bytes may give a little


@pytest.mark.parametrize(("deltas", "rows"), [((0.05,), 2), ((0.05, 0.1), 3)])
def test_no_row_is_drawn_twice(draw, deltas, rows):
    titles = [row.title for row in draw(NeighborPictures(), deltas=deltas)["neighbors-early.png"]]
    assert len(titles) == len(set(titles)) == rows


def test_no_more_neighbors_than_the_search_found(draw):
    rows = draw(NeighborPictures(neighbors=9))["neighbors-early.png"]
    assert {len(row.neighbors) for row in rows} == {5}


def test_nothing_is_drawn_without_retrieval(draw):
    assert draw(NeighborPictures(), defenses=[NoDefense()]) == {}


def test_settings_that_draw_nothing():
    for settings in ({"queries": 0}, {"neighbors": 0}, {"inspected": 0}, {"attacks": 0}):
        with pytest.raises(UserError, match="at least 1"):
            NeighborPictures(**settings)


def test_the_database_is_searched_once_for_each_tap(classifier, database, data, tmp_path, monkeypatch):
    searched = []
    search = StoredGallery.search
    monkeypatch.setattr(
        StoredGallery, "search", lambda gallery, tap, *given: searched.append(tap) or search(gallery, tap, *given)
    )
    evaluated(classifier, database, data, tmp_path, NeighborPictures(queries=3))
    assert sorted(searched) == ["early", "late"]
