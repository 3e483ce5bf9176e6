import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from sklearn.datasets import load_digits

from lit_knn.errors import UserError
from lit_knn.report import Picture, PictureRow, neighbour_picture
from lit_knn.report.neighbours import RIGHT, WRONG


def rows(images, neighbours=5, predicted="$3, three"):
    said = [
        Picture(image=images[n], predicted=predicted, confidence=0.5, correct=n % 2 == 0) for n in range(neighbours)
    ]
    return [
        PictureRow(image=images[-1], title=title, predicted="8" * 30, confidence=1.0, correct=False, neighbours=said)
        for title in ("clean", "gray box PGD, Δ = 0.04")
    ]


def digits():
    grey = (load_digits().images[:6] * 255 / 16).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1)  # (N, 3, 8, 8)


def share(path, colour):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    return float((np.abs(pixels - 255 * np.array(to_rgb(colour))).max(axis=-1) < 2).mean())


def test_small_images_are_drawn_as_squares_in_frames_of_two_colours(tmp_path):
    path = neighbour_picture(rows(digits()), tmp_path / "new" / "neighbours.png")
    assert share(path, RIGHT) > 0.005
    assert share(path, WRONG) > 0.005
    levels = {tuple([int(g)] * 3) for g in np.unique(digits())}
    with Image.open(path) as image:
        colours = {colour for count, colour in image.convert("RGB").getcolors(1 << 24) if count > 1000}
    assert len(colours & levels) > 5  # nearest neighbour: whole squares of the original grey levels


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (100, 60)])
def test_other_sizes(size, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 3, *size), dtype=np.uint8)
    assert neighbour_picture(rows(images, neighbours=3), tmp_path / "neighbours.png").stat().st_size > 10_000


def test_without_neighbours_there_is_the_query(tmp_path):
    assert neighbour_picture(rows(digits(), neighbours=0), tmp_path / "neighbours.png").exists()


def test_no_rows(tmp_path):
    with pytest.raises(UserError, match="at least one row"):
        neighbour_picture([], tmp_path / "neighbours.png")
