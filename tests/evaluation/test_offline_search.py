"""One pass for all queries: the same answers, wherever and how often it was interrupted."""

import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lit_knn.attacks import Attempt
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, NoDefense, most_needed
from lit_knn.distributed.partition import Partition
from lit_knn.distributed.preemption import Preempted
from lit_knn.errors import UserError
from lit_knn.evaluation.cache import BatchKey, CachedCase
from lit_knn.evaluation.observation import Observer
from lit_knn.evaluation.offline_search import LEAST_UNITS, OfflineSearch
from lit_knn.evaluation.run_context import RunContext
from lit_knn.evaluation.scorers import scorers
from lit_knn.evaluation.scoring import score
from lit_knn.storage.atomic import unfinished_name
from tests.conftest import TAPS

DEFENSES = [NoDefense(), KNN(taps=["early", "late"], k=[1, 5])]
NEEDED = most_needed(DEFENSES)
ONE = SimpleNamespace(global_rank=0, world_size=1)
CPU = torch.device("cpu")
SIZES = [0.0, 0.1, 0.2]


@pytest.fixture
def opened(database, classifier, data):
    """Open the database in some sizes."""
    taps = [Tap(**tap) for tap in TAPS]
    return lambda rows=None: Database(path=database.path, taps=taps, rows=rows).open(classifier, data)


@pytest.fixture
def batches(data):
    """Three batches of digits, of different sizes, and three versions of each."""
    found = []
    for number, batch in enumerate(data.test_dataloader()):
        image = batch["image"][: 20 + number].float() / 255
        label, ids = batch["label"][: len(image)], batch["id"][: len(image)]
        found.append((BatchKey.of(image, label, ids), label, [image, image.flip(3), 1 - image]))
    return found


@pytest.fixture
def observe(classifier, opened, tmp_path):
    """Return an observer of some views, and what shows it the versions of a batch, which are cached."""

    def make(views=None):
        views = views or opened()
        observer = Observer(classifier, views, NEEDED, scorers(DEFENSES, views))
        cached = CachedCase(tmp_path / "cache", {}, observer.wanted)

        def see(batch, images):
            def attack(deltas):
                for delta in deltas:
                    image = images[SIZES.index(delta)]
                    yield Attempt(image, image.mean((1, 2, 3)) > 0.3, torch.full((len(image), 2), 3))

            columns = cached.observe(
                batch,
                images[0],
                SIZES,
                attack=attack,
                columns=lambda *shown: observer.columns(batch.ids, images[0], *shown),
            )
            return [observer.observation(batch.ids, found) for found in columns]

        return observer, cached, see

    return make


@pytest.fixture
def waiting(observe, tmp_path, batches):
    """Return one process's search, with its share of the batches."""

    def make(rank=0, world=1, views=None, share=None):
        observer, cached, see = observe(views)
        search = OfflineSearch(tmp_path / "search", "run", observer, [(cached, delta) for delta in SIZES], CPU)
        for batch, label, images in batches[rank::world] if share is None else share:
            see(batch, images)
            search.add(batch, label)
        return search

    return make


@pytest.fixture
def verify(batches, observe, opened):
    """Compare with answers given at once."""

    def call(searches):
        everybody = scorers(DEFENSES, opened())
        found = {
            batch.name: score(observations, label, everybody, topk=[1, 3], sizes=2)
            for search in searches
            for batch, label, observations in search
        }
        assert len(found) == len(batches)
        for batch, label, images in batches:
            expected = score(observe()[2](batch, images), label, everybody, topk=[1, 3], sizes=2)
            for one, other in zip(found[batch.name], expected, strict=True):
                assert torch.equal(one, other)

    return call


@pytest.mark.parametrize("world", [1, 2, 3])
def test_answers_are_those_of_a_search_for_each_batch(world, waiting, verify):
    searches = [waiting(rank, world) for rank in range(world)]
    units = [search.left(Partition(rank + 1, world)) for rank, search in enumerate(searches)]
    assert sum(len(part["late"]) for part in units) == LEAST_UNITS
    for search, part in zip(searches, units, strict=True):
        search.search(part)
    verify(searches)


@pytest.mark.parametrize("group", [pytest.param(1, marks=pytest.mark.slow), 7, 50, 64])
def test_how_many_are_searched_for_at_a_time_does_not_matter(group, waiting, verify, monkeypatch):
    monkeypatch.setattr("lit_knn.evaluation.offline_search.GROUP", group)
    search = waiting()
    search.search(search.left(Partition()))
    verify([search])


def test_an_interrupted_search_goes_on_with_another_number_of_processes(waiting, verify):
    class KilledError(Exception):
        pass

    def tell(what):
        if what == "neighbors in late, unit 5 of 8":
            raise KilledError

    first = [waiting(rank, 2) for rank in range(2)]
    units = [search.left(Partition(rank + 1, 2)) for rank, search in enumerate(first)]
    for search, part in zip(first, units, strict=True):
        with pytest.raises(KilledError):
            search.search(part, RunContext(tell=tell))
    again = waiting()
    left = again.left(Partition())
    assert (len(left["early"]), len(left["late"])) == (0, 8)
    again.search(left)
    assert again.left(Partition()) == {"early": [], "late": []}
    verify([again])


def test_what_was_searched_before_a_pause_is_kept(waiting, verify):
    calls = []

    def pause():
        calls.append(None)
        if len(calls) == 6:
            raise Preempted(signal.SIGUSR1)

    with pytest.raises(Preempted):
        waiting().run(ONE, RunContext(pause=pause))
    again = waiting()
    assert {tap: len(units) for tap, units in again.left(Partition()).items()} == {"early": 11, "late": 16}
    again.run(ONE, RunContext())
    verify([again])


