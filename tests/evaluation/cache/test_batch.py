import contextlib

import h5py
import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.evaluation.cache.batch import PERTURBATION, BatchFile, BatchKey, halve, move
from lit_knn.threat_models.norms import L2

ORIGIN = {"attack": "PGD", "delta": "0.1"}


def columns(n=3, **others):
    fixed = {
        "logits": torch.arange(4.0 * n).view(n, 4),
        "realized": torch.rand(n),
        "realized_normalized": torch.rand(n),
    }
    return fixed | others


@pytest.fixture
def image():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def open_file(tmp_path, image):
    """Open the same file, as another process would."""
    return lambda origin=ORIGIN, id=(4, 9, 2): BatchFile(
        tmp_path / "b.h5", origin, torch.tensor(id), image[: len(id)].shape
    )


# ---------------------------------------------------------------- rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_never_goes_further_and_not_back_by_more_than_one_step(dtype):
    """Against all float16 numbers: the result is the last of them on the way from zero to the value."""
    grid = torch.arange(2**15 - 2**10, dtype=torch.int16).view(torch.float16).to(dtype)  # 0 and up, finite, ascending
    value = torch.cat(
        [torch.rand(2000, dtype=dtype), torch.rand(2000, dtype=dtype) * 1e-6, grid[:2000], grid[15000:15361]]
    )
    value = torch.cat([value, -value])
    expected = grid[torch.searchsorted(grid, value.abs(), right=True) - 1] * value.sign()
    assert torch.equal(halve(value).to(dtype), expected)


def test_moved_images_stay_in_the_ball_and_the_cube(image):
    adversarial = (image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    moved = move(image, halve(adversarial - image))
    assert ((moved >= 0) & (moved <= 1)).all()
    length = L2.length(adversarial - image)
    assert (L2.length(moved - image) <= length * (1 + 1e-7)).all()
    assert (L2.length(moved - adversarial) <= length * 2**-10).all()


# ---------------------------------------------------------------- files


def test_what_was_written_is_read_by_a_later_process(open_file):
    kept = columns(**{"layer, pool 2": torch.rand(3, 7)})
    assert open_file().names == set()
    open_file().write(kept)
    file = open_file()
    assert file.names == {*kept, "id"}
    found = file.read({"logits", "layer, pool 2"})
    assert {name: value.tolist() for name, value in found.items()} == {
        name: kept[name].tolist() for name in ("logits", "layer, pool 2")
    }


def test_no_flipped_byte_becomes_another_number(open_file, tmp_path):
    kept = columns(flat=torch.tensor([False, True, False]))
    open_file().write(kept)
    whole = (tmp_path / "b.h5").read_bytes()
    parts = [kept[name].numpy().tobytes() for name in ("logits", "realized", "realized_normalized")]
    for place in (whole.find(part) + end for part in parts for end in (0, len(part) - 1)):
        (tmp_path / "b.h5").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"b\.h5 is damaged \(.* is not what was sealed\); delete it"):
            open_file().read()
    for place in range(0, len(whole), 97):  # the rest of the file as well
        (tmp_path / "b.h5").write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        with contextlib.suppress(UserError):
            file = open_file()
            assert all(torch.equal(value, kept[name]) for name, value in file.read(file.names & {*kept}).items())


def test_the_file_is_contiguous_and_the_same_bytes_each_time(open_file, tmp_path):
    given, found = columns(b=torch.rand(3, 2), a=torch.rand(3, 2)), []
    for order in (given, dict(reversed(given.items()))):
        (tmp_path / "b.h5").unlink(missing_ok=True)
        open_file().write(order)
        found.append((tmp_path / "b.h5").read_bytes())
    assert found[0] == found[1]
    with h5py.File(tmp_path / "b.h5") as file:
        assert all(column.chunks is None for column in file.values())
        assert file.attrs["complete"]


