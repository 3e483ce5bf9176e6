from pathlib import Path

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS

from lit_knn.data.sources.image_files import READ, images_below, is_image, looks_like_image
from lit_knn.errors import UserError


def test_names() -> None:
    assert set(READ) == set(IMG_EXTENSIONS)
    for name in ("a.png", "a.b.JPEG", "a.Tif"):
        assert is_image(name) & looks_like_image(name)
    for name in ("a.gif", "a.AVIF", "a.b.jfif"):
        assert looks_like_image(name) > is_image(name)
    for name in ("png", ".png", "._a.jpg", "a.txt", "a.png.txt", "a.npy"):
        assert not looks_like_image(name)


def test_a_folder_and_those_in_it(tmp_path: Path) -> None:
    names = ["b.PNG", "a.gif", "sub/c.jpg", "sub/d.heic", "sub/notes.txt", "sub/.hidden.png", "sub.x/e.webp"]
    for name in names:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.png").touch()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "gone.png").symlink_to(tmp_path / "nowhere")  # listed: who reads it hears that it is gone
    images, unread = images_below(tmp_path / "root", "")
    assert images == ["b.PNG", "gone.png", "link/f.png", "sub.x/e.webp", "sub/c.jpg"]
    assert [failure.key for failure in unread] == ["a.gif", "sub/d.heic"]
    assert images_below(tmp_path / "root", "sub").images == ["sub/c.jpg"]


@pytest.mark.parametrize("target", [".", "a", "a/b", "a/b/c"])
def test_links_that_lead_back(tmp_path: Path, target: str) -> None:
    """Followed, each image would be found some forty times."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/x.png").touch()
    (tmp_path / "a/b/c/link").symlink_to(tmp_path / target)
    with pytest.raises(UserError, match="link leads back"):
        images_below(tmp_path / "a", "b")


def test_two_links_that_lead_to_each_other(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / one).mkdir()
        (tmp_path / one / "link").symlink_to(tmp_path / other)
    with pytest.raises(UserError, match=r"link leads back"):
        images_below(tmp_path, "a")


def test_folders_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere cannot be listed \(No such file"):
        images_below(tmp_path, "nowhere")
