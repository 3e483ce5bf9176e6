import csv

import numpy as np
import pytest

from lit_knn.defenses import Variant
from lit_knn.errors import UserError
from lit_knn.report.results.breaks import read_breaks, write_breaks

VARIANTS = [Variant("none"), Variant("kNN", "late", 50, "CBW-D", "soft")]
CASES = [("gray_box", "PGD"), ("white_box late", "PGD-FS")]


def test_each_image_names_the_first_attack_that_breaks_it(tmp_path):
    hits = np.ones((2, 2, 3, 2, 2), bool)  # (A, E, N, V, T)
    hits[0, 1, 0, 0, 0] = hits[1, 1, 0, 0, 0] = False  # both break query 7 without a defense: the first is named
    hits[1, 1, 0, 1, 0] = False  # the second breaks its defense
    hits[:, :, 2, 1, 0] = False  # the defense is wrong about query 9 from the start
    hits[0, 1, 1, 0, 1] = False  # top-5 alone does not count
    write_breaks(tmp_path / "breaks.csv", [([7, 8, 9], hits)], CASES, [0.0, 0.06], VARIANTS, "relative_l2")
    with (tmp_path / "breaks.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "norm", "delta", "none", "kNN late K=50 CBW-D soft"],
        ["7", "relative_l2", "0.06", "gray_box: PGD", "white_box late: PGD-FS"],
        ["8", "relative_l2", "0.06", "", ""],
        ["9", "relative_l2", "0.06", "", "clean"],
    ]
    assert read_breaks(tmp_path / "breaks.csv", 0.06) == {
        "none": {"gray_box: PGD": 1, "": 2},
        "kNN late K=50 CBW-D soft": {"white_box late: PGD-FS": 1, "": 1, "clean": 1},
    }
    assert read_breaks(tmp_path / "breaks.csv", 0.02) == {"none": {}, "kNN late K=50 CBW-D soft": {}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,delta,none\n7,0.06\n", r"line 2 is not id, delta and \d cells"),
        (b"id,delta,none\n7,0.06,,more\n", r"line 2 is not id, delta and \d cells"),
        (b"a,b\n1,2\n", r"line 2 is not id, delta and \d cells"),
        (b"id,delta,none\n7,much,\n", "could not convert string to float: 'much'"),
        (b"id,delta,none\n7,0.06,\xff\n", "codec can't decode"),
        (b'id,delta,none\n7,0.06,"a', "unexpected end of data"),
    ],
)
def test_another_file(tmp_path, content, reason):
    (tmp_path / "breaks.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"breaks.csv is damaged \(.*{reason}.*\); remove the file"):
        read_breaks(tmp_path / "breaks.csv", 0.06)


def test_what_broke_at_a_smaller_delta_is_named_at_the_larger_ones(tmp_path):
    hits = np.ones((2, 4, 1, 1, 1), bool)  # (A, E, N, V, T)
    hits[1, 1] = hits[0, 3] = False  # the second attack breaks at .02, the first only at .06
    write_breaks(tmp_path / "breaks.csv", [([7], hits)], CASES, [0.0, 0.02, 0.04, 0.06], VARIANTS[:1], "l2")
    with (tmp_path / "breaks.csv").open() as file:
        assert [row[3] for row in csv.reader(file)] == ["none", *["white_box late: PGD-FS"] * 3]
