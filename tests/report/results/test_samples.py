import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.report.results import Variant
from lit_knn.report.results.samples import SAMPLES_FOLDER, read_samples
from tests.report.comparison.conftest import KNN, NONE, Made, changed, draw

CASES = (("gray_box", "FGSM"), ("gray_box", "PGD"))


def many(**kwargs):
    lines = (NONE, *Variant("crop").evaluated(4), KNN)
    hits = draw((2, 3, 20, 3, 2), 0.7)
    hits[..., 1, :] *= np.random.default_rng(2).integers(5, size=hits[..., 1, :].shape)
    given = {"lines": lines, "cases": CASES, "deltas": (0.0, 0.05, 0.1), "topk": (1, 5), "ids": (*range(5, 25),)}
    return Made(hits, **given | kwargs)


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("batch", [1, 6, 20])
def test_every_row_of_a_record_is_found_again_image_by_image(tmp_path, cascade, batch):
    run = many(cascade=cascade, batch=batch).write(tmp_path)
    samples = read_samples(run, run.record.results)
    assert sorted(samples.ids.tolist()) == list(range(5, 25))
    assert samples.counts.sum(axis=1).tolist() == [row["correct"] for row in run.record.results]
    threats = {row["threat"] for row in run.record.results}
    assert threats == ({"all"} if cascade else {"gray_box", "all"})
    assert {row["protocol"] for row in run.record.results} == {"", "mean", "worst", "majority"}


def test_each_count_is_at_the_place_of_its_image(tmp_path):
    made = many(batch=3)
    run = made.write(tmp_path)
    row = next(
        r for r in run.record.results if (r["attack"], r["delta"], r["tap"], r["topk"]) == ("PGD", 0.1, "late", 5)
    )
    samples = read_samples(run, [row])
    found = dict(zip(samples.ids.tolist(), samples.counts[0].tolist(), strict=True))
    assert found == dict(zip(made.ids, made.hits[1, 2, :, 2, 1].tolist(), strict=True))


def test_without_files_of_its_record_nothing_is_known(tmp_path):
    run = many().write(tmp_path)
    rows = run.record.results
    other = changed(tmp_path, fingerprints=run.record.fingerprints | {"classifier": "another"})
    assert read_samples(other, rows) is None
    (tmp_path / SAMPLES_FOLDER).rename(tmp_path / "moved")
    assert read_samples(run, rows) is None


def test_a_test_that_went_on_and_was_stopped_has_more_images_than_its_record(tmp_path):
    made = many(batch=10)
    run = made._replace(hits=made.hits[:, :, :10], ids=made.ids[:10]).write(tmp_path)
    assert len(read_samples(run, run.record.results).ids) == 10
    whole = made.write(tmp_path / "whole")
    for path in (whole.folder / SAMPLES_FOLDER).iterdir():
        path.rename(tmp_path / SAMPLES_FOLDER / path.name)
    assert read_samples(run, run.record.results) is None


def test_damage_is_named(tmp_path):
    run = many(batch=10).write(tmp_path)
    (first, second) = sorted((tmp_path / SAMPLES_FOLDER).iterdir())
    content = second.read_bytes()
    second.write_bytes(content[:100])
    with pytest.raises(UserError, match=f"{second.name} is damaged .*; run the same test again"):
        read_samples(run, run.record.results)
    second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"sample_results is damaged .a query is in two files.; remove it"):
        read_samples(run, run.record.results)


def test_lines_of_another_shape_are_damage(tmp_path):
    run = many().write(tmp_path)
    fewer = [row for row in run.record.results if row["topk"] == 1]
    with pytest.raises(UserError, match="not of this run's cases, lines and queries"):
        read_samples(changed(tmp_path, results=fewer), fewer)
