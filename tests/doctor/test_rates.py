from types import SimpleNamespace

import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.data import Preprocessing
from lit_knn.doctor import rates as module
from lit_knn.doctor.planning import Passes, PlannedTest
from lit_knn.doctor.rates import Measured, Rates, Speeds, measure, read_rate, stand_in
from lit_knn.errors import UserError
from tests.conftest import SURROGATE, TAPS

CPU = torch.device("cpu")
READ = [Tap(**tap) for tap in TAPS]


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock takes a tenth of a second, and more with ``clock.slow``."""
    state = SimpleNamespace(now=0.0, slow=0.1)

    def look():
        state.now += state.slow
        return state.now

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=look))
    return state


def test_a_rate_is_how_often_something_is_done(clock, classifier, data):
    image = data.first_images(CPU)["image"]
    rates = measure(image, classifier, classifier, READ, data)
    assert [rates.forward, rates.both, read_rate(data)] == pytest.approx([50 / 0.1] * 3)
    assert (rates.lengths, rates.classes, rates.pixels) == ({"early": 32 * 4, "late": 128}, 10, 3 * 8 * 8)


def test_what_takes_long_is_done_once(clock, data, monkeypatch):
    done, clock.slow = [], 6.0
    monkeypatch.setattr(type(data), "first_queries", lambda data: done.append(1) or {"id": range(30)})
    assert read_rate(data) == 30 / 6
    assert len(done) == 2  # once to count them


def test_networks_are_measured_once_each(clock, classifier, data):
    image = data.first_images(CPU)["image"]
    speeds = Speeds(image, classifier, Rates(7.0, 3.0, {}, 10, 192))
    assert (speeds.forward(classifier), speeds.both(classifier)) == (7.0, 3.0)
    first = Classifier(**SURROGATE)
    assert (speeds.forward(first), speeds.both(first)) == pytest.approx((500, 500))
    passed = first.passed
    assert speeds.both(Classifier(**SURROGATE)) == pytest.approx(500)
    assert first.passed == passed > 0


def test_a_query_is_read_shown_asked_about_and_attacked(classifier):
    other = torch.nn.Identity()
    speeds = SimpleNamespace(forward=lambda network: 10.0, both=lambda network: 2.0 if network is other else 4.0)
    measured = Measured(100.0, Rates(50.0, 4.0, {}, 10, 192), speeds)
    planned = PlannedTest(3, [Passes(classifier, 5, 0)], [Passes(other, 1, 8)], [], {}, (1, 2, 1), {}, 1, False)
    assert measured.image_seconds(0) == pytest.approx(1 / 100 + 1 / 50)
    assert measured.query_seconds(planned, 4) == pytest.approx(1 / 400 + 3 / 50 + 5 / 10 + 1 / 10 + 8 / 2)


def test_noise_stands_in_for_images_whose_size_is_known(data):
    with pytest.raises(UserError, match=r"only data\.preprocessing\.crop says"):
        stand_in(data, CPU)
    data.preprocessing = Preprocessing(resize=10, crop=8)
    image = stand_in(data, CPU)
    assert image.shape == (50, 3, 8, 8)
    assert 0 <= image.min() < image.max() <= 1
