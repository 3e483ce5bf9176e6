"""One pass for all queries: the same answers, wherever and how often it was interrupted."""

import io
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, NoDefense, Query, most_needed
from lit_knn.distributed.partition import Partition
from lit_knn.distributed.preemption import Preempted
from lit_knn.errors import UserError
from lit_knn.evaluation.cache import Attacked
from lit_knn.evaluation.offline_search import LEAST_UNITS, Deferral
from lit_knn.evaluation.scoring import answers
from tests.conftest import TAPS

DEFENSES = [NoDefense(), KNN(taps=["early", "late"], k=[1, 5])]
NEEDED = most_needed(DEFENSES)
DIGEST = "0123456789abcdef"


@pytest.fixture
def gallery(database, classifier, data):
    return Database(path=database.path, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data)[-1]


@pytest.fixture
def batches(data):
    """Three batches of digits, of different sizes, and three looks at each."""
    found = []
    for number, batch in enumerate(data.test_dataloader()):
        image = batch["image"][: 20 + number].float() / 255
        found.append((batch["id"][: len(image)], batch["label"][: len(image)], [image, image.flip(3), 1 - image]))
    return found


@pytest.fixture
def looks(classifier, gallery):
    def see(images):
        for size, image in enumerate(images):
            realized = torch.full((len(image),), size / 10)
            yield Attacked(
                Query(image, classifier, gallery, NEEDED), realized, 3 * realized, image.mean((1, 2, 3)) > 0.3
            )

    return see


@pytest.fixture
def waiting(classifier, gallery, tmp_path, batches, looks):
    """Return one process's deferral, with its share of the batches."""

    def make(rank=0, world=1):
        deferral = Deferral(tmp_path / "waiting", classifier, [gallery], NEEDED)
        for id, label, images in batches[rank::world]:
            deferral.keep(id, label, DIGEST, lambda images=images: looks(images))
        return deferral

    return make