def test_two_processes_with_different_taps_keep_both(open_file):
    """Neither saw the other's file when it began."""
    same, first, second = columns(), open_file(), open_file()
    assert first.names == second.names == set()
    first.write(same | {"early, pool 2": torch.zeros(3, 5)})
    second.write(same | {"late, pool 1": torch.ones(3, 6)})
    assert open_file().names == {*same, "id", "early, pool 2", "late, pool 1"}


def test_taps_of_other_images_are_not_mixed_in(open_file):
    """On another machine the same attack may end a bit elsewhere."""
    open_file().write(columns(**{"early, pool 2": torch.zeros(3, 5)}))
    other = columns()
    other["logits"][0, 0] += 1e-6
    open_file().write(other)
    assert open_file().names == {*other, "id"}


def test_a_file_is_there_whole_or_not_at_all(open_file, tmp_path):
    class Full(torch.Tensor):
        def cpu(self):
            raise OSError("no space left on device")

    with pytest.raises(UserError, match="cannot be written: no space left on device"):
        open_file().write(columns(z=torch.zeros(3, 1).as_subclass(Full)))
    assert not list(tmp_path.iterdir())


def edit(path, change):
    with h5py.File(path, "a") as file:
        change(file)


def reshape(name, shape):
    def change(file):
        if name in file:
            del file[name]
        file[name] = torch.zeros(shape).numpy()

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.attrs.__delitem__("complete"), "never finished"),
        (lambda file: file.attrs.__delitem__("fingerprint"), "fingerprint"),
        (lambda file: file.attrs.__setitem__("fingerprint", "[]"), "list, not dict"),
        (lambda file: file.attrs.__setitem__("fingerprint", '{"delta": 1}'), "checksum"),
        (lambda file: file.attrs.__setitem__("fingerprint", 5), "int"),
        (lambda file: file.__delitem__("id"), "id"),
        (lambda file: file.create_group("more"), "shape"),
        (lambda file: file.__setitem__("more", ["a"] * 3), "more is"),
        (reshape("logits", (2, 4)), r"logits has shape \(2, 4\)"),
        (reshape("scores 0", (2, 1, 4)), r"scores 0 has shape \(2, 1, 4\)"),
        (reshape("realized", (3, 1)), r"realized has shape \(3, 1\)"),
        (reshape(PERTURBATION, (3, 3, 8, 7)), r"perturbation has shape \(3, 3, 8, 7\)"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(open_file, tmp_path, image, change, reason):
    open_file().write(columns(**{PERTURBATION: halve(image)}))
    edit(tmp_path / "b.h5", change)
    with pytest.raises(UserError, match=rf"b\.h5 is damaged.*{reason}.*delete it"):
        open_file().names  # noqa: B018


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_cut_file_is_damaged(open_file, tmp_path, keep):
    open_file().write(columns())
    path = tmp_path / "b.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"b\.h5 is damaged.*delete it"):
        open_file().names  # noqa: B018


def test_files_of_another_case_or_other_queries_are_refused(open_file):
    open_file().write(columns())
    with pytest.raises(UserError, match=r"b\.h5 .* another case: delta is '0.1' where '0.2' is expected; delete it"):
        open_file(origin=ORIGIN | {"delta": "0.2"}).names  # noqa: B018
    with pytest.raises(UserError, match=r"b\.h5 .* other queries; delete it"):
        open_file(id=(4, 8, 2)).names  # noqa: B018


def test_a_batch_is_named_by_its_pixels_labels_and_ids(image):
    label, id = torch.tensor([1, 2, 3]), torch.tensor([4, 9, 2])
    names = {
        BatchKey.of(*batch).name
        for batch in (
            (image, label, id),
            (image.clone(), label.clone(), id.clone()),
            (image.flip(0), label, id),
            (image, label.flip(0), id),
            (image, label, torch.tensor([4, 9, 3])),
            (image[:2], label[:2], id[:2]),
        )
    }
    assert len(names) == 5
    assert all(name.startswith("000000004-") for name in names)
