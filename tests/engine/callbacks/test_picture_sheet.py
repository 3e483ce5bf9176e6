import numpy as np
import pytest
from PIL import Image

from lit_knn.engine.callbacks.picture_sheet import SIDE, PictureSheet
from lit_knn.report.results.inspected import COLUMNS


@pytest.mark.parametrize(("shape", "kind"), [((32, 24), ".png"), ((224, 224), ".jpg"), ((100, 400), ".jpg")])
def test_each_picture_is_where_its_number_says(shape, kind, tmp_path):
    """Flat colors, far from those beside them, come back whether or not something is lost."""
    sheet, colors = PictureSheet(shape), np.random.default_rng(0).choice([20, 120, 230], (40, 3)).astype(np.uint8)
    for key, color in enumerate(colors):
        image = np.broadcast_to(color[:, None, None], (3, *shape))
        assert sheet.add(key, image) == sheet.add(key, image) == key
    width, height = sheet.size
    assert max(width, height) <= SIDE
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.1)
    name = sheet.save(tmp_path)
    assert name.endswith(kind)
    with Image.open(tmp_path / name) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
    for key, color in enumerate(colors):
        row, column = divmod(key, COLUMNS)
        tile = pixels[row * height :, column * width :][:height, :width]
        assert np.abs(tile - color).max() <= (0 if kind == ".png" else 6)
    assert sheet.save(tmp_path) == name  # equal content, equal name
