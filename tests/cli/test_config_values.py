from __future__ import annotations

import math
from pathlib import Path

import pytest

from lit_knn.cli.config_values import check_environment, check_values
from lit_knn.errors import UserError


def test_a_variable_that_sets_no_key_is_named_with_those_near_it():
    known = ["LIT_KNN_TEST__DATA__BATCH_SIZE", "LIT_KNN_TEST__MODEL"]
    check_environment({"LIT_KNN_TEST__DATA__BATCH_SIZE": "3", "PATH": "x"}, "LIT_KNN_", known)
    with pytest.raises(
        UserError, match=r"LIT_KNN_TEST__DATA__BATCHSIZE .* near it are LIT_KNN_TEST__DATA__BATCH_SIZE$"
    ):
        check_environment({"LIT_KNN_TEST__DATA__BATCHSIZE": "3"}, "LIT_KNN_", known)


class Partition:
    def __init__(self, *, size: int, share: float | None = 0.5, name: str = "", seed: int | None = None) -> None: ...


class Whole:
    def __init__(self, *, part: Partition | None = None, parts: list[Partition]) -> None: ...


class Outer:
    def __init__(self, *, whole: Whole) -> None: ...


@pytest.mark.parametrize("key", ["size", "name"])
def test_null_is_refused_in_parts_whose_class_an_annotation_names(key):
    part = {"size": 1, "share": None, "seed": None, "name": "x"}
    for settings in ({"part": part, "parts": []}, {"part": None, "parts": [part]}):
        check_values({"whole": settings}, "model", Outer)
    part[key] = None
    for settings in ({"part": part, "parts": []}, {"part": None, "parts": [part]}):
        with pytest.raises(UserError, match=rf"model\.whole\.parts?\.{key} is null; (int|str) is accepted"):
            check_values({"whole": settings}, "model", Outer)


@pytest.mark.parametrize("key", ["size", "name"])
def test_null_is_refused_where_it_means_nothing(key):
    part = {"class_path": f"{__name__}.Partition", "init_args": {"size": 1, "share": None, "seed": None, "name": "x"}}
    check_values({"parts": [part]}, "model")
    check_values(part["init_args"], "model", Partition)
    part["init_args"][key] = None
    for settings, built in (({"parts": [part]}, None), ({"part": part}, None), (part["init_args"], Partition)):
        with pytest.raises(UserError, match=rf"{key} is null; (int|str) is accepted"):
            check_values(settings, "model", built)


class Held:
    def __init__(self, *, path: str | Path = "x", seed: int = 0, share: float = 1.0, name: str = "") -> None: ...


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("path", "", "path is empty; the path of a file or folder is accepted"),
        ("seed", -1, "seed is -1; whole numbers from 0 are accepted"),
        ("share", math.nan, "share is nan; a finite number is accepted"),
        ("share", math.inf, "share is inf; a finite number is accepted"),
    ],
)
def test_what_no_part_takes_is_refused(key, value, message):
    settings = {"path": "x", "seed": 0, "share": 1.0, "name": ""}
    check_values([settings], "model", Held)
    for place in (settings | {key: value}, {"class_path": f"{__name__}.Held", "init_args": {key: value}}):
        with pytest.raises(UserError, match=rf"^model\.{message}$"):
            check_values(place, "model", Held)
