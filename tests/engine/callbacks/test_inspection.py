import numpy as np
import pytest
from PIL import Image

from lit_knn.attacks import PGD
from lit_knn.engine.callbacks import NeighborPictures
from lit_knn.report.results.inspected import FORM, INSPECTED_FILE, INSPECTED_FOLDER
from lit_knn.storage.fingerprint import digest
from lit_knn.storage.reading import load_json
from lit_knn.threat_models.budget import RELATIVE_L2
from tests.engine.callbacks.test_neighbor_pictures import evaluated


def inspected(folder):
    content = load_json(folder / INSPECTED_FOLDER / INSPECTED_FILE, "", FORM)
    width, height = content["picture"]
    sheets = []
    for name in content["sheets"]:
        with Image.open(folder / INSPECTED_FOLDER / name) as sheet:
            sheets.append(np.asarray(sheet.convert("RGB")))

    def picture(query, number):
        row, column = divmod(number, content["columns"])
        return sheets[query][row * height :, column * width :][:height, :width]

    return content, picture


def test_the_inspector_has_what_the_test_saw(tmp_path, classifier, database, data, gallery):
    """Against the definition: attack each query alone, search, read images, distances and weights."""
    evaluation = evaluated(classifier, database, data, tmp_path, NeighborPictures(neighbors=3, inspected=2))
    content, picture = inspected(tmp_path)
    assert content["run"] == digest(evaluation.origin())
    assert (content["cases"], content["sizes"]) == (["gray box, PGD"], ["Δ = 0.05", "Δ = 0.1"])
    batch = data.on_after_batch_transfer(data.first_queries())
    first = (classifier(batch["image"]).argmax(1) == batch["label"]).nonzero()[:2, 0]
    source = data.database.open_shard(0)
    for query, place in enumerate(first.tolist()):
        image, label, ids = (batch[name][place : place + 1] for name in ("image", "label", "id"))
        images = [image, *PGD(steps=2)(classifier, image, label, ids, [0.05, 0.1])]
        versions = content["queries"][query]["versions"]
        assert [(one["case"], one["size"]) for one in versions] == [(-1, -1), (0, 0), (0, 1)]
        for one, x in zip(versions, images, strict=True):
            assert np.abs(picture(query, one["picture"]) - (x[0] * 255).round().numpy().transpose(1, 2, 0)).max() <= 1
            assert one["realized"] == pytest.approx(float(RELATIVE_L2.realized(image, x)), abs=1e-4)
            if one["size"] >= 0:
                changed = 255 * (0.5 + one["gain"] * (x - image)[0].numpy().transpose(1, 2, 0))
                assert np.abs(picture(query, one["difference"]) - changed).max() < 1.1
                assert np.abs(changed - 127.5).max() == pytest.approx(127.5, abs=1)  # as strong as it can be
            _, pooled = classifier.tapped(x, [gallery.tap("late")])
            found = gallery.search("late", gallery.project("late", pooled["late"]), 5)
            shown = one["neighbors"][content["taps"].index("late")]
            assert [neighbor["row"] for neighbor in shown] == found.ids[0, :3].tolist()
            weights = gallery.weights("cbw_d", found.ids)[0]
            for k, neighbor in enumerate(shown):
                assert neighbor["distance"] == pytest.approx(float(found.distances[0, k]), rel=1e-3)
                assert neighbor["weight"] == pytest.approx(float(weights[k]), rel=1e-4)
                assert np.array_equal(
                    picture(query, neighbor["picture"]), np.asarray(source.read(neighbor["row"]).image)
                )


def test_pictures_of_an_earlier_run_go(tmp_path, classifier, database, data):
    for deltas in ([0.1], [0.2]):
        evaluated(classifier, database, data, tmp_path, NeighborPictures(deltas=deltas, inspected=2))
    content, _ = inspected(tmp_path)
    names = {path.name for path in (tmp_path / INSPECTED_FOLDER).iterdir()}
    assert names == {INSPECTED_FILE, *content["sheets"]}
