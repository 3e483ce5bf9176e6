import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from sklearn.datasets import load_digits

from lit_knn.errors import UserError
from lit_knn.report.figures.neighbor_pictures import RIGHT, WRONG, Picture, PictureRow, neighbor_picture


def rows(images, neighbors=5, predicted="$3, three"):
    said = [Picture(image=images[n], predicted=predicted, confidence=0.5, correct=n % 2 == 0) for n in range(neighbors)]
    return [
        PictureRow(image=images[-1], title=title, predicted="8" * 30, confidence=1.0, correct=False, neighbors=said)
        for title in ("clean", "gray box PGD, Δ = 0.04")
    ]


def digits():
    gray = (load_digits().images[:6] * 255 / 16).astype(np.uint8)
    return np.repeat(gray[:, None], 3, axis=1)  # (N, 3, 8, 8)


def share(path, color):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    return float((np.abs(pixels - 255 * np.array(to_rgb(color))).max(axis=-1) < 2).mean())


def test_small_images_are_drawn_as_squares_in_frames_of_two_colors(tmp_path):
    path = neighbor_picture(rows(digits()), tmp_path / "new" / "neighbors.png")
    assert share(path, RIGHT) > 0.005
    assert share(path, WRONG) > 0.005
    levels = {tuple([int(g)] * 3) for g in np.unique(digits())}
    with Image.open(path) as image:
        colors = {color for count, color in image.convert("RGB").getcolors(1 << 24) if count > 1000}
    assert len(colors & levels) > 5  # nearest neighbor: whole squares of the original gray levels


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (100, 60)])
def test_other_sizes(size, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 3, *size), dtype=np.uint8)
    assert neighbor_picture(rows(images, neighbors=3), tmp_path / "neighbors.png").stat().st_size > 10_000


def test_without_neighbors_there_is_the_query(tmp_path):
    assert neighbor_picture(rows(digits(), neighbors=0), tmp_path / "neighbors.png").exists()


def test_no_rows(tmp_path):
    with pytest.raises(UserError, match="at least one row"):
        neighbor_picture([], tmp_path / "neighbors.png")
