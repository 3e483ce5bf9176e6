import numpy as np
import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.evaluation.sample_results import Outcome, Outcomes
from tests.evaluation.test_offline_search import DAMAGE

DIGEST = "0123456789abcdef"
SHAPE = (2, 4, 5, 1)


def outcome(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hits = torch.rand(2, 4, n, 5, 1, generator=generator) > 0.5
    realized, normalized = (torch.rand(2, 4, n, generator=generator) for _ in range(2))
    return Outcome(hits, realized, normalized, realized[0, 0] > 0.5, realized[0, 0] > 0.9, realized > 0.7)


def test_what_was_saved_is_loaded_by_a_later_process(tmp_path):
    ids = torch.tensor([4, 9, 2])
    kept = Outcomes(tmp_path / "outcomes", {"a": "1"}, SHAPE)
    assert kept.load(ids, DIGEST) is None
    kept.save(ids, DIGEST, outcome())
    loaded = Outcomes(tmp_path / "outcomes", {"a": "1"}, SHAPE).load(ids, DIGEST)
    assert all(torch.equal(one, other) for one, other in zip(loaded, outcome(), strict=True))
    assert [value.dtype for value in loaded] == [torch.bool, *[torch.float32] * 2, *[torch.bool] * 3]


def test_other_queries_and_another_run_are_refused(tmp_path):
    kept = Outcomes(tmp_path / "outcomes", {"a": "1"}, SHAPE)
    kept.save(torch.tensor([4, 9, 2]), DIGEST, outcome())
    assert kept.load(torch.tensor([4, 9]), DIGEST) is None
    with pytest.raises(UserError, match="other images, labels or ids"):
        kept.load(torch.tensor([4, 9, 2]), DIGEST[::-1])
    with pytest.raises(UserError, match="a is '1' where '2' is expected"):
        Outcomes(tmp_path / "outcomes", {"a": "2"}, SHAPE)


def test_a_batch_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    kept = Outcomes(tmp_path / "outcomes", {}, SHAPE)

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("numpy.savez", full_disk)
    with pytest.raises(UserError, match="cannot be written: no space left on device"):
        kept.save(torch.tensor([1, 2, 3]), DIGEST, outcome())
    assert kept.load(torch.tensor([1, 2, 3]), DIGEST) is None
    assert [path.name for path in kept.folder.iterdir()] == ["origin.json"]


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_named_with_what_to_do(tmp_path, how):
    ids = torch.tensor([4, 9, 2])
    kept = Outcomes(tmp_path / "outcomes", {}, SHAPE)
    kept.save(ids, DIGEST, outcome())
    (path,) = kept.folder.glob("*.npz")
    with np.load(path) as file:
        path.write_bytes(DAMAGE[how](dict(file), path.read_bytes()))
    sentence = f"{path.name} is damaged .*; delete it, and the same test"
    with pytest.raises(UserError, match=sentence):
        kept.load(ids, DIGEST)
    with pytest.raises(UserError, match=sentence):
        list(kept)


def test_a_file_of_other_lines_is_refused(tmp_path):
    ids = torch.tensor([4, 9, 2])
    Outcomes(tmp_path / "outcomes", {}, SHAPE).save(ids, DIGEST, outcome())
    with pytest.raises(UserError, match=r"is damaged .*not of this run's cases, lines and queries"):
        Outcomes(tmp_path / "outcomes", {}, (2, 4, 6, 1)).load(ids, DIGEST)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a": 1}', b'{"a": ["1"]}', b"\xff\xfe", b'"a"'])
def test_a_damaged_origin_is_named_with_what_to_do(tmp_path, content):
    folder = Outcomes(tmp_path / "outcomes", {"a": "1"}, SHAPE).folder
    (folder / "origin.json").write_bytes(content)
    with pytest.raises(UserError, match=r"origin\.json is damaged .*; delete .*outcomes and run the same test again"):
        Outcomes(folder, {"a": "1"}, SHAPE)


def test_a_flipped_byte_of_an_origin_is_damage_and_not_another_run(tmp_path):
    folder = Outcomes(tmp_path / "outcomes", {"a": "1", "b": "two"}, SHAPE).folder
    whole = (folder / "origin.json").read_bytes()
    for place in (place for place, byte in enumerate(whole) if byte not in b" \n"):  # JSON may have other white space
        (folder / "origin.json").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"origin\.json is damaged"):
            Outcomes(folder, {"a": "1", "b": "two"}, SHAPE)


def test_all_batches_come_back_in_order(tmp_path):
    kept = Outcomes(tmp_path / "outcomes", {}, SHAPE)
    for ids in ([20, 21, 22], [3, 5, 9]):
        kept.save(torch.tensor(ids), DIGEST, outcome())
    assert [ids for ids, _ in kept] == [[3, 5, 9], [20, 21, 22]]
    assert all(torch.equal(found.hits, outcome().hits) for _, found in kept)


def test_the_worst_case_keeps_only_what_no_case_breaks():
    hits = torch.tensor([[1, 1, 0], [1, 0, 1]], dtype=torch.bool).view(2, 1, 3, 1, 1)
    realized, each = torch.tensor([[[0.1, 0.3, 0.2]], [[0.2, 0.1, 0.2]]]), torch.ones(3) > 0
    worst = Outcome(hits, realized, torch.ones(2, 1, 3), each, each, hits[..., 0, 0]).worst_case()
    assert worst.hits.flatten().tolist() == [True, False, False]
    assert worst.realized.flatten().tolist() == pytest.approx([0.2, 0.3, 0.2])