def verify(deferrals, batches, looks, gallery):
    """Compare with answers given at once."""
    answered = {}
    for deferral in deferrals:
        for id, label, _, found in deferral:
            answered[int(id[0])] = answers(found, label, DEFENSES, [gallery], topk=[1, 3], sizes=1)
    assert len(answered) == len(batches)
    for id, label, images in batches:
        expected = answers(looks(images), label, DEFENSES, [gallery], topk=[1, 3], sizes=1)
        for one, other in zip(answered[int(id[0])], expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_answers_are_those_of_a_search_for_each_batch(world, waiting, batches, looks, gallery):
    deferrals = [waiting(rank, world) for rank in range(world)]
    units = [deferral.left(Partition(rank + 1, world)) for rank, deferral in enumerate(deferrals)]
    assert sum(len(part["late"]) for part in units) == LEAST_UNITS
    for deferral, part in zip(deferrals, units, strict=True):
        deferral.search(part)
    verify(deferrals, batches, looks, gallery)


def test_an_interrupted_search_goes_on_with_another_number_of_processes(waiting, batches, looks, gallery):
    class KilledError(Exception):
        pass

    def tell(what):
        if what == "neighbors in late, unit 5 of 8":
            raise KilledError

    first = [waiting(rank, 2) for rank in range(2)]
    units = [deferral.left(Partition(rank + 1, 2)) for rank, deferral in enumerate(first)]
    for deferral, part in zip(first, units, strict=True):
        with pytest.raises(KilledError):
            deferral.search(part, tell=tell)
    again = waiting()
    left = again.left(Partition())
    assert (len(left["early"]), len(left["late"])) == (0, 8)
    again.search(left)
    assert again.left(Partition()) == {"early": [], "late": []}
    verify([again], batches, looks, gallery)


def test_what_was_searched_before_a_pause_is_kept(waiting, batches, looks, gallery):
    calls = []

    def pause():
        calls.append(None)
        if len(calls) == 6:
            raise Preempted(signal.SIGUSR1)

    deferral, trainer = waiting(), SimpleNamespace(global_rank=0, world_size=1)
    with pytest.raises(Preempted):
        deferral.look_up(trainer, tell=str, pause=pause)
    again = waiting()
    assert {tap: len(units) for tap, units in again.left(Partition()).items()} == {"early": 11, "late": 16}
    again.look_up(trainer, tell=str, pause=bool)
    verify([again], batches, looks, gallery)


def test_a_batch_is_attacked_once(waiting, batches, classifier, gallery):
    deferral = waiting()
    for id, label, _ in batches:
        deferral.keep(id, label, DIGEST, lambda: 1 / 0)


def test_more_batches_than_before_are_all_looked_for(waiting, batches, looks, classifier, gallery):
    fewer = waiting(0, 2)
    fewer.search(fewer.left(Partition()))
    every = waiting()
    left = every.left(Partition())
    assert len(left["late"]) == LEAST_UNITS
    every.search(left)
    verify([every], batches, looks, gallery)


def test_no_unit_is_lost_if_a_process_comes_late_with_more_batches_than_before(
    waiting, classifier, batches, looks, gallery, monkeypatch
):
    """Half was searched for two batches; the process that comes first still sees these two only, and half done."""
    before = [waiting(rank, 3) for rank in range(2)]
    before[0].search({tap: units[:8] for tap, units in before[0].left(Partition()).items()})
    all_are_there, first_is_there = threading.Barrier(2), threading.Event()

    def meet(pause):
        first_is_there.set()
        all_are_there.wait(timeout=20)

    def process(rank):
        deferral = waiting(0, 3) if rank == 0 else Deferral(before[0].folder, classifier, [gallery], NEEDED)
        for id, label, images in batches[1:] if rank else []:
            assert first_is_there.wait(timeout=20)
            deferral.keep(id, label, DIGEST, lambda images=images: looks(images))
        deferral.look_up(SimpleNamespace(global_rank=rank, world_size=2), tell=str, pause=bool)
        return deferral

    monkeypatch.setattr("lit_knn.evaluation.offline_search.meet", meet)
    with ThreadPoolExecutor(2) as pool:
        verify(pool.map(process, range(2)), batches, looks, gallery)


def test_nobody_votes_before_all_units_are_found(waiting, batches, looks, gallery):
    deferral = waiting()
    units = deferral.left(Partition())
    deferral.search({tap: units[tap][: LEAST_UNITS - 3] for tap in units})
    with pytest.raises(
        UserError, match=r"not all of the database at early .*units \[14, 15, 16\] of 16.* same test again"
    ):
        list(deferral)
    deferral.search(deferral.left(Partition()))
    verify([deferral], batches, looks, gallery)
    deferral.search({"late": units["late"][:1]})  # as the same test that is started twice does
    verify([deferral], batches, looks, gallery)


def test_two_of_the_same_test_that_search_at_the_same_time(waiting, batches, looks, gallery):
    one, other = waiting(), waiting()
    units = one.left(Partition())
    one.search({tap: units[tap][:4] for tap in units})  # and was killed
    units = one.left(Partition())
    for deferral in (one, other):
        deferral.search(units)
    verify([one], batches, looks, gallery)
    verify([other], batches, looks, gallery)


DAMAGE = {
    "cut": lambda arrays, raw: raw[: len(raw) // 2],
    "empty": lambda arrays, raw: b"",
    "text": lambda arrays, raw: b"<html>not found</html>",
    "renamed": lambda arrays, raw: packed({f"{name}?": array for name, array in arrays.items()}),
    "shorter": lambda arrays, raw: packed(
        {name: array[..., :1] if array.ndim else array for name, array in arrays.items()}
    ),
    "other numbers": lambda arrays, raw: packed({name: array.astype(str) for name, array in arrays.items()}),
    "pickled": lambda arrays, raw: packed({name: np.array([{}]) for name in arrays}),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("kind", ["*.npz", "found/late-*.npz"])
def test_damage_is_named_with_a_remedy_that_mends_it(kind, how, waiting, batches, looks, gallery):
    deferral = waiting()
    deferral.search(deferral.left(Partition()))
    path = max(deferral.folder.glob(kind))
    with np.load(path) as file:
        path.write_bytes(DAMAGE[how](dict(file), path.read_bytes()))

    def go_on():
        again = waiting()
        again.search(again.left(Partition()))
        return list(again)

    with pytest.raises(UserError, match=f"{path.name} is damaged .*; delete it, and the same test"):
        go_on()
    path.unlink()
    again = waiting()
    again.search(again.left(Partition()))
    verify([again], batches, looks, gallery)


def packed(arrays):
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    return file.getvalue()


def test_a_view_of_the_database(database, classifier, data, batches, looks, tmp_path):
    view = Database(path=database.path, taps=[Tap(**tap) for tap in TAPS], rows=200).open(classifier, data)[-1]
    deferral = Deferral(tmp_path / "waiting", classifier, [view], NEEDED)
    id, label, images = batches[0]
    deferral.keep(id, label, DIGEST, lambda: looks(images))
    deferral.search(deferral.left(Partition()))
    ((_, _, _, found),) = deferral
    for look in found:
        assert np.isin(look.query.neighbors("late").ids, view.ids).all()
        expected = view.search("late", look.query.features("late"), NEEDED["late"])
        assert np.array_equal(look.query.neighbors("late").ids, expected.ids)


def test_several_views_of_the_database_in_one_pass(database, classifier, data, batches, looks, tmp_path, monkeypatch):
    taps = [Tap(**tap) for tap in TAPS]
    views = Database(path=database.path, taps=taps, rows=[8, 200, 1297, 0.5]).open(classifier, data)
    assert [len(view) for view in views] == [8, 200, 648, 1297]
    deferral = Deferral(tmp_path / "waiting", classifier, views, NEEDED)
    id, label, images = batches[0]
    deferral.keep(id, label, DIGEST, lambda: looks(images))
    read = []
    blocks = type(views[0].store).feature_blocks
    monkeypatch.setattr(
        type(views[0].store),
        "feature_blocks",
        lambda *args, **named: (read.append(len(rows)) or (first, rows) for first, rows in blocks(*args, **named)),
    )
    deferral.search(deferral.left(Partition()))
    assert sum(read) == 2 * 1297  # each tap once
    ((_, _, _, found),) = deferral
    for look in found:
        for view in views:
            expected = view.search("late", look.query.features("late"), NEEDED["late"])
            nearby = look.query.of(view).neighbors("late")
            assert np.array_equal(nearby.ids, expected.ids)
            np.testing.assert_allclose(nearby.distances, expected.distances, rtol=1e-4, atol=1e-4)


def test_where_all_was_answered_before_there_is_nothing_to_look_for(classifier, gallery, tmp_path):
    deferral = Deferral(tmp_path / "waiting", classifier, [gallery], NEEDED)
    deferral.look_up(SimpleNamespace(global_rank=0, world_size=1), tell=str, pause=bool)
    assert list(deferral) == []


def test_it_leaves_nothing(waiting):
    deferral = waiting()
    deferral.search(deferral.left(Partition()))
    deferral.clear()
    assert not list(deferral.folder.parent.iterdir())
    deferral.clear()