def test_more_batches_than_before_are_all_looked_for(waiting, verify):
    fewer = waiting(0, 2)
    fewer.search(fewer.left(Partition()))
    every = waiting()
    left = every.left(Partition())
    assert len(left["late"]) == LEAST_UNITS
    every.search(left)
    verify([every])


def test_no_unit_is_lost_if_a_process_comes_late_with_more_batches_than_before(waiting, batches, verify, monkeypatch):
    """Half was searched for two batches; the process that comes first still sees these two only, and half done."""
    before = [waiting(rank, 3) for rank in range(2)]
    before[0].search({tap: units[:8] for tap, units in before[0].left(Partition()).items()})
    all_are_there, first_is_there = threading.Barrier(2), threading.Event()

    def meet(pause):
        first_is_there.set()
        all_are_there.wait(timeout=20)

    def process(rank):
        if rank:
            assert first_is_there.wait(timeout=20)
        search = waiting(share=batches[1:] if rank else batches[:1])
        search.run(SimpleNamespace(global_rank=rank, world_size=2), RunContext())
        return search

    monkeypatch.setattr("lit_knn.evaluation.offline_search.meet", meet)
    with ThreadPoolExecutor(2) as pool:
        verify(pool.map(process, range(2)))


def test_nobody_votes_before_all_units_are_found(waiting, verify):
    search = waiting()
    units = search.left(Partition())
    search.search({tap: units[tap][: LEAST_UNITS - 3] for tap in units})
    with pytest.raises(
        UserError, match=r"not all of the database at early .*units \[14, 15, 16\] of 16.* same test again"
    ):
        list(search)
    search.search(search.left(Partition()))
    verify([search])
    search.search({"late": units["late"][:1]})  # as the same test that is started twice does
    verify([search])


def test_two_of_the_same_test_that_search_at_the_same_time(waiting, verify):
    one, other = waiting(), waiting()
    units = one.left(Partition())
    one.search({tap: units[tap][:4] for tap in units})  # and was killed
    units = one.left(Partition())
    for search in (one, other):
        search.search(units)
    verify([one])
    verify([other])


@pytest.mark.parametrize("how", ["cut", "empty", "text"])
@pytest.mark.parametrize("kind", ["*.npz", "found/late-*.h5"])
def test_damage_is_named_with_a_remedy_that_mends_it(kind, how, waiting, verify):
    search = waiting()
    search.run(ONE, RunContext())
    path = max(search.folder.glob(kind))
    raw = path.read_bytes()
    path.write_bytes({"cut": raw[: len(raw) // 2], "empty": b"", "text": b"<html>not found</html>"}[how])
    with pytest.raises(UserError, match=f"{path.name} is damaged .*; delete it, and the same test"):
        waiting().run(ONE, RunContext())
    path.unlink()
    again = waiting()
    again.run(ONE, RunContext())
    verify([again])


def test_activations_that_have_gone_are_named(waiting, tmp_path):
    search = waiting()
    path = max((tmp_path / "cache" / "delta-0.1").iterdir())
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name} of the activation cache has gone; run the same test"):
        search.run(ONE, RunContext())


def test_a_batch_of_other_images_is_looked_for_again(waiting, batches):
    waiting().run(ONE, RunContext())
    batch, label, images = batches[0]
    other = [image.flip(2) for image in images]
    changed = (BatchKey.of(other[0], label, batch.ids), label, other)
    again = waiting(share=[changed, *batches[1:]])
    assert len(again.left(Partition())["late"]) == LEAST_UNITS


def test_another_run_in_the_same_folder_looks_for_its_own(waiting, observe, tmp_path, batches):
    waiting().run(ONE, RunContext())
    observer, cached, _ = observe()
    other = OfflineSearch(tmp_path / "search", "other", observer, [(cached, delta) for delta in SIZES], CPU)
    other.add(*batches[0][:2])
    assert len(other.left(Partition())["late"]) == LEAST_UNITS


def test_several_views_of_the_database_in_one_pass(opened, batches, waiting, monkeypatch):
    views = opened([8, 200, 1297, 0.5])
    assert [len(view) for view in views] == [8, 200, 648, 1297]
    search = waiting(views=views, share=batches[:1])
    read = []
    blocks = type(views[0].store).feature_blocks
    monkeypatch.setattr(
        type(views[0].store),
        "feature_blocks",
        lambda *args, **named: (read.append(len(rows)) or (first, rows) for first, rows in blocks(*args, **named)),
    )
    search.run(ONE, RunContext())
    assert sum(read) == 2 * 1297  # each tap once
    ((_, _, found),) = search
    for query in [observation.query for observation in found]:
        for view in views:
            expected = view.search("late", query.features("late"), NEEDED["late"])
            nearby = query.of(view).neighbors("late")
            assert np.array_equal(nearby.ids, expected.ids)
            np.testing.assert_allclose(nearby.distances, expected.distances, rtol=1e-4, atol=1e-4)
            assert np.isin(nearby.ids, view.ids).all()


def test_where_nothing_waits_there_is_nothing_to_look_for(waiting):
    search = waiting(share=[])
    search.run(ONE, RunContext())
    assert list(search) == []


def test_what_killed_writers_have_left_goes(waiting):
    search = waiting()
    search.run(ONE, RunContext())
    before = sorted(search.folder.rglob("*"))
    child = subprocess.Popen(["true"])
    child.wait()
    for path in (max(search.folder.glob("*.npz")), max(search.folder.glob("found/*.h5"))):
        path = unfinished_name(path)
        path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{child.pid}-")).touch()
    assert len(sorted(search.folder.rglob("*"))) == len(before) + 2
    search.tidy()
    assert sorted(search.folder.rglob("*")) == before
