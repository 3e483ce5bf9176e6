import numpy as np
import pytest

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, UW
from lit_knn.defenses.thresholds import VALUES, Thresholds
from lit_knn.errors import UserError
from tests.conftest import TAPS


@pytest.fixture
def scanned(database_path, classifier, data):
    return Database(path=database_path, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data)[-1]


def of(rows=300, seed=0, k=5):
    knn = KNN(taps=["late"], k=[k], weightings=[UW()])
    return Thresholds(knn, lambda query, scores: scores.amax(2), "agreement", rows, seed)


def test_a_share_of_the_rows_reaches_the_threshold(scanned, classifier, tmp_path):
    thresholds = of()
    thresholds.build(tmp_path / "one", classifier, scanned)
    thresholds.open(tmp_path / "one", scanned)
    values = np.load(tmp_path / "one" / VALUES)[0]
    assert values.shape == (300,)
    for keep in (0.001, 0.5, 0.9, 0.997, 1.0):
        (limit,) = thresholds.at(keep)
        assert (values >= limit).mean() >= keep
        above = values[values > limit]
        assert len(above) < keep * 300  # no larger one is reached by as many


def test_settings_are_told_apart_and_damage_is_named(scanned, classifier, tmp_path):
    assert len({of().name, of(rows=200).name, of(seed=1).name, of(k=6).name}) == 4
    assert of().name == of().name
    thresholds = of()
    thresholds.build(tmp_path / "one", classifier, scanned)
    with pytest.raises(UserError, match="resource thresholds"):
        of(seed=1).open(tmp_path / "one", scanned)
    with pytest.raises(UserError, match="looks for 1297 neighbors of a row beside itself, but the database has 1,297"):
        of(k=1297).build(tmp_path / "two", classifier, scanned)
